"""The second tier of K/V: which pieces it keeps, and that what comes back is what went, in whatever order."""

import contextlib
import random

import pytest

from lampc.backend.block_pool import BlockPool
from lampc.backend.copies import Copies, Run
from lampc.backend.errors import OutOfBlocks
from lampc.backend.eviction import NEVER
from lampc.backend.host_tier import HostTier
from lampc.backend.nodes import Cursor
from lampc.backend.radix import RadixTree
from lampc.backend.swap_rule import SwapRule

SIZE = 4


class Twin:
    """A tree with a tier of each kind, and a model of both memories: the prefix whose K/V each place has."""

    def __init__(self, blocks: int, host: int) -> None:
        self.tier = HostTier(host, SIZE, SwapRule(0.0))
        self.tree = RadixTree(BlockPool(blocks, SIZE), self.tier)
        self.slots: dict[int, tuple[int, ...]] = {}
        self.host: dict[tuple[int, int], tuple[int, ...]] = {}
        self.held: list[tuple[Cursor, tuple[int, ...]]] = []

    def insert(self, ids: tuple[int, ...]) -> int:
        """Holds a path and computes nothing; gives how many of its tokens are there."""
        cursor = self.tree.insert(ids)
        self.held.append((cursor, ids))
        return self.tree.written(cursor)

    def step(self, end: int = 1000) -> None:
        """Makes all copies, then computes all paths up to `end`, reading what is before."""
        for batch in self.tier.copies.drain():
            for run in reversed(batch):
                for i in range(run.length):
                    slot, place = run.slot + i, (run.block, run.offset + i)
                    if run.inward:
                        self.slots[slot] = self.host[place]
                    else:
                        self.host[place] = self.slots[slot]
        for cursor, ids in self.held:
            path = self.tree.slots(cursor)
            for at in range(self.tree.written(cursor), min(end, len(ids))):
                self.slots[path[at]] = ids[: at + 1]
            self.tree.mark_written(cursor, min(end, len(ids)))
            for at in range(self.tree.written(cursor)):
                assert self.slots[path[at]] == ids[: at + 1]

    def release(self, which: int = 0, next_use: float | None = None) -> None:
        self.tree.release(self.held.pop(which)[0], next_use)

    def visit(self, ids: tuple[int, ...], next_use: float | None = None) -> int:
        """A request that comes, is computed and goes; gives how many of its tokens it found."""
        found = self.insert(ids)
        self.step()
        self.release(-1, next_use)
        self.check()
        return found

    def check(self) -> None:
        self.tree.check([cursor for cursor, _ in self.held])


def text(start: int, count: int) -> tuple[int, ...]:
    return tuple(range(start, start + count))


def test_what_was_evicted_comes_back() -> None:
    twin = Twin(blocks=4, host=8)
    assert twin.visit(text(0, 14)) == 0
    assert twin.visit(text(100, 15)) == 0  # in its place
    assert twin.tier.swapped_out == 12  # whole pieces
    assert twin.visit(text(0, 14)) == 12
    assert twin.tier.swapped_in == 12
    assert twin.tier.used == 6


def test_what_went_twice_is_copied_once() -> None:
    twin = Twin(blocks=4, host=8)
    for _ in range(5):
        twin.visit(text(0, 16))
        twin.visit(text(100, 16))
    assert twin.tier.swapped_out == 32
    assert twin.tier.swapped_in == 8 * 16


def test_a_branch_within_a_block_comes_back_whole() -> None:
    """Blocks of the branch begin in the middle of pieces; one piece is then of two blocks."""
    twin = Twin(blocks=8, host=16)
    twin.visit(text(0, 14))
    branch = text(0, 6) + text(50, 12)
    twin.visit(branch)
    twin.visit(text(100, 32))  # all else goes
    assert twin.visit(branch) == 16
    twin.visit(text(100, 32))
    assert twin.visit(text(0, 14)) == 12


def test_it_goes_on_in_the_middle_of_a_piece() -> None:
    twin = Twin(blocks=5, host=8)
    twin.visit(text(0, 16))
    twin.visit(text(100, 20))
    twin.insert(text(0, 6) + text(60, 2))  # the first six tokens are there again, computed or copied
    twin.step()
    assert twin.insert(text(0, 12)) == 12
    twin.step()


def test_nothing_comes_back_behind_what_somebody_is_about_to_compute() -> None:
    twin = Twin(blocks=8, host=8)
    twin.visit(text(0, 16))
    twin.visit(text(100, 32))
    for ids in (text(0, 3), text(0, 16)):  # the first needs less than a piece, so that it is computed
        assert twin.insert(ids) == 0
    assert twin.tier.swapped_in == 0
    twin.step()
    twin.check()


def test_a_small_tier_keeps_the_beginning() -> None:
    """Ends are evicted before beginnings, so it is the ends that go from the tier, too."""
    twin = Twin(blocks=4, host=2)
    twin.visit(text(0, 16))
    twin.visit(text(100, 16))
    assert twin.tier.used == 2
    assert twin.visit(text(0, 16)) == 8


def test_one_block_of_host_memory() -> None:
    """Each piece takes the block of the one below it, which is the only reason why that one is there."""
    twin = Twin(blocks=4, host=1)
    twin.visit(text(0, 16))
    twin.visit(text(100, 16))
    assert twin.visit(text(0, 16)) == 4


def test_what_is_needed_sooner_stays() -> None:
    twin = Twin(blocks=4, host=4)
    twin.visit(text(0, 16), next_use=1.0)
    twin.visit(text(100, 16), next_use=5.0)
    twin.visit(text(200, 16))
    twin.visit(text(300, 16))  # neither finds room
    assert twin.tier.swapped_out == 16
    assert twin.visit(text(0, 16)) == 16


def test_what_is_not_needed_again_is_not_copied() -> None:
    twin = Twin(blocks=4, host=4)
    twin.visit(text(0, 16), next_use=NEVER)
    twin.visit(text(100, 16))
    assert twin.tier.swapped_out == 0


def test_what_is_cheaper_computed_is_not_copied() -> None:
    twin = Twin(blocks=4, host=8)
    twin.visit(text(0, 16))
    twin.tier.rule.copy_s = 1.0
    twin.tier.rule.computed(512, 512, 2.0)
    twin.visit(text(100, 16))
    assert twin.tier.swapped_out == 0
    twin.tier.rule.copy_s = 0.001
    twin.visit(text(200, 16))
    assert twin.tier.swapped_out == 16
    twin.tier.rule.copy_s = 1.0
    assert twin.visit(text(100, 16)) == 0


def test_the_rule_compares_the_best_of_prefill_with_copies() -> None:
    rule = SwapRule(1e-4)
    assert rule.pays
    rule.computed(100, 100, 0.05)
    assert rule.pays
    rule.computed(3, 100, 0.001)  # a step that decodes
    rule.computed(8, 8, 0.0001)  # too few
    assert rule.pays
    rule.computed(100, 100, 0.005)
    rule.computed(100, 100, 0.5)  # a slow one says nothing
    assert not rule.pays


def test_copies_are_cut_where_order_matters() -> None:
    copies = Copies()
    copies.add(False, 0, 0, [8, 9, 2, 3])
    copies.add(False, 1, 0, [4, 5, 6, 7])
    copies.add(True, 0, 1, [9, 10, 11])
    copies.add(True, 1, 0, [12, 13, 14, 15])
    copies.add(True, 2, 2, [11, 16])  # slot 11 again
    copies.add(False, 1, 0, [0, 1, 2, 3])
    copies.add(False, 1, 0, [4, 5, 6, 7])  # block 1 again
    again = Copies.of(copies.numbers())
    batches = list(copies.drain())
    assert [len(batch) for batch in batches] == [3, 2, 2, 1, 1]
    assert batches[0][:2] == [Run(False, 0, 0, 8, 2), Run(False, 0, 2, 2, 2)]
    assert batches[2] == [Run(True, 2, 2, 11, 1), Run(True, 2, 3, 16, 1)]
    assert not copies
    assert list(again.drain()) == batches


def test_a_batch_that_failed_comes_again() -> None:
    copies = Copies()
    copies.add(False, 0, 0, [0, 1])
    copies.add(True, 1, 0, [2, 3])

    def fail() -> None:
        for batch in copies.drain():
            if batch[0].inward:
                raise RuntimeError("device")

    with pytest.raises(RuntimeError, match="device"):
        fail()
    assert [batch[0].inward for batch in copies.drain()] == [True]


@pytest.mark.parametrize("host", [1, 2, 5, 40])
def test_random_paths(host: int) -> None:
    rng = random.Random(host)
    twin = Twin(blocks=14, host=host)
    stems = [tuple(rng.randrange(3) for _ in range(18)) for _ in range(3)]
    for _ in range(1500):
        move = rng.random()
        if move < 0.5:
            stem = rng.choice(stems)[: rng.randint(1, 18)]
            with contextlib.suppress(OutOfBlocks):
                twin.insert(stem + tuple(rng.randrange(3) for _ in range(rng.randint(0, 6))))
        elif move < 0.7:
            twin.step(rng.choice([5, 13, 1000]))
        elif move < 0.99 and twin.held:
            twin.release(rng.randrange(len(twin.held)), rng.choice([None, None, 1.0, 2.0, NEVER]))
        elif move > 0.997:
            twin.tree.clear()
            assert twin.tier.used == 0
        twin.check()
    assert twin.tier.swapped_in > 20
