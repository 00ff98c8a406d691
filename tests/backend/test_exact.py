"""The same tokens whatever surrounds a request: naive engine against paged engine in every configuration."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.backend.api import TokenEngine
from lampc.backend.core import EngineCore
from lampc.backend.load import load_engine
from lampc.backend.models import registry
from lampc.backend.models.llama import Llama
from lampc.backend.request import Completion, Request, Sampling

pytestmark = pytest.mark.usefixtures("numerics")
QUIET = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def finish(engine: TokenEngine, requests: list[Request]) -> list[Completion]:
    handles = [engine.submit(r) for r in requests]
    while not all(h.done for h in handles):
        engine.step()
    engine.check()
    return [h.completion for h in handles if h.completion is not None]


def answer(completion: Completion) -> tuple[Any, ...]:
    c = completion
    return c.tokens, c.text, c.finish, c.stop_reason, c.logprobs, c.prompt_logprobs, c.top_logprobs


def naive_answer(folder: Path, request: Request) -> tuple[Any, ...]:
    return _naive_answer(folder, request, os.environ.get("LAMPC_NATIVE"))


@cache
def _naive_engine(folder: Path, numerics: str | None) -> TokenEngine:
    return load_engine(folder, kind="naive")


@cache
def _naive_answer(folder: Path, request: Request, numerics: str | None) -> tuple[Any, ...]:
    return answer(finish(_naive_engine(folder, numerics), [request])[0])


token = st.integers(0, 295)
stem = st.integers(0, 3).map(lambda n: tuple((7 * n + 13 * i) % 290 for i in range(70)))


@st.composite
def request_sets(draw: st.DrawFn) -> list[Request]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        base = draw(stem)[: draw(st.integers(0, 70))]
        prompt = base + tuple(draw(st.lists(token, min_size=1, max_size=4)))
        sampling = Sampling(
            temperature=draw(st.sampled_from([0.0, 0.7, 1.5])),
            top_k=draw(st.sampled_from([0, 5])),
            top_p=draw(st.sampled_from([1.0, 0.8])),
            min_p=draw(st.sampled_from([0.0, 0.1])),
            max_tokens=draw(st.integers(1, 6)),
        )
        mode = draw(st.sampled_from(["plain", "plain", "logprobs", "forced", "score"]))
        more: dict[str, Any] = {
            "prompt_logprobs": draw(st.integers(0, 3)) == 0,
            "top_logprobs": draw(st.sampled_from([0, 0, 0, 3])),
        }
        if mode == "score":
            more["score"] = tuple(draw(st.lists(token, min_size=1, max_size=5)))
        elif mode != "plain":
            more["logprobs"] = mode == "logprobs" or draw(st.booleans())
            if mode == "forced":
                more["forced"] = tuple(draw(st.lists(token, min_size=1, max_size=4)))
        found.append(Request(prompt, sampling, key=draw(st.integers(0, 3)), **more))
    return found


@QUIET
@given(
    requests=request_sets(),
    block_size=st.sampled_from([1, 4, 16]),
    chunk=st.sampled_from([None, 1, 7, 40]),
    budget=st.sampled_from([3, 32, 512]),
    prefix_cache=st.booleans(),
    pool=st.sampled_from([96, 200, 2000]),
    running=st.sampled_from([1, 3, 64]),
)
def test_paged_equals_naive(
    tiny: Path,
    requests: list[Request],
    block_size: int,
    chunk: int | None,
    budget: int,
    prefix_cache: bool,
    pool: int,
    running: int,
) -> None:
    engine = load_engine(
        tiny,
        block_size=block_size,
        chunk=chunk,
        max_batch_tokens=budget,
        prefix_cache=prefix_cache,
        kv_tokens=pool,
        max_running=running,
    )
    for completion, request in zip(finish(engine, requests), requests):
        assert answer(completion) == naive_answer(tiny, request)
    # Again, over what the first time left in the cache.
    for completion, request in zip(finish(engine, requests), requests):
        assert answer(completion) == naive_answer(tiny, request)


class Recorder:
    """Wraps an engine's runner and keeps the logits of every row it draws from, by key and position."""

    def __init__(self, engine: TokenEngine) -> None:
        assert isinstance(engine, EngineCore)
        self.seen: dict[tuple[int, int], torch.Tensor] = {}
        runner: Any = engine._runner
        runner._greedy = None  # which would hold no logits
        inner = runner.logits

        def logits(plan: Any, ids: Any = None) -> torch.Tensor:
            result: torch.Tensor = inner(plan, ids)
            at = 0
            for want in plan.wants:
                for i in range(len(want.rows)):
                    self.seen[want.job.request.key, want.start + i] = result[at + i].clone()
                at += len(want.rows)
            return result

        runner.logits = logits


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_bitwise_equal(tiny_wide: Path, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = tuple(range(40, 190))
        requests = [
            Request((*shared[: 30 * (i % 6)], i, 5, 9), Sampling(max_tokens=12, ignore_eos=True), key=i)
            for i in range(12)
        ]
        single = load_engine(tiny_wide, prefix_cache=False)
        alone = Recorder(single).seen
        for request in requests:
            finish(single, [request])
        for options in ({}, {"chunk": 9}, {"max_batch_tokens": 50}, {"kv_tokens": 400, "block_size": 4}):
            engine = load_engine(tiny_wide, **options)  # type: ignore[arg-type]
            recorder = Recorder(engine)
            finish(engine, requests)
            assert recorder.seen.keys() == alone.keys()
            assert len(alone) >= 12 * len(requests)
            for place, row in recorder.seen.items():
                assert torch.equal(row, alone[place]), place
    finally:
        torch.set_num_threads(before)


def test_bfloat16_is_exact_too(tiny: Path) -> None:
    requests = [Request(tuple(range(5, 5 + n)), Sampling(max_tokens=8, temperature=1.0), key=n) for n in (3, 9, 70)]
    together = finish(load_engine(tiny, dtype="bfloat16"), requests)
    for request, completion in zip(requests, together):
        alone = finish(load_engine(tiny, dtype="bfloat16", prefix_cache=False, chunk=5), [request])
        assert answer(alone[0]) == answer(completion)


def test_greedy_equals_transformers(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    prompt = list(range(10, 60))
    out = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=299, pad_token_id=0)
    completion = finish(
        load_engine(tiny), [Request(tuple(prompt), Sampling(max_tokens=20, ignore_eos=True, stop_ids=(299,)))]
    )[0]
    expected = out[0, len(prompt) :].tolist()
    assert list(completion.tokens) == [t for t in expected if t != 299]


def test_fast_mode_is_close(tiny: Path) -> None:
    scored = [Request(tuple(range(3, 90)), score=tuple(range(100, 130)))]
    exact, fast = finish(load_engine(tiny), scored)[0], finish(load_engine(tiny, exact=False), scored)[0]
    assert exact.logprobs == pytest.approx(fast.logprobs, abs=1e-4)


class Fond(Llama):
    """Changes what `forward` gives, and knows nothing of `likeliest`."""

    def forward(self, *arguments: Any) -> torch.Tensor:
        logits = super().forward(*arguments).clone()
        logits[:, 5] = 1e6
        return logits


def test_a_model_that_changes_its_logits_is_believed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._BUILT_IN, "LlamaForCausalLM", f"{__name__}:Fond")
    sampling = Sampling(max_tokens=4, ignore_eos=True)
    for engine in (load_engine(tiny), load_engine(tiny, backend="torch")):
        for request in (Request((7, 8, 9), sampling), Request((7, 8, 9), sampling, logprobs=True)):
            assert finish(engine, [request])[0].tokens == (5, 5, 5, 5)
