"""Racing: candidates that an optimizer wants scored on the same rows meet on some of them first, and those that fall
behind are cut.

`Raced` stands between an optimizer and whoever runs its jobs. It knows nothing of the optimizer: scores that are asked
for together on the same rows are a race, everything else passes through. The optimizer is told a score for every row
that it asked for; of a candidate that was cut, rows that were not run have a stand-in, so low that its mean is below
that of the best candidate of its race. What a race decides follows from the scores alone, so a resumed run decides the
same.

A race may change what an optimizer finds: it is off unless asked for (label G). Sources: successive halving, Jamieson
and Talwalkar 2016; bounds of differences on the same rows, drawn without replacement, Bardenet and Maillard 2015
(Hoeffding-Serfling, empirical Bernstein-Serfling).
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lampc.ir import Assignment
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Optimizer, Problem, Strategy

OFF, HALVING, BERNSTEIN = "off", "halving", "bernstein"
KINDS = (OFF, HALVING, BERNSTEIN)
"""What the option `racing` of optimizers may say."""

_MANY = 4096
_BELOW = 1e-4
"""How far below the best mean of a race (in scores of 0 to 1) that of a cut candidate is told to be: survives rounding
to two decimals of 100."""


@dataclass(frozen=True)
class Racing:
    """How candidates are cut.

    `halving`: after each rung the best 1/`eta` go on to `eta` times as many rows, in the end to all. `bernstein`:
    after each rung a candidate is cut whose mean on all rows is below that of the leader with probability 1 - `delta`
    for all decisions of a race together; scores have to be from 0 to 1. The first rung has at least `least` rows;
    `seed` draws the order of rows.
    """

    kind: str
    eta: int = 2
    least: int = 4
    delta: float = 0.05
    seed: int = 0


def begin(strategy: Strategy, problem: Problem) -> Optimizer:
    """Begin a strategy, under a race if its option `racing` says so. Raises OptimizeError."""
    made, kind = strategy.begin(problem), getattr(strategy, "racing", OFF)
    if kind not in KINDS:
        raise OptimizeError(f"{strategy.name}: `racing` is {kind!r}; it is {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return made if kind == OFF else Raced(made, Racing(kind))


class Raced:
    """An optimizer whose candidates race; `cuts` are the scores that it asked for and that were not run."""

    def __init__(self, inner: Optimizer, racing: Racing) -> None:
        self.inner, self.racing = inner, racing
        self.cuts: list[EvaluateJob] = []
        self._waiting: deque[_Wanted] = deque()  # what the optimizer asked for, in its order
        self._ready: deque[tuple[Job, _Wanted | _Entrant]] = deque()  # to be asked for
        self._asked: deque[_Wanted | _Entrant] = deque()  # whose results are due
        self._races: list[_Race] = []
        self._full: dict[EvaluateJob, EvaluateResult] = {}
        self._partly: dict[Assignment, tuple[int, float]] = {}  # of cut candidates: rows, and their mean (0 to 100)
        self._pump()

    @property
    def done(self) -> bool:
        return self.inner.done and not self._waiting

    @property
    def best(self) -> Assignment:
        return self.inner.best

    @property
    def history(self) -> list[Candidate]:
        """That of the optimizer; candidates that were cut say so, with the mean of the rows that they were run on."""
        return [self._marked(c) for c in self.inner.history]

    def ask(self, n: int) -> list[Job]:
        jobs: list[Job] = []
        while self._ready and len(jobs) < n:
            job, owner = self._ready.popleft()
            self._asked.append(owner)
            jobs.append(job)
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        owner = self._asked.popleft()
        if isinstance(owner, _Wanted):
            owner.result = result
        else:
            if not isinstance(result, EvaluateResult):
                raise OptimizeError(f"a race asked for scores, not for {type(result).__name__}")
            owner.take(job, result)
        if self._asked or self._ready:
            return
        for race in self._races:
            self._ready += [(job, entrant) for entrant, job in race.advance()]
        if not self._ready:
            self._settle()
            self._pump()

    def demand(self) -> Demand:
        """At most what the optimizer demands, and once more the rows of those that come to the last rung."""
        own = self.inner.demand()
        return Demand(0, 2 * own.most, own.calls)

    # -- races ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Ask the optimizer on, as long as all that it asks for is known already."""
        while not self._waiting and not self.inner.done:
            jobs = self.inner.ask(_MANY)
            if not jobs:
                return
            self._begin(jobs)
            if not self._ready:
                self._settle()

    def _begin(self, jobs: Sequence[Job]) -> None:
        """Group what the optimizer asks for: scores on the same rows race."""
        self._waiting = deque(_Wanted(job) for job in jobs)
        groups: dict[tuple[str, tuple[int, ...]], list[_Wanted]] = {}
        for wanted in self._waiting:
            if isinstance(wanted.job, EvaluateJob) and len(wanted.job.rows) > self.racing.least:
                groups.setdefault((wanted.job.split, wanted.job.rows), []).append(wanted)
            else:
                self._ready.append((wanted.job, wanted))
        self._races = []
        for (split, rows), members in groups.items():
            known = [r for j, r in self._full.items() if (j.split, j.rows) == (split, rows)]
            best = max(known, key=lambda r: r.mean) if known and self.racing.kind == BERNSTEIN else None
            race = _Race(self.racing, split, rows, best)
            for wanted in members:
                assert isinstance(wanted.job, EvaluateJob)
                wanted.entrant = race.enter(wanted.job.assignment, self._full.get(wanted.job))
            self._races.append(race)
            self._ready += [(job, entrant) for entrant, job in race.advance()]

    def _settle(self) -> None:
        """All that was asked for is known: tell the optimizer, in its order."""
        for race in self._races:
            race.close()
            for entrant in race.entrants:
                if missing := entrant.missing(race.rows):
                    self.cuts.append(EvaluateJob(entrant.assignment, race.split, missing))
        waiting, self._waiting, self._races = self._waiting, deque(), []
        for wanted in waiting:
            job, result = wanted.job, wanted.result
            if wanted.entrant is not None:
                assert isinstance(job, EvaluateJob)
                result = self._scored(job, wanted.entrant)
            assert result is not None
            if not self.inner.done:  # what it asked for ahead of time it may not need any more
                self.inner.tell(job, result)

    def _scored(self, job: EvaluateJob, entrant: _Entrant) -> EvaluateResult:
        result = entrant.result(job.rows)
        if result.cut:
            mean = 100.0 * sum(entrant.scores.values()) / len(entrant.scores)
            self._partly[job.assignment] = len(entrant.scores), mean
        else:
            self._full[job] = result
            self._partly.pop(job.assignment, None)
        return result

    def _marked(self, c: Candidate) -> Candidate:
        if c.assignment not in self._partly:
            return c
        rows, mean = self._partly[c.assignment]
        return replace(c, score=mean, rows=rows, note=f"{c.note} (cut after {rows} rows)".strip())


@dataclass(slots=True, eq=False)
class _Wanted:
    """A job of the optimizer, and what will be told of it."""

    job: Job
    entrant: _Entrant | None = None
    result: Result | None = None


@dataclass(slots=True, eq=False)
class _Entrant:
    """A candidate in a race: scores and tokens of the rows that it was run on."""

    assignment: Assignment
    scores: dict[int, float] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    errors: int = 0
    alive: bool = True
    ceiling: float = math.inf  # the mean that is told is below this, once it is cut

    def take(self, job: Job, result: EvaluateResult) -> None:
        """The result of a rung. The last one is about all rows: those before are known and cost nothing."""
        assert isinstance(job, EvaluateJob)
        again = any(r in self.scores for r in job.rows)
        self.scores.update(zip(job.rows, result.scores, strict=True))
        self.tokens.update(zip(job.rows, result.tokens, strict=False))
        self.errors = result.errors + (0 if again else self.errors)

    def missing(self, rows: Sequence[int]) -> tuple[int, ...]:
        return tuple(r for r in rows if r not in self.scores)

    def mean_over(self, rows: Sequence[int]) -> float:
        return sum(self.scores[r] for r in rows) / len(rows)

    def result(self, rows: Sequence[int]) -> EvaluateResult:
        """What is told: rows that were not run have stand-ins, equal ones."""
        missing = self.missing(rows)
        score, tokens = 0.0, 0
        if missing:
            total = sum(self.scores.values())
            wanted = min(total / len(self.scores), self.ceiling - _BELOW)
            score = (wanted * len(rows) - total) / len(missing)
            tokens = round(sum(self.tokens.values()) / len(self.tokens)) if self.tokens else 0
        scores = tuple(self.scores.get(r, score) for r in rows)
        used = tuple(self.tokens.get(r, tokens) for r in rows) if self.tokens else ()
        return EvaluateResult(scores, self.errors, used, missing)


class _Race:
    """Candidates on the same rows. `known` is the result of an earlier candidate on them, to be held against."""

    def __init__(self, racing: Racing, split: str, rows: tuple[int, ...], known: EvaluateResult | None) -> None:
        self.racing, self.split, self.rows = racing, split, rows
        self.entrants: list[_Entrant] = []
        self.order = list(rows)
        random.Random(racing.seed).shuffle(self.order)
        self.rival = None if known is None else dict(zip(rows, known.scores, strict=True))
        self._sizes: list[int] = []
        self._rung = -1

    def enter(self, assignment: Assignment, known: EvaluateResult | None) -> _Entrant:
        """Take part; equal candidates are one. `known` is a result on all rows from before."""
        for entrant in self.entrants:
            if entrant.assignment == assignment:
                return entrant
        made = _Entrant(assignment)
        if known is not None:
            made.take(EvaluateJob(assignment, self.split, self.rows), known)
        self.entrants.append(made)
        return made

    def advance(self) -> list[tuple[_Entrant, EvaluateJob]]:
        """The jobs of the next rung, once those of the one before are done; none at the end."""
        if self._rung < 0:
            self._sizes = self._rungs()
        while True:
            if self._rung >= 0:
                self._cut()
            if self._rung + 1 >= len(self._sizes):
                return []
            self._rung += 1
            whole = self._sizes[self._rung] == len(self.rows)
            rows = self.rows if whole else tuple(self.order[: self._sizes[self._rung]])
            open_ = [(e, rows if whole else e.missing(rows)) for e in self.entrants if e.alive and e.missing(rows)]
            if open_:
                return [(e, EvaluateJob(e.assignment, self.split, wanted)) for e, wanted in open_]

    def close(self) -> None:
        """The race is over: what is told of those that were cut is below the best."""
        for entrant in self.entrants:
            entrant.ceiling = self._best()

    def _best(self) -> float:
        """The best mean over all rows, that of the earlier candidate included."""
        means = [e.mean_over(self.rows) for e in self.entrants if not e.missing(self.rows)]
        return max(means + ([sum(self.rival.values()) / len(self.rows)] if self.rival is not None else []))

    # -- who goes on ----------------------------------------------------------------------------------

    def _rungs(self) -> list[int]:
        """How many rows each rung has, the last all of them."""
        eta, n = self.racing.eta, len(self.rows)
        if self.racing.kind == HALVING:
            times = math.ceil(math.log(len(self.entrants), eta) - 1e-9) if len(self.entrants) > 1 else 0
            sizes = [math.ceil(n / eta**i) for i in range(times, 0, -1)]
        else:
            sizes = [math.ceil(n * i / 8) for i in range(1, 8)]
        return [*dict.fromkeys(s for s in sizes if self.racing.least <= s < n), n]

    def _cut(self) -> None:
        rows = self.order[: self._sizes[self._rung]]
        running = [e for e in self.entrants if e.alive]
        if not running or self._rung == len(self._sizes) - 1:
            return
        if self.racing.kind == HALVING:
            ranked = sorted(running, key=lambda e: -e.mean_over(rows))  # stable: of equals the earlier goes on
            for entrant in ranked[math.ceil(len(ranked) / self.racing.eta) :]:
                entrant.alive = False
        else:
            self._cut_by_bounds(running, rows)
        for entrant in running:  # on all rows already: nothing is saved by leaving it out
            entrant.alive = entrant.alive or not entrant.missing(self.rows)

    def _cut_by_bounds(self, running: list[_Entrant], rows: Sequence[int]) -> None:
        for entrant in running:
            if any(not 0.0 <= entrant.scores[r] <= 1.0 for r in rows):
                raise OptimizeError("racing by bounds needs scores from 0 to 1; use `halving`, or scale the metric")
        leader = max(running, key=lambda e: e.mean_over(rows))
        ahead = leader.scores
        if self.rival is not None and sum(self.rival[r] for r in rows) > sum(ahead[r] for r in rows):
            ahead = self.rival
        rivals = len(self.entrants) + (self.rival is not None)
        decisions = max(1, rivals * (rivals - 1)) * (len(self._sizes) - 1)  # whoever leads, at every rung
        for entrant in running:
            if entrant.scores is not ahead:
                lead = [ahead[r] - entrant.scores[r] for r in rows]
                entrant.alive = not behind(lead, len(self.rows), self.racing.delta / decisions)


def behind(lead: Sequence[float], rows: int, delta: float) -> bool:
    """Whether the mean of a difference over all `rows` is above 0, seen some of them (`lead`, each within -1 and 1,
    drawn without replacement): for certain, or with probability 1 - `delta`."""
    n = len(lead)
    total = sum(lead)
    if total > rows - n:  # even if all others were -1
        return True
    mean = total / n
    share = 1 - (n - 1) / rows if n <= rows / 2 else (1 - n / rows) * (1 + 1 / n)
    hoeffding = 2 * math.sqrt(share * math.log(2 / delta) / (2 * n))
    deviation = math.sqrt(sum((x - mean) ** 2 for x in lead) / n)
    told = math.log(10 / delta)
    bernstein = deviation * math.sqrt(2 * share * told / n) + (7 / 3 + 3 / math.sqrt(2)) * 2 * told / n
    return mean > min(hoeffding, bernstein)
