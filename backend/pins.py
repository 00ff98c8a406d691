"""Retained prefixes: holds on paths of the tree that no request needs right now.

A prefix of which not all is in the tree waits at the place where it leaves it. It can go on from there only by a new
edge, so only new edges are looked at, and the prefixes that wait for just them: how many others there are costs
nothing.
"""

from itertools import count

from lampc.backend.eviction import NEVER
from lampc.backend.lifecycle import Deadlines
from lampc.backend.nodes import Cursor
from lampc.backend.radix import RadixTree
from lampc.backend.request import PrefixRef, check_spent
from lampc.backend.trie import Edge


class Pins:
    """Each pin has a cursor as deep in the tree as its ids are there; it goes deeper as they come."""

    def __init__(self, tree: RadixTree) -> None:
        self._tree = tree
        self._fresh = tree.watch()
        self._numbers = count()
        self._held: dict[int, tuple[PrefixRef, Cursor]] = {}
        self._until = Deadlines()
        self._next_use: dict[int, float] = {}
        self._yielding: set[int] = set()
        self._open: dict[Edge, set[int]] = {}  # pins whose prefix is not all in the tree, by the edge they need

    def add(
        self,
        ids: tuple[int, ...],
        until: float | None,
        next_use: float | None = None,
        yields: bool = False,
        adapter: str | None = None,
    ) -> PrefixRef:
        """Holds what is there of a prefix, as computed with an adapter or without one; `until` is a time on the
        engine's clock. `next_use`: see `remove`. One that `yields` may be let go by `relent`.

        Raises ValueError if one of them is not a number.
        """
        _check(until=until, next_use=next_use)
        ref = PrefixRef(next(self._numbers), tuple(ids), yields, adapter)
        node, offset = self._tree.match(ref.ids, self._tree.named_root(adapter))
        cursor = self._tree.hold(node, offset)
        self._held[ref.id] = (ref, cursor)
        if until is not None:
            self._until.add(ref.id, until)
        if next_use is not None:
            self._next_use[ref.id] = next_use
        if yields:
            self._yielding.add(ref.id)
        self._wait(ref.id)
        return ref

    def _edge(self, number: int) -> Edge | None:
        """What has to come into the tree for a pin to go on; None if all of it is there."""
        ref, cursor = self._held[number]
        if cursor.length == len(ref.ids):
            return None
        return self._tree.slot_before(cursor.node, cursor.offset), ref.ids[cursor.length]

    def _wait(self, number: int) -> None:
        edge = self._edge(number)
        if edge is not None:
            self._open.setdefault(edge, set()).add(number)

    def remove(self, ref: PrefixRef, next_use: float | None = None, spent: int | None = None) -> None:
        """Lets a prefix go; `next_use`, by default the one given to `add`, says when it is needed next, `spent` from
        which position on it is not (see `ShrinkingTrie.release`).

        Raises ValueError if the prefix is not held (released before, expired, or of another engine), or if `next_use`
        is not a number. Of one that yields and was let go before, what is left is told of both.
        """
        _check(next_use=next_use)
        check_spent(spent)
        held = self._held.get(ref.id)
        if ref.yields and (held is None or held[0] is not ref):
            cursor = self._tree.hold(*self._tree.match(ref.ids, self._tree.named_root(ref.adapter)))
            self._tree.release(cursor, next_use, spent, sure=True)
            return
        if held is None or held[0] is not ref:
            raise ValueError(f"prefix {ref.id} is not held; it was released, it expired, or is not of this engine")
        edge = self._edge(ref.id)
        if edge is not None:
            self._open[edge].remove(ref.id)
            if not self._open[edge]:
                del self._open[edge]
        foretold = self._next_use.pop(ref.id, None)
        self._tree.release(held[1], foretold if next_use is None else next_use, spent, sure=True)
        del self._held[ref.id]
        self._yielding.discard(ref.id)
        self._until.drop(ref.id)

    def follow(self) -> None:
        """Moves cursors on to what has come into the tree since."""
        while self._fresh:
            for number in self._open.pop(self._fresh.pop(), ()):
                ref, cursor = self._held[number]
                self._tree.follow(cursor, ref.ids[cursor.length :])
                self._wait(number)

    @property
    def waiting(self) -> bool:
        """Whether any prefix is not all in the tree."""
        return bool(self._open)

    @property
    def timed(self) -> bool:
        """Whether any prefix is held for a limited time."""
        return bool(self._until)

    def expire(self, now: float) -> None:
        """Drops what has outlived its time."""
        for number in self._until.late(now):
            self.remove(self._held[number][0])

    def relent(self) -> bool:
        """Lets the one go, of those that yield, that is needed last; False if there is none."""
        if not self._yielding:
            return False
        last = max(self._yielding, key=lambda number: (self._next_use.get(number, NEVER), number))
        self.remove(self._held[last][0])
        return True

    def clear(self) -> None:
        """Drops all."""
        for ref, _ in list(self._held.values()):
            self.remove(ref)

    def cursors(self) -> list[Cursor]:
        """For checks."""
        return [cursor for _, cursor in self._held.values()]


def _check(**times: float | None) -> None:
    for name, value in times.items():
        if value is not None and not (isinstance(value, int | float) and value == value):
            raise ValueError(f"{name} is {value!r}; give a number, or None")


def check_pin(ttl: float | None, next_use: float | None) -> None:
    """Raises ValueError if one of them is not a number, or `ttl` is below 0."""
    _check(ttl=ttl, next_use=next_use)
    if ttl is not None and ttl < 0:
        raise ValueError(f"ttl is {ttl!r}; give seconds from 0, or None")
