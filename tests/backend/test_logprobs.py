"""Logprobs of prompts, outputs and continuations: right, and the same whatever is cached."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.errors import ContextTooLong
from lampc.backend.fake import FakeEngine
from lampc.backend.load import load_engine
from lampc.backend.request import Completion, Request, Sampling
from tests.backend.test_exact import finish

PROMPT = tuple((31 * i) % 290 for i in range(60))
GREEDY = Sampling(max_tokens=5, ignore_eos=True)


@pytest.fixture(scope="module")
def expected(tiny: Path) -> torch.Tensor:
    """ln p of every next token after each beginning of PROMPT, by transformers: [60, vocab]."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPT])).logits[0].double()
    result: torch.Tensor = torch.log_softmax(logits, -1)
    return result


def prompt_logprobs(completion: Completion) -> list[float]:
    assert completion.prompt_logprobs is not None
    first, *rest = completion.prompt_logprobs
    assert first is None
    return [p for p in rest if p is not None]


def test_prompt_logprobs_are_those_of_transformers(tiny: Path, expected: torch.Tensor) -> None:
    (completion,) = finish(load_engine(tiny), [Request(PROMPT, GREEDY, prompt_logprobs=True)])
    wanted = [float(expected[i, PROMPT[i + 1]]) for i in range(len(PROMPT) - 1)]
    assert prompt_logprobs(completion) == pytest.approx(wanted, abs=1e-4)
    assert completion.logprobs is None, "only what is asked for"
    assert completion.computed_tokens == len(PROMPT)


@pytest.mark.parametrize(
    "options",
    [{}, {"chunk": 7}, {"max_batch_tokens": 5}, {"prefix_cache": False}, {"block_size": 1}, {"kv_tokens": 80}],
    ids=str,
)
def test_prompt_logprobs_do_not_depend_on_the_cache(tiny: Path, options: dict[str, Any]) -> None:
    """Cold, after the prompt is cached, after part of it is, beside itself, and preempted: the same bits."""
    asked = Request(PROMPT, GREEDY, prompt_logprobs=True, logprobs=True)
    alone = finish(load_engine(tiny, prefix_cache=False), [asked])[0]
    engine = load_engine(tiny, **options)
    cold = finish(engine, [asked])[0]
    cached = finish(engine, [asked])[0]
    finish(engine, [Request((*PROMPT[:33], 7, 7), GREEDY)])
    crowd = finish(engine, [asked, Request(PROMPT, GREEDY), asked, Request((*PROMPT, 5), GREEDY)])
    for found in (cold, cached, crowd[0], crowd[2]):
        assert found.prompt_logprobs == alone.prompt_logprobs
        assert found.logprobs == alone.logprobs
        assert found.tokens == alone.tokens
    assert crowd[1].tokens == alone.tokens
    assert crowd[1].prompt_logprobs is None


def test_prompt_logprobs_count_a_parents_tokens_too(tiny: Path) -> None:
    engine = load_engine(tiny)
    ref = engine.retain(PROMPT[:40])
    asked = Request(PROMPT[40:], GREEDY, parent=ref, prompt_logprobs=True)
    whole = Request(PROMPT, GREEDY, prompt_logprobs=True)
    one, other = finish(engine, [asked, whole])
    assert one.prompt_logprobs == other.prompt_logprobs
    assert len(one.prompt_logprobs or ()) == len(PROMPT)
    engine.release(ref)


def test_prompt_logprobs_beside_a_score(tiny: Path, expected: torch.Tensor) -> None:
    (both,) = finish(load_engine(tiny), [Request(PROMPT[:50], score=PROMPT[50:], prompt_logprobs=True)])
    assert both.logprobs is not None
    wanted = [float(expected[i, PROMPT[i + 1]]) for i in range(len(PROMPT) - 1)]
    assert [*prompt_logprobs(both), *both.logprobs] == pytest.approx(wanted, abs=1e-4)
    assert both.tokens == ()


def test_top_logprobs(tiny: Path, expected: torch.Tensor) -> None:
    (completion,) = finish(load_engine(tiny), [Request(PROMPT, GREEDY, top_logprobs=4)])
    assert completion.top_logprobs is not None
    assert completion.logprobs is not None, "top_logprobs includes logprobs"
    assert len(completion.top_logprobs) == len(completion.logprobs) == len(completion.tokens) == 5
    best = expected[-1].topk(4)
    assert [i for i, _ in completion.top_logprobs[0]] == best.indices.tolist()
    assert [p for _, p in completion.top_logprobs[0]] == pytest.approx(best.values.tolist(), abs=1e-4)
    for token, own, top in zip(completion.tokens, completion.logprobs, completion.top_logprobs):
        assert top[0] == (token, own), "greedy takes the likeliest"
    drawn = Request(PROMPT, Sampling(temperature=3.0, max_tokens=4, ignore_eos=True), forced=(9, 8), top_logprobs=2)
    (completion,) = finish(load_engine(tiny), [drawn])
    assert completion.tokens[:2] == (9, 8)
    assert len(completion.top_logprobs or ()) == 4
    assert all(len(top) == 2 for top in completion.top_logprobs or ())


def test_stopping_ids_are_in_no_logprobs(tiny: Path) -> None:
    (free,) = finish(load_engine(tiny), [Request(PROMPT, GREEDY, top_logprobs=1, prompt_logprobs=True)])
    at = next(i for i, token in enumerate(free.tokens) if token not in free.tokens[:i] and i)
    stopped = Request(
        PROMPT,
        Sampling(max_tokens=5, ignore_eos=True, stop_ids=(free.tokens[at],)),
        top_logprobs=1,
        prompt_logprobs=True,
    )
    (cut,) = finish(load_engine(tiny), [stopped])
    assert cut.tokens == free.tokens[:at]
    assert cut.logprobs == (free.logprobs or ())[:at]
    assert cut.top_logprobs == (free.top_logprobs or ())[:at]
    assert cut.prompt_logprobs == free.prompt_logprobs


def test_unsupported_asks_raise() -> None:
    engine = FakeEngine(context_length=100)
    with pytest.raises(ValueError, match="top_logprobs is -1"):
        Request((1,), top_logprobs=-1)
    with pytest.raises(ValueError, match="vocabulary has 260"):
        engine.submit(Request((1,), top_logprobs=261))
    with pytest.raises(ContextTooLong):
        engine.submit(Request((1,) * 100, prompt_logprobs=True))
    (reply,) = finish(engine, [Request((1, 2, 3), top_logprobs=1, prompt_logprobs=True)])
    assert reply.prompt_logprobs == (None, 0.0, 0.0)
    assert [top[0][0] for top in reply.top_logprobs or ()] == list(reply.tokens)


def test_an_aborted_prompt_keeps_the_logprobs_it_has(tiny: Path) -> None:
    engine = load_engine(tiny, max_batch_tokens=20)
    handle = engine.submit(Request(PROMPT, GREEDY, prompt_logprobs=True))
    engine.step()
    engine.abort(handle)
    assert handle.completion is not None
    assert len(handle.completion.prompt_logprobs or ()) == 21
    engine.check()
