"""Who has blocks: what a naive account of slots and prefixes says after every step, and paths that are placed anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lampc.backend.fake import FakeEngine
from lampc.backend.nodes import Node
from lampc.backend.plan import Plan
from lampc.backend.policies import POLICIES
from lampc.backend.request import Handle, Request, Sampling
from tests.backend.engines import request, teach, vague

SIZE = 4
AMPLE = 1 << 14


class Account:
    """Stands where a model would: `there` are the prefixes whose K/V was in the tree before the step, by slot."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.inner = engine, engine._runner
        self.there: dict[int, tuple[int, ...]] = {}
        self.evicted = 0
        self.rows = self.again = 0  # that store K/V; of these, of prefixes that were evicted before
        self.known: set[tuple[int, ...]] = set()
        engine._runner = self  # type: ignore[assignment]

    def execute(self, plan: Plan) -> Any:
        before = set(self.there.values()) if self.engine._tree.evicted == self.evicted else set()
        for chunk in plan.chunks:
            # Of what is cached at most the last known token goes through the model once more: its logits are wanted.
            assert chunk.write_from - chunk.start <= 1
            for at in range(max(chunk.start, chunk.write_from), chunk.end):
                prefix = tuple(chunk.job.ids[: at + 1])
                assert prefix not in before, f"computed, though cached: {prefix}"
                self.rows += 1
                self.again += prefix in self.known
                self.known.add(prefix)
        return self.inner.execute(plan)

    def step(self) -> None:
        """A step of the engine; then everything is counted anew."""
        engine, tree = self.engine, self.engine._tree
        engine.step()
        engine.check()
        engine._scheduler.lanes.settle()
        self.there = dict(written(tree.root, ()))
        self.evicted = tree.evicted
        running = {job: job.cursor for job in engine._jobs.values() if job.cursor is not None}
        locked = {slot // SIZE for cursor in running.values() for node in way(cursor.node) for slot in node.slots}
        assert len(locked) == tree.locked_blocks
        taken = {slot // SIZE for node in tree.below(tree.root) for slot in node.slots}
        assert len(taken) == tree.pool.used
        for job, cursor in running.items():  # each has its own prefix in its slots, as far as it is written
            ids = (*job.request.ids, *job.handle.sent)
            assert all(
                self.there[s] == ids[: at + 1] for at, s in enumerate(tree.slots(cursor)[: tree.written(cursor)])
            )

    def finish(self, handles: list[Handle], limit: int = 5000) -> None:
        for _ in range(limit):
            if all(h.done for h in handles):
                return
            self.step()
        raise AssertionError("not everybody ended")


def way(node: Node | None) -> Iterator[Node]:
    """A node and those above it, which whoever is in it holds whole."""
    while node is not None:
        yield node
        node = node.parent


def written(node: Node, above: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """Slots under a node and the prefixes that were written there."""
    path = (*above, *node.ids)
    found = [(node.slots[i], path[: len(above) + i + 1]) for i in range(node.written)]
    for child in node.children.values():
        found += written(child, path)
    return found


def alone(wanted: Request) -> tuple[int, ...]:
    """The tokens of a request that has an engine to itself."""
    engine = FakeEngine(kv_tokens=AMPLE, block_size=SIZE)
    handle = engine.submit(wanted)
    engine.run()
    assert handle.completion is not None
    return handle.completion.tokens


def tokens(handle: Handle) -> tuple[int, ...]:
    assert handle.completion is not None
    assert handle.completion.error is None
    return handle.completion.tokens


prompts = st.builds(lambda stem, own: "abcabdab"[:stem] + own, st.integers(0, 8), st.text("ab", min_size=1, max_size=6))


@settings(max_examples=50)
@given(
    wanted=st.lists(st.tuples(prompts, st.integers(1, 14), st.integers(0, 3)), min_size=1, max_size=8),
    blocks=st.integers(8, 14),
    budget=st.sampled_from([5, 40]),
    policy=st.sampled_from(sorted(POLICIES)),
    places=st.integers(1, 5),
)
def test_blocks_tokens_and_rows_of_small_pools(
    wanted: list[tuple[str, int, int]], blocks: int, budget: int, policy: str, places: int
) -> None:
    """Lengths are uncertain and expected to be short: blocks run out, requests are preempted, and all of them end."""
    engine = FakeEngine(
        kv_tokens=blocks * SIZE, block_size=SIZE, max_batch_tokens=budget, max_running=places, policy=policy
    )
    teach(engine)
    account = Account(engine)
    handles = []
    for text, count, steps in wanted:
        handles.append(engine.submit(vague(text, count)))
        for _ in range(steps):
            account.step()
    account.finish(handles)
    for handle in handles:
        assert tokens(handle) == alone(handle.request)
    assert engine._tree.locked_blocks == 0
    if not engine._tree.evicted:
        assert not account.again


@settings(max_examples=30)
@given(
    wanted=st.lists(st.tuples(prompts, st.integers(1, 14)), min_size=1, max_size=10),
    budget=st.sampled_from([3, 11, 40]),
    policy=st.sampled_from(sorted(POLICIES)),
)
def test_where_there_is_room_every_prefix_is_computed_once(
    wanted: list[tuple[str, int]], budget: int, policy: str
) -> None:
    engine = FakeEngine(kv_tokens=AMPLE, block_size=SIZE, max_batch_tokens=budget, policy=policy)
    account = Account(engine)
    handles = [engine.submit(request(text, count)) for text, count in wanted]
    account.finish(handles)
    paths = [(*h.request.ids, *tokens(h)[:-1]) for h in handles]  # the last token of an answer needs no K/V
    assert account.rows == len({path[:end] for path in paths for end in range(1, len(path) + 1)})
    assert engine.stats().preemptions == 0


def parted(blocks: int, stems: list[int]) -> tuple[FakeEngine, tuple[int, ...]]:
    """An engine in whose tree a path of `max(stems)` tokens parts from others after so many: each time its block is not
    filled, if that is no multiple of the block's size."""
    engine = FakeEngine(kv_tokens=blocks * SIZE, block_size=SIZE)
    teach(engine)
    engine.reset_cache()
    path: tuple[int, ...] = ()
    for end in sorted(stems):
        path += (97,) * (end - len(path))
        handle = engine.submit(Request((*path, 98), Sampling(max_tokens=1, ignore_eos=True)))
        engine.run()
        assert handle.done
    return engine, path


@settings(max_examples=40)
@given(stems=st.lists(st.integers(1, 16), min_size=1, max_size=4, unique=True), blocks=st.integers(8, 12))
@example(stems=[1, 5, 9, 13], blocks=8)
def test_a_path_with_gaps_is_placed_anew_and_takes_every_block(stems: list[int], blocks: int) -> None:
    """It needs all slots that there are. What parted from it is nobody's any more; once that is given up it fits."""
    engine, path = parted(blocks, stems)
    account = Account(engine)
    count = blocks * SIZE - len(path) + 1  # the last token needs no slot
    handle = engine.submit(vague("a" * len(path), count))
    account.finish([handle])
    assert tokens(handle) == alone(handle.request)
    assert engine.stats().peak_blocks == blocks
    assert sorted(account.there) == list(range(blocks * SIZE)), "a slot was left empty"
    assert engine.stats().preemptions <= 1  # it is placed anew once


@pytest.mark.parametrize(
    ("stems", "again"), [([1], 28), ([1, 5, 9, 13], 16), ([3, 4], 24), ([15], 16), ([4], 0), ([4, 8], 0)]
)
def test_what_is_placed_anew_is_computed_again_and_only_where_there_are_gaps(stems: list[int], again: int) -> None:
    """Eight blocks; what it had computed itself before the last of them ran out. Whole blocks leave no gap."""
    engine, path = parted(8, stems)
    account = Account(engine)
    handle = engine.submit(vague("a" * len(path), 8 * SIZE - len(path) + 1))
    account.finish([handle])
    assert tokens(handle) == alone(handle.request)
    assert (engine.stats().preemptions, account.again) == (int(again > 0), again)


def test_one_that_needs_more_than_there_is_ends_with_an_error() -> None:
    engine, path = parted(8, [1, 5])
    account = Account(engine)
    handle = engine.submit(vague("a" * len(path), 8 * SIZE - len(path) + 2))
    account.finish([handle])
    assert handle.completion is not None
    assert "KV blocks are needed" in (handle.completion.error or "")
    assert engine.stats().preemptions == 1  # it is not tried for ever
    assert engine._tree.locked_blocks == 0


def test_who_did_not_fit_is_asked_again_once_somebody_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(kv_tokens=16 * SIZE, block_size=SIZE)
    account, asked, forecast = Account(engine), [0], engine._scheduler._forecast
    fit = forecast.fit

    def counted(*args: Any, **options: Any) -> bool:
        asked[0] += 1
        return fit(*args, **options)

    monkeypatch.setattr(forecast, "fit", counted)
    first, second = engine.submit(request("a first one", 40)), engine.submit(request("b comes later", 40))
    while not first.done:
        account.step()
        assert engine._scheduler.running == [job for job in engine._jobs.values() if job.handle is first]
    assert asked[0] <= 2  # at once, and when it is known how long the first one's prompt takes
    account.finish([second])
    assert (tokens(first), tokens(second)) == (alone(first.request), alone(second.request))
    assert engine.stats().preemptions == 0


@pytest.mark.parametrize("option", ["max_batch_tokens", "max_running", "chunk"])
def test_sizes_are_checked(option: str) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        FakeEngine(**{option: 0})
