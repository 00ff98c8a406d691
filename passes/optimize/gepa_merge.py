"""GEPA's merge: two good candidates of one origin become one, each giving the components that it changed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lampc.passes.optimize.gepa_pool import Member, Pool, undominated

_ATTEMPTS = 10
_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Merged:
    """A candidate out of the members `first` < `second` and their common `ancestor`."""

    texts: dict[str, str]
    first: int
    second: int
    ancestor: int


@dataclass(slots=True)
class Merges:
    """Which merges there were; none is made twice. At most `most` are accepted (None: any number).

    `due` is raised by every accepted candidate and lowered by every accepted merge; one is tried only right after a
    candidate was accepted (`fresh`). Two members need scores on `overlap` rows in common.
    """

    most: int | None = 5
    overlap: int = 5
    due: int = 0
    accepted: int = 0
    fresh: bool = False
    _triples: set[tuple[int, int, int]] = field(default_factory=set)
    _choices: set[tuple[int, int, tuple[int, ...]]] = field(default_factory=set)

    def schedule(self) -> None:
        """A candidate was accepted."""
        self.fresh = True
        if self.most is None or self.accepted < self.most:
            self.due += 1

    def find(self, pool: Pool, rng: random.Random) -> Merged | None:
        """A merge of two members that nothing dominates; None if a bounded number of draws finds none."""
        able = list({m for front in undominated(pool.fronts, pool.means) for m in front})
        if len(able) < 2 or len(pool.members) < 3:
            return None
        for _ in range(_ATTEMPTS):
            found = self._pair(pool, able, rng)
            if found is None:
                continue
            first, second, ancestor = found
            texts, chosen = _combined(pool, first, second, ancestor, rng)
            if (first, second, chosen) in self._choices or len(pool.fronts) < self.overlap:
                continue
            self._choices.add((first, second, chosen))
            self._triples.add(found)
            return Merged(texts, first, second, ancestor)
        return None

    def _pair(self, pool: Pool, able: Sequence[int], rng: random.Random) -> tuple[int, int, int] | None:
        means = pool.means
        for _ in range(_ATTEMPTS):
            first, second = sorted(rng.sample(able, 2))
            above, below = ancestors(pool.members, first), ancestors(pool.members, second)
            if second in above or first in below:
                continue
            common = [
                a
                for a in above & below
                if (first, second, a) not in self._triples
                and means[a] <= min(means[first], means[second])
                and _complementary(pool.members, first, second, a)
            ]
            if common:
                weights = [means[a] for a in common]
                # scores that are 0 or less make no weights; all are alike then
                usable = sum(weights) > 0 and min(weights) >= 0
                return first, second, rng.choices(common, weights if usable else None)[0]
        return None


def ancestors(members: Sequence[Member], place: int) -> set[int]:
    """All that a member was made from, directly or not."""
    found: set[int] = set()

    def visit(at: int) -> None:
        for parent in members[at].parents:
            if parent not in found:
                found.add(parent)
                visit(parent)

    visit(place)
    return found


def _complementary(members: Sequence[Member], first: int, second: int, ancestor: int) -> bool:
    """Whether there is a component that one of the two changed, and the other did not."""
    a, b = members[first].texts, members[second].texts
    return any(a[n] != b[n] and old in (a[n], b[n]) for n, old in members[ancestor].texts.items())


def _combined(
    pool: Pool, first: int, second: int, ancestor: int, rng: random.Random
) -> tuple[dict[str, str], tuple[int, ...]]:
    """Of each component the text that was changed; where both changed it, that of the better member."""
    a, b, means = pool.members[first], pool.members[second], pool.means
    texts: dict[str, str] = {}
    chosen: list[int] = []
    for name, old in pool.members[ancestor].texts.items():
        if old in (a.texts[name], b.texts[name]):
            giver = second if a.texts[name] == old and b.texts[name] != old else first
        elif means[first] != means[second]:
            giver = first if means[first] > means[second] else second
        else:
            giver = rng.choice([first, second])
        texts[name] = pool.members[giver].texts[name]
        chosen.append(giver)
    return texts, tuple(chosen)


def sample_rows(first: Sequence[float], second: Sequence[float], rng: random.Random) -> list[int]:
    """Validation rows to try a merge on: some where the one is better, some where the other is, some where neither."""
    rows = range(len(first))
    groups = (
        [r for r in rows if first[r] > second[r]],
        [r for r in rows if second[r] > first[r]],
        [r for r in rows if first[r] == second[r]],
    )
    each = max(1, math.ceil(_SAMPLE / len(groups)))
    chosen: list[int] = []
    for group in groups:
        size = min(len(group), each, _SAMPLE - len(chosen))
        if size > 0:
            chosen += rng.sample(group, size)
    missing = _SAMPLE - len(chosen)
    unused = [r for r in rows if r not in chosen]
    if missing and len(unused) >= missing:
        chosen += rng.sample(unused, missing)
    elif missing:
        chosen += rng.choices(rows, k=missing)
    return chosen
