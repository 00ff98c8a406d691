"""The prefix tree: sharing, splitting, eviction, and random use against a plain model."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import OutOfBlocks
from lampc.backend.nodes import Cursor
from lampc.backend.radix import RadixTree


def tree_of(blocks: int = 50, block_size: int = 4) -> RadixTree:
    return RadixTree(BlockPool(blocks, block_size))


def write(tree: RadixTree, cursor: Cursor) -> None:
    tree.mark_written(cursor, cursor.length)


def test_equal_prefixes_share_slots_down_to_the_token() -> None:
    tree = tree_of()
    a = tree.insert([1, 2, 3, 4, 5, 6])
    b = tree.insert([1, 2, 3, 9, 9])
    assert tree.slots(a)[:3] == tree.slots(b)[:3]
    assert not set(tree.slots(a)[3:]) & set(tree.slots(b)[3:])
    tree.check([a, b])


def test_written_is_a_prefix_and_is_shared() -> None:
    tree = tree_of()
    a, b = tree.insert([1, 2, 3, 4]), tree.insert([1, 2, 7])
    tree.mark_written(a, 3)
    assert (tree.written(a), tree.written(b)) == (3, 2)
    tree.take_back(tree.slots(a)[1:])
    assert (tree.written(a), tree.written(b)) == (1, 1)


def test_written_tokens_stay_cached_and_the_others_go() -> None:
    tree = tree_of()
    a = tree.insert(list(range(10)))
    tree.mark_written(a, 6)
    tree.release(a)
    tree.check([])
    assert tree.pool.live_slots == 6
    node, offset = tree.match(list(range(10)))
    assert node.start + offset == 6


def test_a_follower_keeps_what_the_leader_leaves() -> None:
    tree = tree_of()
    a, b = tree.insert([1, 2, 3, 4, 5]), tree.insert([1, 2, 3])
    tree.release(a)
    tree.check([b])
    assert tree.pool.live_slots == 3
    assert tree.written(b) == 0


def test_generation_grows_in_place_and_branches_when_shared() -> None:
    tree = tree_of()
    a = tree.insert([1, 2])
    tree.extend(a, [3])
    assert a.node.ids == [1, 2, 3]
    b = tree.insert([1, 2, 3])
    tree.extend(a, [4])
    tree.extend(b, [4])
    assert tree.slots(a) == tree.slots(b)
    tree.extend(b, [5])
    tree.extend(a, [6])
    assert tree.slots(a)[:4] == tree.slots(b)[:4]
    tree.check([a, b])


def test_eviction_takes_the_least_recently_used_end_first() -> None:
    tree = tree_of(blocks=4, block_size=2)
    for ids in ([1, 2, 3, 4], [5, 6, 7, 8]):
        cursor = tree.insert(ids)
        write(tree, cursor)
        tree.release(cursor)
    tree.release(tree.insert([1, 2]))
    cursor = tree.insert([9])
    assert tree.match([5, 6, 7, 8])[1] == 2
    assert tree.match([1, 2, 3, 4])[1] == 4
    assert tree.evicted == 2
    tree.check([cursor])


def cache(tree: RadixTree, ids: list[int], next_use: float | None = None, spent: int | None = None) -> None:
    cursor = tree.insert(ids)
    write(tree, cursor)
    tree.release(cursor, next_use, spent)


def cached(tree: RadixTree, ids: list[int]) -> int:
    node, offset = tree.match(ids)
    return node.start + offset


def test_what_is_needed_last_goes_first_when_that_is_known() -> None:
    tree = tree_of(blocks=8, block_size=2)
    for first, next_use in ((10, 3.0), (20, 7.0), (30, None), (40, 5.0)):
        cache(tree, [first, 1, 2, 3], next_use)
    gone = []
    for blocks in range(2, 9, 2):
        tree.evict(blocks)
        gone += [first for first in (10, 20, 30, 40) if not cached(tree, [first, 1]) and first not in gone]
    assert gone == [30, 20, 40, 10]
    tree.check([])


def test_a_use_that_was_foretold_counts_once() -> None:
    tree = tree_of(blocks=4, block_size=2)
    cache(tree, [1, 2, 3, 4], next_use=1.0)
    cache(tree, [5, 6, 7, 8], next_use=2.0)
    cache(tree, [1, 2, 3, 4])  # the use at 1.0; nobody knows of another
    tree.evict(2)
    assert (cached(tree, [1, 2, 3, 4]), cached(tree, [5, 6, 7, 8])) == (0, 4)


def test_a_shared_stem_is_kept_as_long_as_its_soonest_branch() -> None:
    tree = tree_of(blocks=5, block_size=2)
    cache(tree, [1, 2, 3, 4], next_use=9.0)
    cache(tree, [1, 2, 5, 6], next_use=1.0)
    cache(tree, [7, 8], next_use=5.0)
    tree.evict(2)
    assert [cached(tree, ids) for ids in ([1, 2, 3, 4], [1, 2, 5, 6], [7, 8])] == [2, 4, 2]
    tree.evict(3)
    assert [cached(tree, ids) for ids in ([1, 2, 5, 6], [7, 8])] == [4, 0]
    tree.evict(4)  # what is left of the branch is needed as soon as the branch was
    assert cached(tree, [1, 2, 5, 6]) == 2


def test_what_is_spent_goes_before_everything_else() -> None:
    tree = tree_of(blocks=7, block_size=2)
    cache(tree, [5, 6, 7, 8])
    cache(tree, [1, 2, 3, 4, 9, 9], spent=2)
    cache(tree, [6, 6], next_use=math.inf)
    tree.evict(4)
    assert [cached(tree, ids) for ids in ([5, 6, 7, 8], [1, 2, 3, 4], [6, 6])] == [4, 2, 0]
    cache(tree, [1, 2, 3, 4, 9, 9], spent=2)
    held = tree.insert([1, 2, 3, 4])
    cache(tree, [1, 2, 3, 4, 9, 9], spent=0)  # not what somebody else holds
    tree.evict(4)
    assert tree.written(held) == 4
    tree.check([held])


def test_locked_blocks_are_those_that_no_eviction_frees() -> None:
    tree = tree_of(blocks=20, block_size=4)
    a, b = tree.insert(list(range(10))), tree.insert([*range(6), 70, 71, 72])
    for cursor in (a, b):
        write(tree, cursor)
    assert (tree.locked_blocks, tree.own(a), tree.own(b)) == (4, (1, 4), (1, 3))
    tree.release(a)
    tree.clear()
    assert tree.pool.used == tree.locked_blocks == 3
    assert tree.own(b) == (3, 9)
    tree.release(b)
    assert tree.locked_blocks == 0


def test_finding_what_to_evict_does_not_walk_the_tree() -> None:
    looked = {}
    for size in (100, 10_000):
        tree = tree_of(blocks=size, block_size=4)
        for i in range(size):
            cache(tree, [i % 10, i, 0, 0], next_use=float(i) if i % 3 else None)
        before = tree.ends.examined
        for i in range(1000):
            cache(tree, [i % 10, size + i, 0, 0])
        looked[size] = tree.ends.examined - before
    assert looked[10_000] <= looked[100] < 2500


def test_the_heap_of_ends_does_not_outgrow_the_tree() -> None:
    tree = tree_of(blocks=64, block_size=4)
    for _ in range(50):
        for i in range(60):
            cache(tree, [i, 1, 2])
            cache(tree, [i, 1, 2], spent=0)
    assert len(tree.ends) <= 2 * 60 + 64


def test_held_paths_are_not_evicted() -> None:
    tree = tree_of(blocks=2, block_size=2)
    held = tree.insert([1, 2, 3])
    write(tree, held)
    with pytest.raises(OutOfBlocks):
        tree.insert([9, 9])
    tree.clear()
    assert tree.written(held) == 3
    tree.check([held])


def test_the_tail_past_a_cursor_can_be_evicted() -> None:
    tree = tree_of(blocks=3, block_size=2)
    long = tree.insert([1, 2, 3, 4, 5])
    write(tree, long)
    short = tree.insert([1, 2])
    tree.release(long)
    other = tree.insert([7, 8, 9])
    assert tree.slots(short) == tree.slots(short)[:2]
    tree.check([short, other])


def test_private_roots_share_nothing_and_vanish() -> None:
    tree = tree_of()
    a = tree.insert([1, 2, 3], tree.new_root())
    b = tree.insert([1, 2, 3], tree.new_root())
    assert not set(tree.slots(a)) & set(tree.slots(b))
    write(tree, a)
    tree.release(a)
    tree.release(b)
    tree.check([])
    assert tree.pool.live_slots == 0


class TreeMachine(RuleBasedStateMachine):
    """Random requests over a small alphabet; each open one knows its ids, written ids are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = tree_of(blocks=10, block_size=3)
        self.open: list[tuple[Cursor, list[int]]] = []

    @rule(ids=st.lists(st.integers(0, 2), min_size=1, max_size=12), private=st.booleans())
    def insert(self, ids: list[int], private: bool) -> None:
        try:
            cursor = self.tree.insert(ids, self.tree.new_root() if private else None)
        except OutOfBlocks:
            return
        self.open.append((cursor, list(ids)))

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 99), ids=st.lists(st.integers(0, 2), min_size=1, max_size=4))
    def extend(self, which: int, ids: list[int]) -> None:
        cursor, known = self.open[which % len(self.open)]
        try:
            self.tree.extend(cursor, ids)
            known += ids
        except OutOfBlocks:
            known += ids[: cursor.length - len(known)]

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 99), count=st.integers(1, 6))
    def write(self, which: int, count: int) -> None:
        cursor, known = self.open[which % len(self.open)]
        before = self.tree.written(cursor)
        end = min(len(known), before + count)
        self.tree.mark_written(cursor, end)
        assert self.tree.written(cursor) == end

    @precondition(lambda self: self.open)
    @rule(chosen=st.lists(st.integers(0, 99), min_size=1, max_size=3), count=st.integers(1, 6))
    def write_and_fail(self, chosen: list[int], count: int) -> None:
        """A step that marks what some requests compute, and then takes all of it back."""
        before = [self.tree.written(cursor) for cursor, _ in self.open]
        slots: list[int] = []
        for which in chosen:
            cursor, known = self.open[which % len(self.open)]
            start = self.tree.written(cursor)
            end = min(len(known), start + count)
            self.tree.mark_written(cursor, end)
            if end > start:
                slots += self.tree.slots(cursor)[start:end]
        self.tree.take_back(slots)
        assert [self.tree.written(cursor) for cursor, _ in self.open] == before

    @precondition(lambda self: self.open)
    @rule(
        which=st.integers(0, 99),
        next_use=st.sampled_from([None, None, 1.0, 2.0, math.inf]),
        spent=st.sampled_from([None, 0, 2, 5]),
        sure=st.booleans(),
    )
    def release(self, which: int, next_use: float | None, spent: int | None, sure: bool) -> None:
        cursor, _ = self.open.pop(which % len(self.open))
        self.tree.release(cursor, next_use, spent, sure)

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 99), token=st.integers(0, 2))
    def append(self, which: int, token: int) -> None:
        cursor, known = self.open[which % len(self.open)]
        slot = self.tree.append(cursor, token)
        if slot is not None:
            known.append(token)
            assert self.tree.slots(cursor)[-1] == slot
            assert self.tree.written(cursor) == len(known)

    @rule(blocks=st.integers(1, 10))
    def evict(self, blocks: int) -> None:
        self.tree.evict(blocks)
        assert self.tree.pool.free >= min(blocks, self.tree.pool.total - self.tree.locked_blocks)

    @rule()
    def clear(self) -> None:
        self.tree.clear()

    @invariant()
    def holds(self) -> None:
        self.tree.check([cursor for cursor, _ in self.open])
        for cursor, ids in self.open:
            spelled: list[int] = list(cursor.node.ids[: cursor.offset])
            node = cursor.node.parent
            while node is not None:
                spelled = node.ids + spelled
                node = node.parent
            assert spelled == ids
            assert len(self.tree.slots(cursor)) == len(ids)

    def teardown(self) -> None:
        for cursor, _ in self.open:
            self.tree.release(cursor)
        self.tree.clear()
        self.tree.check([])
        assert self.tree.pool.used == 0


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
