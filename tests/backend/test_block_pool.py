"""The block pool against a plain model of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import OutOfBlocks


def test_appending_fills_a_block_before_taking_another() -> None:
    pool = BlockPool(4, 4)
    first = pool.extend(None, 3)
    assert pool.used == 1
    assert pool.room_after(first[-1]) == 1
    assert pool.blocks_for(first[-1], 2) == 1
    more = pool.extend(first[-1], 2)
    assert pool.used == 2
    assert more[0] == first[-1] + 1


def test_one_more_token_is_the_same_as_extending_by_one() -> None:
    ours, other = BlockPool(2, 3), BlockPool(2, 3)
    held, twin = ours.extend(None, 2), other.extend(None, 2)
    for _ in range(4):
        slot = ours.append(held[-1])
        assert slot is not None
        held.append(slot)
        twin += other.extend(twin[-1], 1)
    assert held == twin
    assert ours.append(held[-1]) is None
    ours.check(held)
    assert ours.peak == 2


def test_a_second_branch_takes_its_own_block() -> None:
    pool = BlockPool(4, 4)
    stem = pool.extend(None, 2)
    left = pool.extend(stem[-1], 1)
    right = pool.extend(stem[-1], 1)
    assert left[0] == stem[-1] + 1
    assert right[0] // 4 != stem[0] // 4
    pool.release(left)
    assert pool.room_after(stem[-1]) == 2
    pool.check(stem + right)


def test_double_free_raises() -> None:
    pool = BlockPool(2, 2)
    slots = pool.extend(None, 2)
    pool.release(slots)
    with pytest.raises(AssertionError, match="released twice"):
        pool.release(slots)


def test_a_leak_is_noticed() -> None:
    pool = BlockPool(2, 2)
    slots = pool.extend(None, 2)
    with pytest.raises(AssertionError, match="leaked"):
        pool.check(slots[:1])


def test_running_out_changes_nothing() -> None:
    pool = BlockPool(2, 4)
    slots = pool.extend(None, 5)
    with pytest.raises(OutOfBlocks, match="1 KV blocks are needed but only 0"):
        pool.extend(slots[-1], 4)
    pool.check(slots)
    with pytest.raises(ValueError, match="give both"):
        BlockPool(0, 4)


@given(
    block_size=st.integers(1, 5),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 50), st.integers(1, 9)), max_size=60),
)
def test_random_branches_never_alias(block_size: int, moves: list[tuple[bool, int, int]]) -> None:
    pool = BlockPool(12, block_size)
    spans: list[list[int]] = []
    for grow, which, count in moves:
        if grow:
            parent = spans[which % len(spans)][-1] if spans and which % 3 else None
            try:
                spans.append(pool.extend(parent, count))
            except OutOfBlocks:
                assert pool.blocks_for(parent, count) > pool.free
        elif spans:
            pool.release(spans.pop(which % len(spans)))
        pool.check([slot for span in spans for slot in span])
    for span in spans:
        pool.release(span)
    assert pool.free == pool.total
