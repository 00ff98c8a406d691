"""The prefix tree: sharing, splitting, eviction, and random use against a plain model."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import OutOfBlocks
from lampc.backend.radix import Cursor, RadixTree


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
    tree.mark_unwritten(a, 1)
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
        chunks = []
        for which in chosen:
            cursor, known = self.open[which % len(self.open)]
            start = self.tree.written(cursor)
            end = min(len(known), start + count)
            self.tree.mark_written(cursor, end)
            if end > start:
                chunks.append((cursor, start))
        for cursor, start in chunks:
            self.tree.mark_unwritten(cursor, start)
        assert [self.tree.written(cursor) for cursor, _ in self.open] == before

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 99))
    def release(self, which: int) -> None:
        cursor, _ = self.open.pop(which % len(self.open))
        self.tree.release(cursor)

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
