"""Retained prefixes: holds on paths of the tree that no request needs right now."""

from itertools import count

from lampc.backend.lifecycle import Deadlines
from lampc.backend.nodes import Cursor
from lampc.backend.radix import RadixTree
from lampc.backend.request import PrefixRef


class Pins:
    """Each pin has a cursor as deep in the tree as its ids are there; it goes deeper as they come."""

    def __init__(self, tree: RadixTree) -> None:
        self._tree = tree
        self._numbers = count()
        self._held: dict[int, tuple[PrefixRef, Cursor]] = {}
        self._until = Deadlines()
        self._next_use: dict[int, float] = {}
        self._open: set[int] = set()  # pins whose prefix is not all in the tree yet

    def add(self, ids: tuple[int, ...], until: float | None, next_use: float | None = None) -> PrefixRef:
        """Holds what is there of a prefix; `until` is a time on the engine's clock. `next_use`: see `remove`."""
        ref = PrefixRef(next(self._numbers), tuple(ids))
        node, offset = self._tree.match(ref.ids)
        cursor = self._tree.hold(node, offset)
        self._held[ref.id] = (ref, cursor)
        if until is not None:
            self._until.add(ref.id, until)
        if next_use is not None:
            self._next_use[ref.id] = next_use
        if cursor.length < len(ref.ids):
            self._open.add(ref.id)
        return ref

    def remove(self, ref: PrefixRef, next_use: float | None = None) -> None:
        """Lets a prefix go; `next_use`, by default the one given to `add`, says when it is needed next.

        Raises ValueError if the prefix is not held (released before, expired, or of another engine).
        """
        held = self._held.get(ref.id)
        if held is None or held[0] is not ref:
            raise ValueError(f"prefix {ref.id} is not held; it was released, it expired, or is not of this engine")
        foretold = self._next_use.pop(ref.id, None)
        self._tree.release(held[1], foretold if next_use is None else next_use)
        del self._held[ref.id]
        self._until.drop(ref.id)
        self._open.discard(ref.id)

    def follow(self) -> None:
        """Moves cursors on to what has come into the tree since."""
        for number in list(self._open):
            ref, cursor = self._held[number]
            at = cursor.length
            if not self._tree.leads_on(cursor, ref.ids[at]):
                continue
            self._tree.follow(cursor, ref.ids[at:])
            if cursor.length == len(ref.ids):
                self._open.remove(number)

    @property
    def timed(self) -> bool:
        """Whether any prefix is held for a limited time."""
        return bool(self._until)

    def expire(self, now: float) -> None:
        """Drops what has outlived its time."""
        for number in self._until.late(now):
            self.remove(self._held[number][0])

    def clear(self) -> None:
        """Drops all."""
        for ref, _ in list(self._held.values()):
            self.remove(ref)

    def cursors(self) -> list[Cursor]:
        """For checks."""
        return [cursor for _, cursor in self._held.values()]
