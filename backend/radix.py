"""The prefix tree: which token sequences have slots, which of those are written, and who holds them.

A compressed trie over token ids. Each node spans some tokens and their slots. Whoever needs a sequence, a
running request or a retained prefix, has a `Cursor` at its end, which locks the path up to the root. Paths
enter the tree when a request is admitted, before anything is computed; `written` counts the tokens of a node
that have been scheduled. Written tokens are closed under ancestors, so whoever runs first computes the next
unwritten tokens of its path, all others on the path go on from there, and nothing is computed twice.

A block goes from parents to children and never back, so the block of a token is locked exactly if the token in
its first slot is: locked blocks are counted by first slots.
"""

from collections.abc import Iterator, Sequence

from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import OutOfBlocks
from lampc.backend.eviction import NEVER, UNKNOWN, Ends
from lampc.backend.nodes import Cursor, Node


class RadixTree:
    """Prefix tree over a block pool. All methods keep: an unlocked token is a written token."""

    def __init__(self, pool: BlockPool) -> None:
        self.pool = pool
        self.evicted = 0
        self.releases = 0
        self.locked_blocks = 0
        self.ends = Ends()
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

    def insert(self, ids: Sequence[int], root: Node | None = None) -> Cursor:
        """A cursor at the end of `ids`, with slots for all of them. Evicts if it must.

        Raises OutOfBlocks; then has only evicted tokens.
        """
        cursor = self.hold(*self.match(ids, root))
        self.complete(cursor, ids)
        return cursor

    def complete(self, cursor: Cursor, ids: Sequence[int]) -> None:
        """Moves a new cursor that holds what is there of `ids` to their end, and lets it go if that fails.

        This is the use that `next_use` of the places on the way foretold; it no longer counts for them.
        Raises OutOfBlocks.
        """
        foretold = self._foretold(cursor.node, cursor.offset)
        try:
            self.extend(cursor, ids[cursor.length :])
        except OutOfBlocks:
            self.release(cursor)
            raise
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

    def append(self, cursor: Cursor, token: int) -> int | None:
        """The slot of one more token, marked written, for a cursor that alone holds the written end of a leaf.

        This is nearly every step of every generation. None, and nothing changed, if it is not that simple.
        """
        node = cursor.node
        slots = node.slots
        if not (cursor.offset == len(slots) == node.written and node.locks == 1 and node.parent) or node.children:
            return None
        slot = self.pool.append(slots[-1])
        if slot is not None:
            if slot % self.pool.block_size == 0:
                node.blocks += 1
                self.locked_blocks += 1
            node.ids.append(token)
            slots.append(slot)
            node.written += 1
            cursor.offset += 1
        return slot

    def extend(self, cursor: Cursor, ids: Sequence[int]) -> None:
        """Moves a cursor along `ids`, through tokens that are there and then through new ones.

        Raises OutOfBlocks, and then the cursor may have moved through tokens that were there.
        """
        at = self._advance(cursor, ids)
        rest = list(ids[at:])
        if not rest:
            return
        slot = self.slot_before(cursor.node, cursor.offset)
        self.evict(self.pool.blocks_for(slot, len(rest)))
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
        self._step_down(cursor, child, len(rest))

    @staticmethod
    def leads_on(cursor: Cursor, token: int) -> bool:
        """Whether the tree has this token right after a cursor's path."""
        node, offset = cursor.node, cursor.offset
        return node.ids[offset] == token if offset < len(node.ids) else token in node.children

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

    def _blocks(self, slots: list[int]) -> int:
        """How many blocks begin in these slots."""
        size = self.pool.block_size
        return sum([slot % size == 0 for slot in slots])

    def _step_down(self, cursor: Cursor, child: Node, offset: int) -> None:
        cursor.node.cursors.remove(cursor)
        child.cursors.add(cursor)
        if not child.locks:
            self.locked_blocks += child.blocks
        child.locks += 1
        cursor.node, cursor.offset = child, offset

    @staticmethod
    def slot_before(node: Node, offset: int) -> int | None:
        """The slot of the token that ends at a place; None at the root."""
        while offset == 0:
            if node.parent is None:
                return None
            node = node.parent
            offset = len(node.ids)
        return node.slots[offset - 1]

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

    # -- shrinking -------------------------------------------------------------------------------------

    def release(self, cursor: Cursor, next_use: float | None = None, spent: int | None = None) -> None:
        """Lets a path go. What is written stays cached; what nobody will write any more is dropped.

        `next_use` says when the path is needed next, on any scale that grows, the same for all who use the tree;
        NEVER is the same as `spent` from the start on.
        `spent`: what only this path holds from this position on is not expected to be needed again.
        """
        self.releases += 1
        if next_use == NEVER:
            next_use, spent = None, 0
        if next_use is not None and cursor.offset:
            if cursor.offset < len(cursor.node.ids):
                self._split(cursor.node, cursor.offset)
            cursor.node.next_use = min(cursor.node.next_use, next_use)
        elif spent is not None and cursor.node.start < spent < cursor.length and cursor.node.locks == 1:
            self._split(cursor.node, spent - cursor.node.start)
        cursor.node.cursors.remove(cursor)
        self._clock += 1
        node: Node | None = cursor.node
        last: Node | None = None  # of the path, as far as it stays
        while node is not None:
            node.locks -= 1
            if not node.locks:
                self.locked_blocks -= node.blocks
                if spent is not None and node.start >= spent and node.next_use == UNKNOWN:
                    node.next_use = NEVER
            node.used = self._clock
            parent = node.parent
            self._truncate(node, max(node.needed, node.written))
            if last is None and node.ids:
                last = node
            if parent is None and node is not self.root and node.locks == 0:
                self._drop(node)
            node = parent
        self._offer(last)

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
            return
        del node.ids[length:]
        del node.slots[length:]
        node.written = min(node.written, length)

    def _drop(self, root: Node) -> None:
        for node in self.below(root):
            if node is not root:
                self.pool.release(node.slots)
                node.ids, node.slots = [], []
        self._roots.discard(root)

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
                self._truncate(end, cut)
            self._offer(end if end.ids else parent)

    def clear(self) -> None:
        """Evicts all that no cursor holds."""
        self.evict(self.pool.total + 1)

    # -- looking ---------------------------------------------------------------------------------------

    def below(self, root: Node) -> Iterator[Node]:
        """All nodes of the tree under `root`, itself first."""
        stack = [root]
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()

    def check(self, cursors: list[Cursor]) -> None:
        """Raises AssertionError unless tree, pool and exactly these cursors agree."""
        held: list[int] = []
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


def _common(span: list[int], ids: Sequence[int], at: int) -> int:
    """Length of the common prefix of `span` and `ids[at:]`."""
    end = min(len(span), len(ids) - at)
    if list(ids[at : at + end]) == span[:end]:
        return end
    for i in range(end):
        if span[i] != ids[at + i]:
            return i
    return end
