"""What nobody needs again goes at once where blocks are short; holds that yield go before a request would have to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lampc.backend import FakeEngine, Request, Sampling
from lampc.backend.block_pool import BlockPool
from lampc.backend.nodes import Cursor
from lampc.backend.radix import RadixTree
from tests.backend.engines import TimedEngine

BLOCK = 4


def tree_of(blocks: int) -> RadixTree:
    return RadixTree(BlockPool(blocks, BLOCK))


def cached(
    tree: RadixTree,
    ids: list[int],
    spent: int | None = None,
    next_use: float | None = None,
    held: Sequence[Cursor] = (),
) -> None:
    cursor = tree.insert(ids)
    tree.mark_written(cursor, len(ids))
    tree.release(cursor, next_use, spent)
    tree.check([*held])


def there(tree: RadixTree, ids: list[int]) -> int:
    node, offset = tree.match(ids)
    return node.start + offset


def test_it_goes_at_once_where_blocks_are_short_and_the_next_goes_on_in_the_same_block() -> None:
    tree = tree_of(2)
    cached(tree, [1, 2, 3, 4, 5, 6, 7], spent=6)
    assert there(tree, [1, 2, 3, 4, 5, 6, 7]) == 6
    cached(tree, [1, 2, 3, 4, 5, 6, 8])  # no third block is needed, nothing is evicted
    assert (tree.pool.used, tree.evicted) == (2, 0)


def test_where_there_is_room_it_stays_as_cache_and_goes_first() -> None:
    tree = tree_of(16)
    cached(tree, [1, 2, 3, 4, 5, 6, 7, 8, 9], spent=4)
    cached(tree, [20, 21, 22, 23])
    assert there(tree, [1, 2, 3, 4, 5, 6, 7, 8, 9]) == 9
    tree.evict(14)
    assert there(tree, [1, 2, 3, 4, 5, 6]) == 4
    assert there(tree, [20, 21, 22, 23]) == 4


def test_what_others_hold_or_foretold_stays() -> None:
    tree = tree_of(2)
    cursor = tree.insert([1, 2, 3, 4, 5, 6])
    tree.mark_written(cursor, 6)
    cached(tree, [1, 2, 3, 4, 5, 6, 7, 8], spent=2, held=[cursor])
    assert there(tree, [1, 2, 3, 4, 5, 6, 7, 8]) == 6
    tree.release(cursor)
    tree.check([])
    assert there(tree, [1, 2, 3, 4, 5, 6]) == 6


def test_next_use_is_that_of_what_stands_before() -> None:
    tree = tree_of(32)
    for first, when in ((10, 3.0), (20, 9.0), (30, 6.0)):
        cached(tree, [first, 1, 2, 3, 7, 7], spent=4, next_use=when)
    tree.evict(32 - 3)
    assert [there(tree, [first, 1, 2, 3, 7, 7]) for first in (10, 20, 30)] == [4, 4, 4]  # the tails go first
    tree.evict(32 - 2)
    assert [there(tree, [first, 1, 2, 3]) for first in (10, 20, 30)] == [4, 0, 4]
    tree.evict(32 - 1)
    assert [there(tree, [first, 1, 2, 3]) for first in (10, 20, 30)] == [4, 0, 0]


def asked(engine: FakeEngine, first: int, length: int = 30, **options: object) -> Request:
    return Request((first, *range(100, 100 + length - 1)), Sampling(max_tokens=1, ignore_eos=True), **options)  # type: ignore[arg-type]


def test_a_hold_that_yields_is_let_go_before_a_request_starves() -> None:
    engine = FakeEngine(["x"] * 9, kv_tokens=64, block_size=16)
    engine.submit(asked(engine, 1))
    engine.run()
    firm = engine.retain(asked(engine, 1).prompt[:16])
    soft = [engine.retain(asked(engine, 1).prompt, None, when, True) for when in (1.0, 2.0)]
    handle = engine.submit(asked(engine, 2, 46))  # three blocks of four
    engine.run()
    assert handle.completion is not None
    assert handle.completion.finish == "length"
    engine.check()
    assert len(engine._pins.cursors()) == 1
    for ref in soft:
        engine.release(ref, None, 16)
    engine.release(firm)
    with pytest.raises(ValueError, match="is not held"):
        engine.release(firm)
    engine.check()


def test_holds_yield_before_a_request_is_preempted_and_those_needed_last_first() -> None:
    engine = FakeEngine(["a" * 60] * 9, kv_tokens=96, block_size=16, policy="fcfs")
    prompts = [(i, *range(100, 115)) for i in range(3)]
    for prompt in prompts:
        engine.submit(Request(prompt, Sampling(max_tokens=1, ignore_eos=True)))
    engine.run()
    for prompt, when in zip(prompts, (5.0, 9.0, 1.0), strict=True):
        engine.retain(prompt, None, when, True)
    handle = engine.submit(Request((50, 51), Sampling(max_tokens=60, stop_ids=(0,), ignore_eos=True)))
    while not handle.done:
        engine.step()
        engine.check()
    assert engine.stats().preemptions == 0
    assert [ref.ids[0] for ref, _ in engine._pins._held.values()] == [0, 2]


def test_what_was_let_go_is_told_all_the_same_that_nobody_needs_it() -> None:
    engine = TimedEngine(kv_tokens=64, block_size=16)
    request = asked(engine, 1, 60)
    engine.submit(request)
    engine.run()
    ref = engine.retain(request.prompt, 1.0, 5.0, True)
    for _ in range(3):
        engine.submit(Request((3,), Sampling(max_tokens=1, ignore_eos=True)))
        engine.run()
    assert not engine._pins.cursors()  # its time was up
    engine.release(ref, None, 16)
    engine.check()
    assert engine._tree.match(request.prompt)[0].start + engine._tree.match(request.prompt)[1] == 16


@pytest.mark.parametrize("spent", [-1, 1.5, True, "x"])
def test_a_position_is_a_whole_number(spent: object) -> None:
    with pytest.raises(ValueError, match="give a position from 0"):
        Request((1,), spent=spent)  # type: ignore[arg-type]
    engine = FakeEngine()
    ref = engine.retain((1, 2))
    with pytest.raises(ValueError, match="give a position from 0"):
        engine.release(ref, None, spent)  # type: ignore[arg-type]
    engine.release(ref)
