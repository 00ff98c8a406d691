"""What the prefix tree gives back to the pool: paths that are let go, and ends that are evicted."""

from collections.abc import Iterable

from lampc.backend.eviction import NEVER, UNKNOWN
from lampc.backend.nodes import Cursor, Node
from lampc.backend.trie import Trie

TIGHT = 0.25
"""Share of the blocks: with fewer free ones, what will not be needed again is not kept as cache."""


class ShrinkingTrie(Trie):
    """A trie whose cursors can be let go; what they leave stays cached until room is needed."""

    def release(
        self, cursor: Cursor, next_use: float | None = None, spent: int | None = None, sure: bool = False
    ) -> None:
        """Lets a path go. What is written stays cached; what nobody will write any more is dropped.

        `next_use` says when the path is needed next, on any scale that grows, the same for all who use the tree;
        NEVER is the same as `spent` from the start on.
        `spent`: what only this path holds from this position on is not expected to be needed again, and goes at once
        where few blocks are free: what comes next then goes on in the block in which the rest ends. With both,
        `next_use` is that of what stands before `spent`. `sure`: whatever else was said of these tokens.
        """
        self.releases += 1
        if next_use == NEVER:
            next_use, spent = None, 0
        kept: Node | None
        if spent is not None and 0 < spent < cursor.length:
            kept = self._part(cursor, spent)
        else:
            kept = cursor.node if cursor.length else None
            if next_use is not None and 0 < cursor.offset < len(cursor.node.ids):
                kept = self._split(cursor.node, cursor.offset)
        if next_use is not None and kept is not None and spent != 0:
            kept.next_use = min(kept.next_use, next_use)
        short = spent is not None and self.pool.free < TIGHT * self.pool.total
        cursor.node.cursors.remove(cursor)
        self._clock += 1
        node: Node | None = cursor.node
        last: Node | None = None  # of the path, as far as it stays
        while node is not None:
            node.locks -= 1
            if not node.locks:
                self.locked_blocks -= node.blocks
                if spent is not None and node.start >= spent and (sure or node.next_use == UNKNOWN):
                    node.next_use = NEVER
            node.used = self._clock
            parent = node.parent
            gone = short and not node.locks and node.next_use == NEVER
            self._truncate(node, node.needed if gone else max(node.needed, node.written))
            if last is None and node.ids:
                last = node
            if parent is None and node.locks == 0 and node not in self._named.values():
                self._drop(node)
            node = parent
        self._offer(last)

    def _part(self, cursor: Cursor, at: int) -> Node:
        """The node of a path that holds the token before position `at`; it ends there if what follows in it is of this
        path alone."""
        node = cursor.node
        while node.start >= at:
            assert node.parent is not None
            node = node.parent
        if node.locks == 1 and at < node.start + len(node.ids):
            return self._split(node, at - node.start)
        return node

    def _offer(self, node: Node | None) -> None:
        """Lets eviction know of a node if it could take tokens from it. Nodes become such only when let go."""
        if node is not None and not node.children and node.needed < len(node.ids):
            self.ends.offer(node)

    def _truncate(self, node: Node, length: int) -> None:
        """Cuts a childless node to `length` tokens, and out of the tree at 0 unless a cursor is there."""
        if node.parent is None or length >= len(node.ids) > 0:
            return
        gone = node.slots[length:]
        self.pool.release(gone)
        blocks = self._blocks(gone)
        node.blocks -= blocks
        if node.locks:
            self.locked_blocks -= blocks
        if length == 0:
            # A cursor can stand at offset 0 only between two steps of its own descent, never here.
            assert not node.cursors, "a cursor stands at the start of a node"
            # What is left of the path is needed at that time, too.
            node.parent.next_use = min(node.parent.next_use, node.next_use)
            del node.parent.children[node.ids[0]]
            node.ids, node.slots = [], []
            self.ends.forget(node)
            return
        del node.ids[length:]
        del node.slots[length:]
        node.written = min(node.written, length)

    def _drop(self, root: Node) -> None:
        for node in self.below(root):
            if node is not root:
                self.ends.forget(node)
                self.pool.release(node.slots)
                node.ids, node.slots = [], []
        self._roots.discard(root)

    def drop_named(self, name: str) -> None:
        """Gives back all that was computed with an adapter; what somebody holds of it goes when it is let go."""
        root = self._named.pop(name, None)
        if root is not None and not root.locks:
            self._drop(root)

    def take_back(self, slots: Iterable[int]) -> None:
        """Tokens with these slots were marked written and are not, after a failed step; nor is what lies behind them.
        What nobody holds of it is dropped. Costs O(size of the tree)."""
        gone = set(slots)
        order = [node for root in self._roots for node in self.below(root)]
        for node in order:  # parents first
            parent = node.parent
            if parent is not None and parent.written < len(parent.ids):
                node.written = 0
                continue
            written = node.slots[: node.written]
            node.written = next((i for i, slot in enumerate(written) if slot in gone), len(written))
        for node in reversed(order):
            self._truncate(node, max(node.needed, node.written))
            if node.ids:
                self._offer(node)

    def evict(self, blocks: int) -> None:
        """Tries to have `blocks` free blocks, by cutting unneeded ends, those that are missed last first."""
        size = self.pool.block_size
        while self.pool.free < blocks and (end := self.ends.pop()) is not None:
            parent, keep = end.parent, end.needed
            while len(end.ids) > keep and self.pool.free < blocks:
                # Down to the next block border, so that no more is lost than needed.
                cut = len(end.ids) - 1
                while cut > keep and end.slots[cut - 1] // size == end.slots[cut] // size:
                    cut -= 1
                self.evicted += len(end.ids) - cut
                if self.host is not None:
                    self.host.keep(end, cut)
                self._truncate(end, cut)
            self._offer(end if end.ids else parent)

    def clear(self) -> None:
        """Evicts all that no cursor holds, from host memory too."""
        host, self.host = self.host, None
        self.evict(self.pool.total + 1)
        self.host = host
        if host is not None:
            host.clear()
