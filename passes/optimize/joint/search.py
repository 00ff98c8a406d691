"""The trials of a joint search: points sampled by TPE, scored on minibatches, members of the front scored in full.

A point's evidence grows: all points are scored on the same rows first, and one that is sampled again on the rows that
it has not seen, so that means are compared on the same rows as far as may be, and no row is paid for twice. Each trial
is drawn from all evidence so far, as the trial itself weighs score against tokens: most as the trade says, some by
a weight of their own, which fills the front. Half of them are sampled by optuna's tree-structured Parzen estimator
(Bergstra et al., NeurIPS 2011; Watanabe, arXiv 2304.11127), which learns from all points but little from a few good
ones; the others change one parameter or two of the best point so far, as local searches do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.joint.front import Point, front
from lampc.passes.optimize.joint.space import Space, Spot
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem
from lampc.passes.optimize.tpe import TreeSearch

STARTUP = 10
"""Points known before the sampler models anything; until then they are drawn at random."""
_TRIES = 4
_MOVES = 0.5  # the share of trials that move from the best point
_PAIRS = 0.2  # and of these the share that changes two parameters
_SMALL = 4096  # spaces that are walked through for what is left


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done: `trials` of `minibatch` rows, `together` at a time; after every `full_steps` of them up to
    `width` members of the front are scored in full, and in the end as many as it takes, `finals` at most. Every
    `front_steps`-th trial weighs by itself (0: none)."""

    trials: int
    minibatch: int
    together: int
    full_steps: int
    width: int
    finals: int
    front_steps: int


@dataclass(slots=True)
class Evidence:
    """What is known of a point: scores and tokens of rows, in the search's order of rows; `failed` of them are
    failures."""

    spot: Spot
    scores: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def broken(self) -> bool:
        """Whether every row failed: that costs little, and is worth nothing."""
        return self.failed == len(self.scores)

    @property
    def score(self) -> float:
        return 100.0 * sum(self.scores) / len(self.scores)

    @property
    def cost(self) -> float:
        """Mean tokens of a row; rows that failed before anything was spent do not say what a row costs."""
        unpaid = min(self.failed, sum(not t for t in self.tokens))
        return sum(self.tokens) / max(1, len(self.tokens) - unpaid)


@dataclass(frozen=True, slots=True)
class _Known(Point):
    evidence: Evidence


class Search:
    """Trials under way. `worth` is what a score and tokens are worth by the trade; `best` is the best by it of what was
    scored on all rows, the program as found among them."""

    def __init__(
        self, name: str, problem: Problem, space: Space, plan: Plan, worth: Callable[[float, float], float], seed: int
    ) -> None:
        self.name, self.problem, self.space, self.plan, self.worth = name, problem, space, plan, worth
        self._seed = seed
        self._order = random.Random(f"{seed} rows").sample(problem.select_rows(), problem.select_size)
        self.history: list[Candidate] = []
        self.best = problem.start
        self._known: dict[Spot, Evidence] = {}
        self._sampled = self._promoted = self._finals = 0
        origin: Spot = (0,) * len(space.axes)
        self._group: list[tuple[Spot, int]] = [(origin, len(self._order))]  # (point, how many rows it then has)
        self._asked = self._told = 0

    @property
    def done(self) -> bool:
        return not self._group

    def ask(self, n: int) -> list[Job]:
        first, self._asked = self._asked, min(len(self._group), self._asked + n)
        return [self._job(spot, upto) for spot, upto in self._group[first : self._asked]]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.name} asked for scores, not for {type(job).__name__}")
        if len(result.tokens) != len(result.scores):
            raise OptimizeError(f"{self.name}: scores came without the tokens of their rows, which it trades them for")
        spot, _ = self._group[self._told]
        self._told += 1
        found = self._known.setdefault(spot, Evidence(spot))
        found.scores += result.scores
        found.tokens += result.tokens
        found.failed += result.errors
        tokens = None if found.broken else found.cost  # without tokens it is in nobody's front
        self.history.append(
            Candidate(job.assignment, self.name, self.space.note(spot), found.score, len(found.scores), tokens)
        )
        if self._told == len(self._group):
            self._group, self._asked, self._told = self._next(), 0, 0
            self.best = self.space.assignment(self._top().spot)

    def demand(self) -> Demand:
        """Without minibatches exact. With them at least what is under way, and at most all trials with rows of their
        own and all full evaluations."""
        if self.done:
            return Demand()
        rows = len(self._order)
        seen = {spot: len(e.scores) for spot, e in self._known.items()}
        now = sum(upto - seen.get(spot, 0) for spot, upto in self._group[self._told :])
        left = self.plan.trials - self._sampled
        if not self._minibatched:
            left = min(left, self.space.size - len({*seen, *(spot for spot, _ in self._group)}))
            return Demand(now + left * rows, now + left * rows)
        fulls = (self._stations - self._promoted) * self.plan.width + self.plan.finals - self._finals
        return Demand(now, now + left * self.plan.minibatch + fulls * rows)

    @property
    def front(self) -> list[Point]:
        """Of what was scored on all rows, and did not fail on every one."""
        return [Point(p.assignment, p.score, p.tokens) for p in front([p for p in self._sound() if self._whole(p)])]

    # -- the fold -----------------------------------------------------------------------------------

    @property
    def _stations(self) -> int:
        """How often members of the front are scored in full before the end."""
        return max(0, (self.plan.trials - 1) // self.plan.full_steps) if self._minibatched else 0

    @property
    def _minibatched(self) -> bool:
        return self.plan.minibatch < len(self._order)

    def _job(self, spot: Spot, upto: int) -> EvaluateJob:
        seen = len(self._known[spot].scores) if spot in self._known else 0
        return EvaluateJob(self.space.assignment(spot), self.problem.select_split, tuple(self._order[seen:upto]))

    def _points(self) -> list[_Known]:
        return [_Known(self.space.assignment(e.spot), e.score, e.cost, e) for e in self._known.values()]

    def _sound(self) -> list[_Known]:
        return [p for p in self._points() if not p.evidence.broken]

    def _whole(self, point: _Known) -> bool:
        return len(point.evidence.scores) == len(self._order)

    def _top(self) -> Evidence:
        whole = [p for p in self._points() if self._whole(p)]
        sound = [p for p in whole if not p.evidence.broken]
        return max(sound or whole, key=lambda p: (self.worth(p.score, p.tokens), -p.tokens)).evidence

    def _next(self) -> list[tuple[Spot, int]]:
        rows = len(self._order)
        if self._sampled < self.plan.trials:
            group = []
            due = min(self._sampled // self.plan.full_steps, self._stations)
            if self._promoted < due:
                self._promoted = due
                group = [(p.evidence.spot, rows) for p in self._unsure()[: self.plan.width]]
            taken = {spot for spot, _ in group}
            for _ in range(min(self.plan.together, self.plan.trials - self._sampled)):
                spot = self._sample(taken)
                if spot is None:
                    self._sampled = self.plan.trials  # nothing is left that is not known
                    break
                self._sampled += 1
                taken.add(spot)
                seen = len(self._known[spot].scores) if spot in self._known else 0
                group.append((spot, min(rows, seen + self.plan.minibatch)))
            if group:
                return group
        self._promoted = self._stations
        finals = self._unsure()[: min(self.plan.together, self.plan.finals - self._finals)]
        self._finals += len(finals)
        return [(p.evidence.spot, rows) for p in finals]

    def _unsure(self) -> list[_Known]:
        """Members of the present front that were not scored in full, the best by the trade first."""
        found = [p for p in front(self._sound()) if not self._whole(p)]
        return sorted(found, key=lambda p: -self.worth(p.score, p.tokens))

    def _sample(self, taken: set[Spot]) -> Spot | None:
        """A point that is not known in full and not among those `taken`; None if there is none."""
        number = self._sampled
        rng = random.Random(f"{self._seed} {number}")
        weighed = self._weighed(number, rng)
        for _ in range(_TRIES):
            spot = self._suggested(weighed, taken, rng)
            if self._open(spot, taken):
                return spot
        return self._any(taken, rng)

    def _weighed(self, number: int, rng: random.Random) -> list[tuple[Spot, float]]:
        """What each known point is worth to this trial; one that fails on every row no more than the worst other."""
        sound = self._sound()
        values = self._values(sound or self._points(), number, rng)
        if not sound:
            return values
        worst = min(value for _, value in values)
        return values + [(p.evidence.spot, worst) for p in self._points() if p.evidence.broken]

    def _values(self, points: Sequence[_Known], number: int, rng: random.Random) -> list[tuple[Spot, float]]:
        steps = self.plan.front_steps
        if not steps or (number + 1) % steps:
            return [(p.evidence.spot, self.worth(p.score, p.tokens)) for p in points]
        weight = rng.random()
        scores, costs = _unit([p.score for p in points]), _unit([p.tokens for p in points])
        return [(p.evidence.spot, (1 - weight) * s - weight * c) for p, s, c in zip(points, scores, costs, strict=True)]

    def _suggested(self, weighed: Sequence[tuple[Spot, float]], taken: set[Spot], rng: random.Random) -> Spot:
        sizes = self.space.sizes()
        if len(weighed) < min(STARTUP, self.space.size // 2):
            return tuple(rng.randrange(n) for n in sizes.values())
        if rng.random() < _MOVES:
            return self._moved(weighed, rng)
        study = TreeSearch(self.name, sizes, rng.getrandbits(31))
        for spot, value in weighed:
            study.add(_named(sizes, spot), value)
        worst = min(value for _, value in weighed)
        for spot in taken:  # under way: others are to be tried meanwhile
            study.add(_named(sizes, spot), worst)
        _, params = study.ask()
        return tuple(params[name] for name in sizes)

    def _moved(self, weighed: Sequence[tuple[Spot, float]], rng: random.Random) -> Spot:
        """A neighbour of the best point; of one of them, if several tie."""
        sizes = list(self.space.sizes().values())
        top = max(value for _, value in weighed)
        spot = list(rng.choice([s for s, value in weighed if value == top]))
        for i in rng.sample(range(len(sizes)), min(len(sizes), 2 if rng.random() < _PAIRS else 1)):
            spot[i] = rng.choice([v for v in range(sizes[i]) if v != spot[i]])
        return tuple(spot)

    def _open(self, spot: Spot, taken: set[Spot]) -> bool:
        return spot not in taken and (spot not in self._known or len(self._known[spot].scores) < len(self._order))

    def _any(self, taken: set[Spot], rng: random.Random) -> Spot | None:
        """Some open point; in spaces that are not small only a few are tried."""
        sizes = list(self.space.sizes().values())
        if self.space.size <= _SMALL:
            left = [s for s in product(*map(range, sizes)) if self._open(s, taken)]
            return rng.choice(left) if left else None
        for _ in range(100):
            spot = tuple(rng.randrange(n) for n in sizes)
            if self._open(spot, taken):
                return spot
        return None


def _named(sizes: Mapping[str, int], spot: Spot) -> dict[str, int]:
    return dict(zip(sizes, spot, strict=True))


def _unit(values: Sequence[float]) -> list[float]:
    """Brought to 0 .. 1; all 0 if they are equal."""
    low, high = min(values), max(values)
    return [(v - low) / (high - low) if high > low else 0.0 for v in values]
