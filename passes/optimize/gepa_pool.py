"""GEPA's pool: candidates, their scores on the validation rows, and which of them is best on which row."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SELECTORS = ("pareto", "current_best", "epsilon_greedy", "top_k_pareto")
"""Ways to choose a parent."""

_EPSILON = 0.1
_TOP = 5


@dataclass(slots=True)
class Member:
    """A candidate of the pool: the text of each component, the members it was made from, its score on each
    validation row, the component that is next in turn, and how many metric calls had been made before it was scored."""

    texts: dict[str, str]
    parents: tuple[int, ...]
    scores: tuple[float, ...]
    turn: int = 0
    discovered: int = 0

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)


class Pool:
    """Members in the order in which they were accepted. `fronts` holds for each row the members that tie for its best
    score."""

    def __init__(self, rows: int) -> None:
        self.members: list[Member] = []
        self.fronts: list[set[int]] = [set() for _ in range(rows)]
        self._best: list[float] = [float("-inf")] * rows

    def add(self, texts: Mapping[str, str], parents: Sequence[int], scores: Sequence[float], discovered: int) -> int:
        """The place of a new member. Its turn is the latest of its parents'."""
        place = len(self.members)
        turn = max((self.members[p].turn for p in parents), default=0)
        self.members.append(Member(dict(texts), tuple(parents), tuple(scores), turn, discovered))
        for row, score in enumerate(scores):
            if score > self._best[row]:
                self._best[row], self.fronts[row] = score, {place}
            elif score == self._best[row]:
                self.fronts[row].add(place)
        return place

    @property
    def means(self) -> list[float]:
        return [m.mean for m in self.members]

    @property
    def best(self) -> int:
        """The member with the highest mean; the earliest of those that tie."""
        means = self.means
        return means.index(max(means))

    def choose(self, how: str, rng: random.Random) -> int:
        """The parent of the next candidate, chosen as `SELECTORS` name it."""
        if how == "current_best":
            return self.best
        if how == "epsilon_greedy":
            return rng.randint(0, len(self.members) - 1) if rng.random() < _EPSILON else self.best
        fronts, means = self.fronts, self.means
        if how == "top_k_pareto":
            top = set(sorted(range(len(means)), key=lambda i: means[i], reverse=True)[:_TOP])
            fronts = [kept for front in fronts if (kept := front & top)]
            if not fronts:
                return self.best
        return draw(undominated(fronts, means), rng)


def undominated(fronts: Sequence[set[int]], means: Sequence[float]) -> list[set[int]]:
    """The fronts without dominated members: from the lowest mean to the highest, one goes if on every row where it is
    among the best another that is left is, too. One pass is enough, for what goes makes none of the others dominated.
    """
    fronts = [set(f) for f in fronts]  # copied as the `gepa` package does: the order within a set hangs on its history
    on: dict[int, list[set[int]]] = {}
    for front in fronts:
        for member in front:
            on.setdefault(member, []).append(front)
    left = set(on)
    for member in sorted(on, key=lambda m: means[m]):
        if all(any(other in left and other != member for other in front) for front in on[member]):
            left.discard(member)
    return [{m for m in front if m in left} for front in fronts]


def draw(fronts: Sequence[set[int]], rng: random.Random) -> int:
    """A member, in proportion to the number of rows on which it is among the best. Members are listed in the order
    that sets of small integers have, as the `gepa` package does: so the same seed draws the same ones."""
    count: dict[int, int] = {}
    for front in fronts:
        for member in front:
            count[member] = count.get(member, 0) + 1
    return rng.choice([m for m, n in count.items() for _ in range(n)])
