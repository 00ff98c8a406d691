"""Engines with K/V in host memory: the same tokens and log-probabilities, fewer computed, and nothing left behind."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.copies import Copies, Run
from lampc.backend.fake import FakeEngine
from lampc.backend.host_tier import HostTier
from lampc.backend.kv_cache import KVCache
from lampc.backend.load import load_engine
from lampc.backend.prometheus import text
from lampc.backend.request import Request, Sampling, State
from lampc.backend.swap_rule import SwapRule
from lampc.backend.transfer import HostMemory, NoSide, PlainTransfer, StagedTransfer, grouped
from tests.backend.engines import TIGHT, bring
from tests.backend.parallel.ranks import threads
from tests.backend.swaps import load, one_by_one, turns

__all__ = ["threads"]
CPU = torch.device("cpu")


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("options", [{}, {"kv_dtype": "int8"}, {"dtype": "bfloat16"}, {"chunk": 7}], ids=str)
def test_the_same_bits_with_and_without(options: dict[str, Any], tiny: Path) -> None:
    ample = load_engine(tiny, kv_tokens=2048, **options)
    swapping = load(tiny, **options)
    assert one_by_one(swapping, turns()) == one_by_one(ample, turns())
    stats = swapping.stats()
    assert stats.swapped_in_tokens > 100
    assert stats.swapped_out_tokens == 16 * stats.host_used_blocks  # nothing twice
    without = load_engine(tiny, kv_tokens=swapping.info.kv_tokens, **options)
    one_by_one(without, turns())
    assert stats.computed_tokens == without.stats().computed_tokens - stats.swapped_in_tokens
    swapping.reset_cache()
    assert swapping.stats().used_blocks == swapping.stats().host_used_blocks == 0
    swapping.close()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("options", [{}, {"kv_dtype": "int8"}], ids=str)
def test_every_rank_swaps_its_share(options: dict[str, Any], tiny: Path) -> None:
    answers, stats = [], []
    for ranks in (1, 2):
        engine = load(tiny, tensor_parallel=ranks, backend="torch", **options)
        answers.append(one_by_one(engine, turns(2)))
        stats.append(engine.stats())
        engine.close()
    ample = load_engine(tiny, tensor_parallel=1, backend="torch", kv_tokens=2048, **options)
    answers.append(one_by_one(ample, turns(2)))
    ample.close()
    assert answers[0] == answers[1] == answers[2]
    assert stats[0] == stats[1]
    assert stats[1].swapped_in_tokens >= 32


def test_a_preempted_request_takes_back_what_it_had() -> None:
    def preempted(host: HostTier | None) -> tuple[FakeEngine, Any]:
        engine = FakeEngine(**TIGHT, host=host)
        handle = bring(engine, State.PREEMPTED)
        engine.run()
        return engine, handle.completion

    without, alone = preempted(None)
    engine, done = preempted(HostTier(32, 4, SwapRule(0.0)))
    assert done.tokens == alone.tokens
    saved = engine.stats().swapped_in_tokens
    assert saved >= 4
    assert engine.stats().forward_tokens == without.stats().forward_tokens - saved
    engine.check()


@pytest.mark.parametrize("when", ["abort", "close", "interrupt"])
def test_an_end_at_any_moment(when: str, tiny: Path) -> None:
    """Copies that were decided are made by the next step, or by none."""
    engine = load(tiny)
    one_by_one(engine, turns(2))
    handles = [engine.submit(request) for request in turns()[6:]]
    run = engine._runner.execute
    failing = KeyboardInterrupt() if when == "interrupt" else RuntimeError("device")

    def fail(plan: Any) -> Any:
        raise failing

    engine._runner.execute = fail
    if when == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    else:
        engine.step()
    engine.check()
    assert engine._tree.copies
    engine._runner.execute = run
    if when == "abort":
        for handle in handles:
            engine.abort(handle)
        engine.check()
    if when == "close":
        engine.close()
        return
    expected = one_by_one(load_engine(tiny, kv_tokens=2048), turns()[6:])
    if when == "interrupt":
        engine.run()
        assert [h.completion.tokens for h in handles] == [tokens for tokens, *_ in expected]
    assert one_by_one(engine, turns()[6:]) == expected
    engine.close()


def test_it_is_part_of_the_prefix_cache(tiny: Path) -> None:
    for options in ({"prefix_cache": False}, {"kind": "naive"}):
        with pytest.raises(ValueError, match="host_kv_tokens needs"):
            load_engine(tiny, host_kv_tokens=16, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="host_kv_tokens is -1"):
        load_engine(tiny, host_kv_tokens=-1)
    with pytest.raises(ValueError, match="set prefix_cache"):
        FakeEngine(prefix_cache=False, host=HostTier(1, 16, SwapRule(0.0)))


def test_counters_are_exported(tiny: Path) -> None:
    engine = load(tiny)
    one_by_one(engine, turns(2))
    page, stats = text(engine), engine.stats()
    for name, value in (
        ("swapped_out_tokens_total", stats.swapped_out_tokens),
        ("swapped_in_tokens_total", stats.swapped_in_tokens),
        ("host_kv_blocks_used", stats.host_used_blocks),
        ("host_kv_blocks_capacity", 64),
    ):
        assert f'lampc_{name}{{model="{engine.info.name}"}} {value:.1f}' in page


# -- the order of copies on a GPU ------------------------------------------------------------------------


class Recorded:
    """A side that writes down what it was told, and of what copies were made within."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def follow(self) -> None:
        self.log.append("follow")

    def on(self) -> "Recorded":
        return self

    def __enter__(self) -> None:
        self.log.append("on")

    def __exit__(self, *_: object) -> None:
        self.log.append("off")

    def hold(self) -> None:
        self.log.append("hold")


class Logged(StagedTransfer):
    log: list[str]

    def _move(self, runs: Any, rows: Any) -> None:
        self.log.append("scatter" if runs[0].inward else "gather")
        super()._move(runs, rows)


def test_streams_wait_for_each_other_where_they_must() -> None:
    cache = KVCache(64, 2, 3, 8, CPU, torch.float32)
    log: list[str] = []
    moved = Logged(cache, 8, 4, Recorded(log), triton=False)
    moved.log = log
    copies = Copies()
    moved.run(copies)
    assert not log  # a step without copies costs nothing
    copies.add(False, 0, 0, [0, 1, 2, 3])
    copies.add(True, 0, 0, [8, 9, 10, 11])
    moved.run(copies)
    # What was computed before is waited for; slots are free again once gathered, and read only once scattered.
    out = ["on", "gather", "off", "hold", "on", "off"]
    assert log == ["follow", *out, "on", "scatter", "off", "hold"]


def noisy(int8: bool, device: torch.device = CPU) -> Any:
    """A cache in which every place is another."""
    cache = KVCache(64, 2, 3, 8, CPU, torch.float32, int8)
    noise = torch.Generator().manual_seed(3)
    cache.data[:] = torch.randint(-100, 100, cache.data.shape, generator=noise).to(cache.data.dtype)
    if cache.scales is not None:
        cache.scales[:] = torch.rand(cache.scales.shape, generator=noise)
    cache.data, cache.device = cache.data.to(device), device
    cache.scales = None if cache.scales is None else cache.scales.to(device)
    return cache


def moved_by(cache: Any, make: Any = lambda cache: PlainTransfer(cache, 8, 4)) -> Any:
    """The cache after blocks of several runs went out, and parts of them came back elsewhere."""
    copies = Copies()
    for block, slots in enumerate([[0, 1, 2, 3], [7, 4, 5, 6], [30, 31, 8, 9]]):
        copies.add(False, block, 0, slots)
    copies.add(True, 1, 1, [40, 41, 42])
    copies.add(True, 0, 0, [0, 50, 51, 52])
    copies.add(True, 2, 0, [53, 54, 55, 56])
    make(cache).run(copies)
    return cache


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_blocks_cross_in_pieces(int8: bool, rows: int) -> None:
    """However few fit into the memory in between: as plain copies."""

    def staged(cache: KVCache) -> StagedTransfer:
        made = StagedTransfer(cache, 8, 4, NoSide(), triton=False)
        made._rows = rows
        return made

    before, plain, other = noisy(int8), moved_by(noisy(int8)), moved_by(noisy(int8), staged)
    assert torch.equal(plain.data, other.data)
    assert torch.equal(plain.data[:, :, :, 40:43], before.data[:, :, :, 4:7])
    assert torch.equal(plain.data[:, :, :, 53:57], before.data[:, :, :, [30, 31, 8, 9]])
    if int8:
        assert torch.equal(plain.scales, other.scales)
        assert torch.equal(plain.scales[:, :, :, 50:53], before.scales[:, :, :, 1:4])


def test_groups_have_so_many_blocks_at_most() -> None:
    runs = [Run(False, block, offset, 8 * block + offset, 1) for block in (3, 1, 4) for offset in (0, 2)]
    assert list(grouped(runs, 2)) == [runs[:4], runs[4:]]
    assert list(grouped(runs, 9)) == [runs]


def test_host_memory_is_taken_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = KVCache(64, 2, 3, 8, CPU, torch.float32, int8=True)
    memory = HostMemory(cache, 10, 4)
    monkeypatch.setattr(memory, "_each", 4)
    assert memory.block_bytes == 4 * 2 * 2 * 3 * (8 + 4)
    data, scales = memory.block(9)
    assert data.shape == (2, 2, 3, 4, 8)
    assert scales.shape == (2, 2, 3, 4)
    assert [len(part) for slab in memory._slabs.values() for part in slab] == [2, 2]
    memory.block(1)
    assert len(memory._slabs) == 2
    assert memory.block(9)[0].data_ptr() == data.data_ptr()


def test_requests_of_many_kinds_at_once(tiny: Path) -> None:
    """All that wait together, on a device that holds two of them."""
    requests = [
        *turns(2),
        Request(tuple(range(50)), score=(1, 2, 3)),
        Request(tuple(range(50)), Sampling(max_tokens=3, ignore_eos=True), prompt_logprobs=True),
    ]
    engine, ample = load(tiny), load_engine(tiny, kv_tokens=2048)
    for _ in range(3):
        handles = [[one.submit(request) for request in requests] for one in (engine, ample)]
        engine.run()
        ample.run()
        engine.check()
        for ours, theirs in zip(*handles, strict=True):
            assert ours.completion.tokens == theirs.completion.tokens
            assert ours.completion.logprobs == theirs.completion.logprobs
            assert ours.completion.prompt_logprobs == theirs.completion.prompt_logprobs
    assert engine.stats().swapped_in_tokens > 50
