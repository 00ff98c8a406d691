"""The prefix tree: which token sequences have slots, which of those are written, and who holds them.

A compressed trie over token ids. Each node spans some tokens and their slots. Whoever needs a sequence, a
running request or a retained prefix, has a `Cursor` at its end, which locks the path up to the root. Paths
enter the tree when a request is admitted, before anything is computed; `written` counts the tokens of a node
that have been scheduled. Written tokens are closed under ancestors, so whoever runs first computes the next
unwritten tokens of its path, all others on the path go on from there, and nothing is computed twice.

Eviction takes unneeded tokens from the end of the least recently used leaf; locked tokens are never taken.
"""

from collections.abc import Iterator, Sequence

from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import OutOfBlocks


class Node:
    """A span of the tree: `ids[i]` sits at position `start + i` in slot `slots[i]`."""

    __slots__ = ("children", "cursors", "ids", "locks", "parent", "slots", "start", "used", "written")

    def __init__(self, parent: "Node | None", start: int, ids: list[int], slots: list[int]) -> None:
        self.parent = parent
        self.start = start
        self.ids = ids
        self.slots = slots
        self.children: dict[int, Node] = {}
        self.cursors: set[Cursor] = set()
        self.locks = 0  # cursors here and below
        self.written = 0
        self.used = 0

    @property
    def needed(self) -> int:
        """How many of the node's tokens some cursor or child still needs."""
        if self.children:
            return len(self.ids)
        return max((c.offset for c in self.cursors), default=0)


class Cursor:
    """A hold on the path from the root to `offset` tokens into `node`."""

    __slots__ = ("node", "offset")

    def __init__(self, node: Node, offset: int) -> None:
        self.node = node
        self.offset = offset

    @property
    def length(self) -> int:
        """Tokens on the path."""
        return self.node.start + self.offset


class RadixTree:
    """Prefix tree over a block pool. All methods keep: an unlocked token is a written token."""

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self.evicted = 0
        self._roots: set[Node] = set()
        self._clock = 0
        self.root = self.new_root()

    def new_root(self) -> Node:
        """A root of its own shares nothing with the others; it goes with its last cursor."""
        root = Node(None, 0, [], [])
        self._roots.add(root)
        return root

    # -- walking ---------------------------------------------------------------------------------------

    def match(self, ids: Sequence[int], root: Node | None = None) -> tuple[Node, int]:
        """The deepest place that spells a prefix of `ids`: a node and an offset in it."""
        node, at = root or self.root, 0
        while at < len(ids):
            child = node.children.get(ids[at])
            if child is None:
                break
            common = _common(child.ids, ids, at)
            at += common
            node = child
            if common < len(child.ids):
                return node, common
        return node, len(node.ids)

    def hold(self, node: Node, offset: int) -> Cursor:
        """A new cursor at a place."""
        cursor = Cursor(node, offset)
        node.cursors.add(cursor)
        self._clock += 1
        walk: Node | None = node
        while walk is not None:
            walk.locks += 1
            walk.used = self._clock
            walk = walk.parent
        return cursor

    def written(self, cursor: Cursor) -> int:
        """How many tokens of the path are written; they are its first ones."""
        node: Node | None = cursor.node
        limit = cursor.offset
        while node is not None:
            if node.written:
                return node.start + min(node.written, limit)
            node = node.parent
            limit = len(node.ids) if node is not None else 0
        return 0

    def mark_written(self, cursor: Cursor, end: int) -> None:
        """The first `end` tokens of the path are written, or will be in this step."""
        node: Node | None = cursor.node
        while node is not None and node.parent is not None:
            count = min(end - node.start, len(node.ids))
            if count > 0:
                if node.written >= count:
                    return
                node.written = count
            node = node.parent

    def mark_unwritten(self, cursor: Cursor, start: int) -> None:
        """Takes back a `mark_written` that went from position `start` on, after a failed step.

        What others marked behind it in the same step is taken back with it; nothing older can be there.
        """
        node: Node | None = cursor.node
        while node is not None and node.start + len(node.ids) > start:
            node.written = min(node.written, max(0, start - node.start))
            node = node.parent

    def slots(self, cursor: Cursor) -> list[int]:
        """Slots of the whole path."""
        parts: list[list[int]] = [cursor.node.slots[: cursor.offset]]
        node = cursor.node.parent
        while node is not None:
            parts.append(node.slots)
            node = node.parent
        return [slot for part in reversed(parts) for slot in part]

    # -- growing ---------------------------------------------------------------------------------------

    def insert(self, ids: Sequence[int], root: Node | None = None, reserve: int = 0) -> Cursor:
        """A cursor at the end of `ids`, with slots for all of them. Evicts if it must.

        Raises OutOfBlocks if fewer than `reserve` blocks would stay free; then has only evicted tokens.
        """
        node, offset = self.match(ids, root)
        cursor = self.hold(node, offset)
        try:
            rest = ids[cursor.length :]
            if reserve and rest:
                needed = reserve + self.pool.blocks_for(self._slot_before(node, offset), len(rest))
                self.evict(needed)
                if self.pool.free < needed:
                    raise OutOfBlocks(needed, self.pool.free)
            self.extend(cursor, rest)
        except OutOfBlocks:
            self.release(cursor)
            raise
        return cursor

    def extend(self, cursor: Cursor, ids: Sequence[int]) -> None:
        """Moves a cursor along `ids`, through tokens that are there and then through new ones.

        Raises OutOfBlocks, and then the cursor may have moved through tokens that were there.
        """
        at = self._advance(cursor, ids)
        rest = list(ids[at:])
        if not rest:
            return
        slot = self._slot_before(cursor.node, cursor.offset)
        needed = self.pool.blocks_for(slot, len(rest))
        if needed > self.pool.free:
            # A little more than needed, since finding the least recently used ends walks the whole tree.
            self.evict(needed + self.pool.total // 256)
            slot = self._slot_before(cursor.node, cursor.offset)
        slots = self.pool.extend(slot, len(rest))
        node = cursor.node
        if cursor.offset < len(node.ids):
            node = self._split(node, cursor.offset)
        if node.parent is not None and node.locks == 1 and not node.children:
            node.ids += rest
            node.slots += slots
            cursor.offset = len(node.ids)
            return
        child = Node(node, cursor.length, rest, slots)
        child.used = self._clock
        node.children[rest[0]] = child
        self._step_down(cursor, child, len(rest))

    def follow(self, cursor: Cursor, ids: Sequence[int]) -> int:
        """Moves a cursor along `ids` only as far as they are in the tree; returns how many were."""
        return self._advance(cursor, ids)

    def _advance(self, cursor: Cursor, ids: Sequence[int]) -> int:
        at = 0
        while at < len(ids):
            node = cursor.node
            if cursor.offset < len(node.ids):
                common = 0
                for a, b in zip(node.ids[cursor.offset :], ids[at:], strict=False):
                    if a != b:
                        break
                    common += 1
                if not common:
                    return at
                cursor.offset += common
                at += common
                continue
            child = node.children.get(ids[at])
            if child is None:
                return at
            self._step_down(cursor, child, 0)
        return at

    @staticmethod
    def _step_down(cursor: Cursor, child: Node, offset: int) -> None:
        cursor.node.cursors.remove(cursor)
        child.cursors.add(cursor)
        child.locks += 1
        cursor.node, cursor.offset = child, offset

    @staticmethod
    def _slot_before(node: Node, offset: int) -> int | None:
        while offset == 0:
            if node.parent is None:
                return None
            node = node.parent
            offset = len(node.ids)
        return node.slots[offset - 1]

    @staticmethod
    def _split(lower: Node, at: int) -> Node:
        """Cuts a node in two; returns the new upper half. Cursors beyond `at` stay on the lower one."""
        assert lower.parent is not None
        assert 0 < at < len(lower.ids)
        upper = Node(lower.parent, lower.start, lower.ids[:at], lower.slots[:at])
        upper.locks, upper.used = lower.locks, lower.used
        upper.written = min(lower.written, at)
        lower.parent.children[upper.ids[0]] = upper
        lower.ids, lower.slots = lower.ids[at:], lower.slots[at:]
        lower.start += at
        lower.written = max(0, lower.written - at)
        lower.parent = upper
        upper.children[lower.ids[0]] = lower
        for cursor in list(lower.cursors):
            if cursor.offset <= at:
                lower.cursors.remove(cursor)
                lower.locks -= 1
                upper.cursors.add(cursor)
                cursor.node = upper
            else:
                cursor.offset -= at
        return upper

    # -- shrinking -------------------------------------------------------------------------------------

    def release(self, cursor: Cursor) -> None:
        """Lets a path go. What is written stays cached; what nobody will write any more is dropped."""
        node: Node | None = cursor.node
        cursor.node.cursors.remove(cursor)
        self._clock += 1
        while node is not None:
            node.locks -= 1
            node.used = self._clock
            parent = node.parent
            self._truncate(node, max(node.needed, node.written))
            if parent is None and node is not self.root and node.locks == 0:
                self._drop(node)
            node = parent

    def _truncate(self, node: Node, length: int) -> None:
        """Cuts a childless node to `length` tokens, and out of the tree at 0 unless a cursor is there."""
        if node.parent is None or length >= len(node.ids) > 0:
            return
        self.pool.release(node.slots[length:])
        if length == 0:
            # A cursor can stand at offset 0 only between two steps of its own descent, never here.
            assert not node.cursors, "a cursor stands at the start of a node"
            del node.parent.children[node.ids[0]]
            node.ids, node.slots = [], []
            return
        del node.ids[length:]
        del node.slots[length:]
        node.written = min(node.written, length)

    def _drop(self, root: Node) -> None:
        for node in self._below(root):
            if node is not root:
                self.pool.release(node.slots)
        self._roots.discard(root)

    def evict(self, blocks: int) -> None:
        """Tries to have `blocks` free blocks, by cutting unneeded ends, least recently used first."""
        while self.pool.free < blocks:
            leaves = [n for n in self._below(self.root) if not n.children and n.needed < len(n.ids)]
            if not leaves:
                return
            leaves.sort(key=lambda n: n.used)
            for leaf in leaves:
                keep = leaf.needed
                while len(leaf.ids) > keep and self.pool.free < blocks:
                    # Down to the next block border, so that no more is lost than needed.
                    cut = len(leaf.ids) - 1
                    size = self.pool.block_size
                    while cut > keep and leaf.slots[cut - 1] // size == leaf.slots[cut] // size:
                        cut -= 1
                    self.evicted += len(leaf.ids) - cut
                    self._truncate(leaf, cut)
                if self.pool.free >= blocks:
                    return

    def clear(self) -> None:
        """Evicts all that no cursor holds."""
        self.evict(self.pool.total + 1)

    # -- looking ---------------------------------------------------------------------------------------

    @staticmethod
    def _below(root: Node) -> Iterator[Node]:
        stack = [root]
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()

    def check(self, cursors: list[Cursor]) -> None:
        """Raises AssertionError unless tree, pool and exactly these cursors agree."""
        held: list[int] = []
        found: set[Cursor] = set()
        for root in self._roots:
            for node in self._below(root):
                held += node.slots
                found |= node.cursors
                assert len(node.ids) == len(node.slots)
                assert node.parent is None or node.ids, "an empty node is in the tree"
                below = len(node.cursors) + sum(c.locks for c in node.children.values())
                assert node.locks == below, f"lock count is {node.locks}, cursors say {below}"
                assert node.locks or node.parent is None or node.written == len(node.ids), "dead tokens"
                for first, child in node.children.items():
                    assert child.parent is node
                    assert child.ids[0] == first
                    assert child.start == node.start + len(node.ids)
                    assert not child.written or node.written == len(node.ids), "written after a gap"
                for cursor in node.cursors:
                    assert cursor.node is node
                    assert 0 <= cursor.offset <= len(node.ids)
        assert found == set(cursors), "a cursor was lost or is left over"
        self.pool.check(held)


def _common(span: list[int], ids: Sequence[int], at: int) -> int:
    """Length of the common prefix of `span` and `ids[at:]`."""
    end = min(len(span), len(ids) - at)
    if list(ids[at : at + end]) == span[:end]:
        return end
    for i in range(end):
        if span[i] != ids[at + i]:
            return i
    return end
