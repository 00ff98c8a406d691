"""Maps that are only voted over: they end once the winner is sure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.ir.prog import Map
from lampc.runtime.blocks import Block, Scope
from lampc.runtime.failures import RowFailure
from lampc.runtime.ops import field

if TYPE_CHECKING:
    from lampc.runtime.regions import Regions


class Ballot:
    """One activation of such a map, each item in a scope of its own. Once the vote is decided the rest is dropped.

    An item that fails counts as one that is not there: only if it could have changed the vote the row fails by it. So
    what comes out hangs neither on which item ended first, nor on whether the rest is dropped (in a `whole` run it is
    not).
    """

    def __init__(self, executor: Regions, block: Block, i: int, op: Map, items: Sequence[Any]) -> None:
        self.executor, self.block, self.i, self.op, self.items = executor, block, i, op, items
        self.scopes: list[Scope] = []
        self.out: dict[int, Any] = {}
        self.failed: list[tuple[tuple[int, ...], RowFailure]] = []

    def open(self) -> None:
        """Start all items."""
        for n in range(len(self.items)):
            self._launch(n)

    def _launch(self, n: int) -> None:
        outer = self.block.scope
        scope = Scope(self.block.task, outer, (self.block, self.i))
        self.scopes.append(scope)
        outer.pending += 1

        def ended() -> None:
            outer.pending -= 1
            if scope.failed is not None and scope.failure is not None:
                self.failed.append((scope.failed, scope.failure))
                self._count()
            else:
                self.executor._settle(outer)

        def done(values: list[Any]) -> None:
            scope.over = True
            outer.pending -= 1
            self.out[n] = values[0]
            self._count()

        scope.ended = ended
        self.executor._item(scope, self.block, self.i, self.op, self.items, n, done)

    def _count(self) -> None:
        executor, outer = self.executor, self.block.scope
        over = len(self.out) + len(self.failed) == len(self.items)
        if (over or not executor.whole) and decided(self._votes(), len(self.items)):
            self._drop_rest()
            if outer.wants(self.block, self.i):
                executor._resolve(self.block, self.i, [[self.out[n] for n in sorted(self.out)]])
        elif over:
            executor._fail(outer, *min(self.failed, key=lambda pair: pair[0]))
        executor._settle(outer)

    def _votes(self) -> dict[int, Any]:
        name = self.op.decides
        return self.out if name == "." else {n: field(v, name) for n, v in self.out.items()}

    def _drop_rest(self) -> None:
        for scope in self.scopes:
            if not scope.over:
                scope.over = True
                self.block.scope.pending -= 1
                self.executor._drop(scope)


def decided(votes: Mapping[int, Any], count: int) -> bool:
    """Whether the most frequent of `count` items, the earliest of those that tie, is sure, `votes` being those that are
    known, by place. True as well once all are known."""
    missing = count - len(votes)
    if not missing or not votes:
        return not missing
    texts = {place: repr(vote) for place, vote in votes.items()}  # equal as `lampc.runtime.hosts.majority` has it
    counts, first = Counter(texts.values()), dict[str, int]()
    for place in sorted(texts):
        first.setdefault(texts[place], place)
    leader = max(counts, key=lambda text: (counts[text], -first[text]))
    open_ = next(place for place in range(count) if place not in votes)  # a rival may come first there

    def catches_up(most: int, place: int) -> bool:
        return most > counts[leader] or (most == counts[leader] and place < first[leader])

    rivals = [(n + missing, min(first[text], open_)) for text, n in counts.items() if text != leader]
    return not any(catches_up(*rival) for rival in [*rivals, (missing, open_)])
