"""The parts of the prefix tree: nodes, and cursors that hold on to paths."""

from lampc.backend.eviction import UNKNOWN


class Node:
    """A span of the tree: `ids[i]` sits at position `start + i` in slot `slots[i]`."""

    __slots__ = (
        "blocks",
        "children",
        "cursors",
        "entry",
        "ids",
        "locks",
        "next_use",
        "parent",
        "slots",
        "start",
        "used",
        "written",
    )

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
        self.next_use = UNKNOWN  # of the node's end
        self.blocks = 0  # that begin in this node
        self.entry: tuple[float, int] | None = None  # see `lampc.backend.eviction`

    @property
    def needed(self) -> int:
        """How many of the node's tokens some cursor or child still needs."""
        if self.children:
            return len(self.ids)
        return max((c.offset for c in self.cursors), default=0)

    def check(self) -> None:
        """Raises AssertionError unless the node agrees with its neighbours and cursors."""
        assert len(self.ids) == len(self.slots)
        assert self.parent is None or self.ids, "an empty node is in the tree"
        below = len(self.cursors) + sum(c.locks for c in self.children.values())
        assert self.locks == below, f"lock count is {self.locks}, cursors say {below}"
        assert self.locks or self.parent is None or self.written == len(self.ids), "dead tokens"
        for first, child in self.children.items():
            assert child.parent is self
            assert child.ids[0] == first
            assert child.start == self.start + len(self.ids)
            assert not child.written or self.written == len(self.ids), "written after a gap"
        for cursor in self.cursors:
            assert cursor.node is self
            assert 0 <= cursor.offset <= len(self.ids)


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
