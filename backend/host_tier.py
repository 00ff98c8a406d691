"""The second tier of K/V, in host memory: which token sequences it has, and which of them go when room is needed.

What the prefix tree evicts is kept here, and a request whose prompt goes on where the tree ends takes it back by a copy
instead of computing it. Sequences are cut into pieces of as many tokens as a block has, counted from position 0, each
known by its tokens and all before them: a trie with whole pieces as edges. A piece in host memory fills a block of it;
tokens at the end of a sequence that fill none are not kept. A piece stays when it was taken back, so that evicting it
again costs nothing. Pieces above one that is kept may be without a block: they are in the tree, or were not kept.

Only pieces without others below them go, in the order in which the tree evicts (`lampc.backend.eviction`): what is here
can be reached from where the tree ends.
"""

from collections.abc import Sequence

from lampc.backend.copies import Copies
from lampc.backend.eviction import NEVER, UNKNOWN, Ends
from lampc.backend.nodes import Node
from lampc.backend.swap_rule import SwapRule


class Piece:
    """`ids` follow those of the pieces above; their K/V is in `block` of host memory, or in none."""

    __slots__ = ("block", "children", "entry", "ids", "locks", "next_use", "parent", "used")

    def __init__(self, parent: "Piece | None", ids: tuple[int, ...]) -> None:
        self.parent = parent
        self.ids = ids
        self.children: dict[tuple[int, ...], Piece] = {}
        self.block: int | None = None
        self.locks = 0  # by those who are about to fill or to copy it
        self.used = 0
        self.next_use = UNKNOWN
        self.entry: tuple[float, int] | None = None  # see `lampc.backend.eviction`

    @property
    def needed(self) -> int:
        """How many of its tokens must stay, as far as there are any."""
        return len(self.ids) if self.locks or self.block is None else 0


class HostTier:
    """`total` blocks of host memory of `block_size` tokens. What is to be copied is added to `copies`; its tokens are
    counted in `swapped_out` and `swapped_in`."""

    def __init__(self, total: int, block_size: int, rule: SwapRule) -> None:
        if total < 1:
            raise ValueError(f"a host tier of {total} blocks holds nothing; give at least 1")
        self.total = total
        self.block_size = block_size
        self.rule = rule
        self.copies = Copies()
        self.swapped_out = 0
        self.swapped_in = 0
        self._clock = 0
        self._empty()

    def _empty(self) -> None:
        self._root = Piece(None, ())
        self._free = list(range(self.total - 1, -1, -1))
        self._ends: Ends[Piece] = Ends()
        self._last: tuple[Node, int, Piece] | None = None

    @property
    def used(self) -> int:
        """Blocks that hold anything."""
        return self.total - len(self._free)

    def stats(self) -> dict[str, int]:
        """Those counters of `lampc.backend.api.EngineStats` that are about this tier."""
        return {
            "swapped_out_tokens": self.swapped_out,
            "swapped_in_tokens": self.swapped_in,
            "host_used_blocks": self.used,
            "host_total_blocks": self.total,
        }

    # -- out -------------------------------------------------------------------------------------------

    def keep(self, node: Node, length: int) -> None:
        """Takes over what is about to be cut from the end of a node of the tree, down to `length` tokens, as far as it
        fills pieces. Nothing is copied of what is not needed again, or cheaper computed."""
        size = self.block_size
        first, last = (node.start + length) // size, (node.start + len(node.ids)) // size
        if first >= last or node.next_use == NEVER or not self.rule.pays:
            return
        above = piece = self._above(node, first)
        ids, slots = _stretch(node, first * size, last * size)
        self._clock += 1
        self._last = None  # what it names may go
        for at in range(0, len(ids), size):
            piece = self._child(piece, tuple(ids[at : at + size]))
            if piece.block is None and not self._fill(piece, slots[at : at + size], node.next_use):
                self._prune(piece)
                break
            self._last = node, first, above
            piece.used, piece.next_use = self._clock, node.next_use
            self._offer(piece)

    def _above(self, node: Node, count: int) -> Piece:
        """The piece that ends with the first `count` of a node's path. The ends of one node go one after the other, so
        that the last piece is mostly near."""
        piece, at = self._root, 0
        if self._last is not None and self._last[0] is node:
            _, at, piece = self._last
            while at > count:
                assert piece.parent is not None
                piece, at = piece.parent, at - 1
        size = self.block_size
        ids, _ = _stretch(node, at * size, count * size)
        for start in range(0, len(ids), size):
            piece = self._child(piece, tuple(ids[start : start + size]))
        return piece

    @staticmethod
    def _child(piece: Piece, ids: tuple[int, ...]) -> Piece:
        child = piece.children.get(ids)
        if child is None:
            child = piece.children[ids] = Piece(piece, ids)
        return child

    def _fill(self, piece: Piece, slots: list[int], next_use: float) -> bool:
        piece.locks += 1
        block = self._take(next_use)
        piece.locks -= 1
        if block is None:
            return False
        piece.block = block
        self.copies.add(False, block, 0, slots)
        self.swapped_out += len(slots)
        return True

    def _take(self, next_use: float) -> int | None:
        """A block for what is needed next at `next_use`; None if all that is here is needed earlier."""
        if self._free:
            return self._free.pop()
        victim = self._ends.pop()
        if victim is None or (-victim.next_use, victim.used) > (-next_use, self._clock):
            if victim is not None:
                self._ends.offer(victim)
            return None
        block, victim.block = victim.block, None
        self._prune(victim)
        return block

    def _prune(self, piece: Piece) -> None:
        """Takes a piece out that has no block, and those above it that are there for it alone."""
        while piece.block is None and not piece.children and not piece.locks and piece.parent is not None:
            parent, piece.parent = piece.parent, None
            del parent.children[piece.ids]
            piece = parent
        self._offer(piece)

    def _offer(self, piece: Piece) -> None:
        if piece.block is not None and not piece.children and not piece.locks:
            self._ends.offer(piece)

    # -- in --------------------------------------------------------------------------------------------

    def find(self, ids: Sequence[int], start: int) -> list[Piece]:
        """The pieces, none or more, by which a sequence goes on from position `start`. They stay until `leave`."""
        found: list[Piece] = []
        if not self.rule.pays:
            return found
        size, piece = self.block_size, self._root
        for end in range(size, len(ids) + 1, size):
            child = piece.children.get(tuple(ids[end - size : end]))
            if child is None or (end > start and child.block is None):
                break
            piece = child
            if end > start:
                found.append(piece)
        if found:
            found[-1].locks += 1
        return found

    def leave(self, found: Sequence[Piece]) -> None:
        """Those that `find` gave may go again."""
        if found:
            found[-1].locks -= 1
            self._offer(found[-1])

    def bring(self, found: Sequence[Piece], start: int, slots: list[int]) -> int:
        """Copies what `find` gave to a path with these slots. Returns how many of its tokens are there then.

        This is the use that their `next_use` foretold.
        """
        size, at = self.block_size, start
        self._clock += 1
        for piece in found:
            offset = at % size
            assert piece.block is not None
            self.copies.add(True, piece.block, offset, slots[at : at - offset + size])
            at += size - offset
            piece.used, piece.next_use = self._clock, UNKNOWN
        self.swapped_in += at - start
        return at

    # -- the whole -------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forgets everything. Copies that were decided are still made."""
        self._empty()

    def check(self) -> None:
        """Raises AssertionError unless every block is free or belongs to one piece that can be found."""
        held: list[int] = []
        stack = [self._root]
        while stack:
            piece = stack.pop()
            assert not piece.locks, "a piece is held by nobody"
            if piece is not self._root:
                assert len(piece.ids) == self.block_size
                assert piece.children or piece.block is not None, "a piece is here for nothing"
                assert piece.children or piece in self._ends, "a piece that eviction does not know of"
            if piece.block is not None:
                held.append(piece.block)
            for ids, child in piece.children.items():
                assert child.parent is piece
                assert child.ids == ids
            stack += piece.children.values()
        assert sorted(held + self._free) == list(range(self.total)), "blocks of host memory leaked, or are held twice"


def _stretch(node: Node, start: int, end: int) -> tuple[list[int], list[int]]:
    """Ids and slots of positions [start, end) of the path to a node's end."""
    ids: list[list[int]] = []
    slots: list[list[int]] = []
    walk: Node | None = node
    while walk is not None and end > start:
        first, last = max(0, start - walk.start), end - walk.start
        if last > 0:
            ids.append(walk.ids[first:last])
            slots.append(walk.slots[first:last])
            end = min(end, walk.start)
        walk = walk.parent
    return [x for part in reversed(ids) for x in part], [x for part in reversed(slots) for x in part]
