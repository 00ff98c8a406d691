"""A trie over token ids: nodes that span tokens and their slots, and cursors that hold paths in it."""

from collections.abc import Iterator, Sequence

from lampc.backend.block_pool import BlockPool
from lampc.backend.copies import Copies
from lampc.backend.eviction import Ends
from lampc.backend.host_tier import HostTier
from lampc.backend.nodes import Cursor, Node

Edge = tuple[int | None, int]
"""Where a node begins: the slot before it, None at a root, and its first token. A place that is held keeps its slot."""


class Trie:
    """What the prefix tree is made of; nothing here takes slots from the pool or gives any back."""

    def __init__(self, pool: BlockPool, host: HostTier | None = None) -> None:
        self.pool = pool
        self.host = host  # takes over what is evicted
        self.evicted = 0
        self.releases = 0
        self.locked_blocks = 0
        self.ends: Ends[Node] = Ends()
        self._roots: set[Node] = set()
        self._clock = 0
        self._watched: list[Edge] | None = None
        self.root = self.new_root()
        self._named: dict[str | None, Node] = {None: self.root}

    @property
    def copies(self) -> Copies | None:
        """What is to be copied from or to host memory before the next step."""
        return None if self.host is None else self.host.copies

    def new_root(self) -> Node:
        """A root of its own shares nothing with the others; it goes with its last cursor."""
        root = Node(None, 0, [], [])
        self._roots.add(root)
        return root

    def named_root(self, name: str | None) -> Node:
        """The root of all that is computed with an adapter, and without one; such roots stay."""
        if name not in self._named:
            self._named[name] = self.new_root()
        return self._named[name]

    def watch(self) -> list[Edge]:
        """A list that gets every edge that is new from now on, for one who takes them out again."""
        self._watched = []
        return self._watched

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
            if not walk.locks:
                self.locked_blocks += walk.blocks
            walk.locks += 1
            walk.used = self._clock
            walk = walk.parent
        return cursor

    def own(self, cursor: Cursor) -> tuple[int, int]:
        """Blocks that nobody needs but this cursor, and written tokens."""
        blocks, tokens, node = 0, 0, cursor.node
        while node.locks == 1 and node.parent is not None:
            blocks += node.blocks
            tokens += node.written
            node = node.parent
        return blocks, tokens

    def room(self, cursor: Cursor) -> int:
        """How many tokens a cursor can be moved on by without a new block, whatever others do."""
        if cursor.node.locks > 1:
            return 0
        return self.pool.room_after(self.slot_before(cursor.node, cursor.offset))

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

    def slots(self, cursor: Cursor) -> list[int]:
        """Slots of the whole path."""
        parts: list[list[int]] = [cursor.node.slots[: cursor.offset]]
        node = cursor.node.parent
        while node is not None:
            parts.append(node.slots)
            node = node.parent
        return [slot for part in reversed(parts) for slot in part]

    def follow(self, cursor: Cursor, ids: Sequence[int]) -> int:
        """Moves a cursor along `ids` only as far as they are in the tree; returns how many were."""
        return self._advance(cursor, ids)

    def _advance(self, cursor: Cursor, ids: Sequence[int]) -> int:
        at = 0
        while at < len(ids):
            node = cursor.node
            if cursor.offset < len(node.ids):
                common = _common(node.ids[cursor.offset :], ids, at)
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
    def slot_before(node: Node, offset: int) -> int | None:
        """The slot of the token that ends at a place; None at the root."""
        while offset == 0:
            if node.parent is None:
                return None
            node = node.parent
            offset = len(node.ids)
        return node.slots[offset - 1]

    def _step_down(self, cursor: Cursor, child: Node, offset: int) -> None:
        cursor.node.cursors.remove(cursor)
        child.cursors.add(cursor)
        if not child.locks:
            self.locked_blocks += child.blocks
        child.locks += 1
        cursor.node, cursor.offset = child, offset

    def _split(self, lower: Node, at: int) -> Node:
        """Cuts a node in two; returns the new upper half. Cursors beyond `at` stay on the lower one."""
        assert lower.parent is not None
        assert 0 < at < len(lower.ids)
        upper = Node(lower.parent, lower.start, lower.ids[:at], lower.slots[:at])
        upper.locks, upper.used = lower.locks, lower.used
        upper.written = min(lower.written, at)
        upper.blocks = self._blocks(upper.slots)
        lower.blocks -= upper.blocks
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
        if upper.locks and not lower.locks:
            self.locked_blocks -= lower.blocks
        return upper

    def _blocks(self, slots: list[int]) -> int:
        """How many blocks begin in these slots."""
        size = self.pool.block_size
        return sum([slot % size == 0 for slot in slots])

    def below(self, root: Node) -> Iterator[Node]:
        """All nodes of the tree under `root`, itself first."""
        stack = [root]
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()


def _common(span: list[int], ids: Sequence[int], at: int) -> int:
    """Length of the common prefix of `span` and `ids[at:]`."""
    end = min(len(span), len(ids) - at)
    if list(ids[at : at + end]) == span[:end]:
        return end
    for i in range(end):
        if span[i] != ids[at + i]:
            return i
    return end
