"""The prefix tree: which token sequences have slots, which of those are written, and who holds them.

A compressed trie over token ids. Each node spans some tokens and their slots. Whoever needs a sequence, a
running request or a retained prefix, has a `Cursor` at its end, which locks the path up to the root. Paths
enter the tree when a request is admitted, before anything is computed; `written` counts the tokens of a node
that have been scheduled. Written tokens are closed under ancestors, so whoever runs first computes the next
unwritten tokens of its path, all others on the path go on from there, and nothing is computed twice.

A block goes from parents to children and never back, so the block of a token is locked exactly if the token in
its first slot is: locked blocks are counted by first slots.
"""

from collections.abc import Sequence

from lampc.backend.errors import OutOfBlocks
from lampc.backend.eviction import UNKNOWN
from lampc.backend.nodes import Cursor, Node
from lampc.backend.shrinking import ShrinkingTrie


class RadixTree(ShrinkingTrie):
    """Prefix tree over a block pool. All methods keep: an unlocked token is a written token."""

    def insert(self, ids: Sequence[int], root: Node | None = None) -> Cursor:
        """A cursor at the end of `ids`, with slots for all of them. Evicts if it must.

        Raises OutOfBlocks; then has only evicted tokens.
        """
        cursor = self.hold(*self.match(ids, root))
        self.complete(cursor, ids)
        return cursor

    def complete(self, cursor: Cursor, ids: Sequence[int], spare: int = 0) -> None:
        """Moves a new cursor that holds what is there of `ids` to their end, and lets it go if that fails, be it that
        fewer than `spare` blocks would be left.

        What host memory has of the rest is copied back. This is the use that `next_use` of the places on the way
        foretold; it no longer counts for them. Raises OutOfBlocks.
        """
        foretold = self._foretold(cursor.node, cursor.offset)
        host, start = self.host, cursor.length
        # Nothing is written after a gap: somebody may be about to compute the end of what is there.
        found = host.find(ids, start) if host is not None and self.written(cursor) == start else ()
        try:
            self.extend(cursor, ids[start:], spare)
            if host is not None and found:
                self.mark_written(cursor, host.bring(found, start, self.slots(cursor)))
        except OutOfBlocks:
            self.release(cursor)
            raise
        finally:
            if host is not None:
                host.leave(found)
        for place in foretold:
            place.next_use = UNKNOWN

    @staticmethod
    def _foretold(node: Node, offset: int) -> list[Node]:
        """Nodes with a known next use that a path to this place covers whole."""
        found = []
        walk: Node | None = node if offset == len(node.ids) else node.parent
        while walk is not None:
            if walk.next_use != UNKNOWN:
                found.append(walk)
            walk = walk.parent
        return found

    @staticmethod
    def grows(cursor: Cursor) -> bool:
        """Whether a cursor alone holds the written end of a leaf."""
        node = cursor.node
        alone = cursor.offset == len(node.slots) == node.written and node.locks == 1 and node.parent is not None
        return alone and not node.children

    def append(self, cursor: Cursor, token: int, claimed: int | None = None) -> int | None:
        """The slot of one more token, marked written, for a cursor of which `grows` is true; `claimed` if that is what
        `claim` gave for it.

        This is nearly every step of every generation. None, and nothing changed, if it is not that simple.
        """
        slot = self.claim(cursor) if claimed is None else claimed
        if slot is not None:
            node = cursor.node
            if not slot % self.pool.block_size:
                node.blocks += 1
                self.locked_blocks += 1
            node.ids.append(token)
            node.slots.append(slot)
            node.written += 1
            cursor.offset += 1
        return slot

    def claim(self, cursor: Cursor) -> int | None:
        """The slot of the next token of such a cursor, which may not be known yet: it is taken from the pool, and
        `append` brings it into the tree. None, and nothing changed, if it is not that simple."""
        return self.pool.append(cursor.node.slots[-1]) if self.grows(cursor) else None

    def append_run(self, cursor: Cursor, ids: Sequence[int]) -> None:
        """Several more tokens as by `append`, all of which are in the block of the one before them."""
        if not ids:
            return
        node = cursor.node
        node.ids += ids
        node.slots += self.pool.extend(node.slots[-1], len(ids))
        node.written += len(ids)
        cursor.offset += len(ids)

    def extend(self, cursor: Cursor, ids: Sequence[int], spare: int = 0) -> None:
        """Moves a cursor along `ids`, through tokens that are there and then through new ones, if `spare` blocks are
        left then.

        Raises OutOfBlocks, and then the cursor may have moved through tokens that were there.
        """
        at = self._advance(cursor, ids)
        rest = list(ids[at:])
        if not rest:
            return
        slot = self.slot_before(cursor.node, cursor.offset)
        needed = self.pool.blocks_for(slot, len(rest))
        if needed:
            self.evict(needed + spare)
            if self.pool.free < needed + spare:
                raise OutOfBlocks(needed, max(0, self.pool.free - spare))
        slots = self.pool.extend(slot, len(rest))
        node = cursor.node
        if cursor.offset < len(node.ids):
            node = self._split(node, cursor.offset)
        if node.parent is not None and node.locks == 1 and not node.children:
            node.ids += rest
            node.slots += slots
            blocks = self._blocks(slots)
            node.blocks += blocks
            self.locked_blocks += blocks
            cursor.offset = len(node.ids)
            return
        child = Node(node, cursor.length, rest, slots)
        child.blocks = self._blocks(slots)
        child.used = self._clock
        node.children[rest[0]] = child
        if self._watched is not None:
            self._watched.append((slot, rest[0]))
        self._step_down(cursor, child, len(rest))

    def check(self, cursors: list[Cursor], claimed: Sequence[int] = ()) -> None:
        """Raises AssertionError unless tree, pool, exactly these cursors, and slots that are claimed agree."""
        held = list(claimed)
        locked = 0
        found: set[Cursor] = set()
        for root in self._roots:
            for node in self.below(root):
                node.check()
                held += node.slots
                found |= node.cursors
                assert node.blocks == self._blocks(node.slots)
                locked += node.blocks if node.locks else 0
                if node.parent is not None and not node.children and node.needed < len(node.ids):
                    assert node in self.ends, "an end that eviction does not know of"
        assert found == set(cursors), "a cursor was lost or is left over"
        assert locked == self.locked_blocks, f"{self.locked_blocks} locked blocks are counted, {locked} there"
        self.pool.check(held)
        if self.host is not None:
            self.host.check()
