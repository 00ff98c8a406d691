"""Every architecture gives a request the same tokens and logprobs, bit by bit, whatever surrounds it."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.load import load_engine
from lampc.backend.request import Completion, Request, Sampling
from tests.backend.architectures import MORE, VARIANTS, save
from tests.backend.test_exact import Recorder, finish
from tests.backend.test_models import prompt

SOME = ["mistral", "qwen2", "qwen3", "gpt2", "mixtral"]
REST = [pytest.param(name, marks=pytest.mark.slow) for name in [*VARIANTS, *MORE] if name not in SOME]
STEM = prompt(80, seed=1)
KV = 4096  # tokens: a small pool is made and given back quickly


def requests(seed: int = 0) -> list[Request]:
    """Mixed lengths, some on one stem, greedy and sampled, some with penalties."""
    draw = random.Random(seed)
    prompts = [prompt(length, seed=length + 100 * seed) for length in (1, 2, 7, 30, 75, 140)]
    prompts += [STEM[: draw.randint(20, 80)] + prompt(draw.randint(1, 5), seed=i) for i in range(4)]
    prompts += [STEM[:66], STEM[:66]]  # forks of one prompt
    shaped: dict[str, Any] = {"repetition_penalty": 1.3, "frequency_penalty": 0.5, "bad_ids": ((7, 8), (9,))}
    samplings = [
        Sampling(max_tokens=10, temperature=i % 2, ignore_eos=True, **(shaped if i % 5 > 2 else {}))
        for i in range(len(prompts))
    ]
    return [
        Request(tuple(ids), sampling, key=i, logprobs=True)
        for i, (ids, sampling) in enumerate(zip(prompts, samplings, strict=True))
    ]


def answers(completions: list[Completion]) -> list[tuple[Any, ...]]:
    return [(c.finish, c.tokens, c.logprobs) for c in completions]


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("name", [*SOME, *REST])
def test_the_same_ids_in_every_way(name: str, tmp_path: Path) -> None:
    folder, asked = save(name, tmp_path), requests()
    naive = load_engine(folder, kind="naive")
    expected = answers([finish(naive, [request])[0] for request in asked])
    assert all(len(tokens) == 10 for _, tokens, _ in expected)
    ways: list[dict[str, Any]] = [{"chunk": n} for n in (1, 2, 3, 4, 5, 6, 7, 16, 40, 100)]
    ways += [{}, {"max_batch_tokens": 9}, {"max_running": 3}, {"block_size": 4}]
    ways += [{"prefix_cache": False, **way} for way in ({}, {"chunk": 5})]
    for options in ways:
        engine = load_engine(folder, kv_tokens=KV, **options)
        assert answers(finish(engine, asked)) == expected, options
        # Again, over what the cache holds now.
        assert answers(finish(engine, asked)) == expected, options
        if options.get("prefix_cache", True):
            assert engine.stats().cached_tokens > 0
        engine.close()


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_odd_heads_are_computed_by_torch_in_both_engines(dtype: str, tmp_path: Path) -> None:
    folder, asked = save("gpt2-odd-heads", tmp_path), requests()
    found = {}
    for kind in ("paged", "naive"):
        for backend in ("native", "torch"):
            engine = load_engine(folder, kind=kind, backend=backend, dtype=dtype, kv_tokens=KV)  # type: ignore[arg-type]
            found[kind, backend] = finish(engine, asked)
            engine.close()
    for backend in ("native", "torch"):
        assert answers(found["paged", backend]) == answers(found["naive", backend])
    # Of the first token: what follows depends on it.
    first = [[c.logprobs[0] for c in found["naive", backend] if c.logprobs] for backend in ("native", "torch")]
    assert first[0] == pytest.approx(first[1], abs=1e-3 if dtype == "float32" else 0.1)


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("name", [*SOME, *REST])
def test_preempted_and_resumed(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    asked = [
        Request(
            tuple(prompt(length, seed=i)),
            Sampling(max_tokens=24, temperature=i % 2, ignore_eos=True),
            key=i,
            logprobs=True,
            priority=i % 3,
        )
        for i, length in enumerate((20, 33, 9, 50, 3, 27, 41, 12))
    ]
    alone = load_engine(folder, prefix_cache=False, kv_tokens=KV)
    expected = answers([finish(alone, [request])[0] for request in asked])
    engine = load_engine(folder, kv_tokens=112, block_size=4, max_running=2)
    handles = []
    for request in asked:  # those that come later may be more urgent, and then take the place of one that runs
        handles.append(engine.submit(request))
        engine.step()
    engine.run()
    assert answers([h.completion for h in handles if h.completion is not None]) == expected
    assert engine.stats().preemptions > 0
    engine.check()


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("name", [*SOME, *REST])
def test_forked_from_a_retained_prefix(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    engine, alone = load_engine(folder, kv_tokens=KV), load_engine(folder, prefix_cache=False, kv_tokens=KV)
    ref = engine.retain(tuple(STEM))
    forks = [
        Request((*STEM, i), Sampling(max_tokens=8, temperature=1.0, ignore_eos=True), key=i, logprobs=True)
        for i in range(6)
    ]
    assert answers(finish(engine, forks)) == answers([finish(alone, [fork])[0] for fork in forks])
    assert engine.stats().computed_tokens == len(STEM) + len(forks)
    engine.release(ref)
    engine.check()


def needle(folder: Path, places: list[int], threads: int = 1, **options: Any) -> None:
    """One prompt alone, then among 63 others at each of these places: the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = load_engine(folder, prefix_cache=False, kv_tokens=KV, **options)
        wanted = Request((*STEM[:30], *prompt(41)), Sampling(max_tokens=6, ignore_eos=True), key=10**6, logprobs=True)
        recorder = Recorder(alone).seen
        expected = finish(alone, [wanted])[0]
        for place in places:
            draw = random.Random(place)
            crowd = [
                Request(
                    tuple(STEM[: draw.randint(0, 60)] + prompt(draw.randint(1, 50), seed=i)),
                    Sampling(max_tokens=draw.randint(1, 8), temperature=1.0, ignore_eos=True),
                    key=i,
                    logprobs=True,
                )
                for i in range(63)
            ]
            crowd.insert(place, wanted)
            engine = load_engine(folder, max_running=64, kv_tokens=2 * KV, **options)
            among = Recorder(engine).seen
            found = finish(engine, crowd)[place]
            assert found.tokens == expected.tokens
            assert torch.equal(torch.tensor(found.logprobs), torch.tensor(expected.logprobs))
            rows = {at: row for at, row in among.items() if at[0] == wanted.key}
            assert rows.keys() == recorder.keys()
            assert all(torch.equal(row, recorder[at]) for at, row in rows.items())
            engine.close()
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("name", list(VARIANTS))
def test_needle_in_a_batch_of_64(name: str, tmp_path: Path) -> None:
    needle(save(name, tmp_path), [random.Random(name).randrange(64)])


@pytest.mark.slow
@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize(("dtype", "threads"), [("float32", 1), ("float32", 2), ("bfloat16", 1), ("float16", 1)])
@pytest.mark.parametrize("name", [*VARIANTS, *MORE])
def test_needle_everywhere(name: str, dtype: str, threads: int, tmp_path: Path) -> None:
    needle(save(name, tmp_path), [0, 63, random.Random(dtype).randrange(1, 63)], threads, dtype=dtype)
