"""Retained prefixes: holds on paths of the tree that no request needs right now."""

from collections.abc import Callable
from itertools import count

from lampc.backend.radix import Cursor, RadixTree
from lampc.backend.request import PrefixRef


class Pins:
    """Each pin has a cursor as deep in the tree as its ids are there; it goes deeper as they come."""

    def __init__(self, tree: RadixTree) -> None:
        self._tree = tree
        self._numbers = count()
        self._held: dict[int, tuple[PrefixRef, Cursor]] = {}
        self._until: dict[int, float] = {}
        self._open: set[int] = set()  # pins whose prefix is not all in the tree yet

    def add(self, ids: tuple[int, ...], until: float | None) -> PrefixRef:
        """Holds what is there of a prefix; `until` is a time on the engine's clock."""
        ref = PrefixRef(next(self._numbers), tuple(ids))
        node, offset = self._tree.match(ref.ids)
        cursor = self._tree.hold(node, offset)
        self._held[ref.id] = (ref, cursor)
        if until is not None:
            self._until[ref.id] = until
        if cursor.length < len(ref.ids):
            self._open.add(ref.id)
        return ref

    def remove(self, ref: PrefixRef) -> None:
        """Raises ValueError if the prefix is not held (released before, expired, or of another engine)."""
        held = self._held.get(ref.id)
        if held is None or held[0] is not ref:
            raise ValueError(f"prefix {ref.id} is not held; it was released, it expired, or is not of this engine")
        self._tree.release(held[1])
        del self._held[ref.id]
        self._until.pop(ref.id, None)
        self._open.discard(ref.id)

    def follow(self) -> None:
        """Moves cursors on to what has come into the tree since."""
        for number in list(self._open):
            ref, cursor = self._held[number]
            self._tree.follow(cursor, ref.ids[cursor.length :])
            if cursor.length == len(ref.ids):
                self._open.remove(number)

    def expire(self, clock: Callable[[], float]) -> None:
        """Drops what has outlived its time."""
        if self._until:
            now = clock()
            for number in [n for n, until in self._until.items() if until <= now]:
                self.remove(self._held[number][0])

    def clear(self) -> None:
        """Drops all."""
        for ref, _ in list(self._held.values()):
            self.remove(ref)

    def cursors(self) -> list[Cursor]:
        """For checks."""
        return [cursor for _, cursor in self._held.values()]
