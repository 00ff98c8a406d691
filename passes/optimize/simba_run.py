"""SIMBA under way: steps over minibatches, then the best of the winners on all rows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lampc.ir import Assignment, Demo, Obj, Sampling, thaw
from lampc.passes.optimize.jobs import CallJob, CallResult, EvaluateJob, EvaluateResult, RunJob, RunResult
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem
from lampc.passes.optimize.simba import SIMBA
from lampc.passes.optimize.simba_rules import advice, contrast
from lampc.passes.optimize.staged import Staged, Stages

_CUT = " ... (cut short)"
_FULLEST = 3
"""Most demos of a predictor where `max_demos` is 0: beyond that some of those that it came with are dropped."""


@dataclass(slots=True)
class Member:
    """A program of the pool and its scores on the minibatch that it was made for; the first one has none."""

    assignment: Assignment
    scores: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores) if self.scores else 0.0


@dataclass(slots=True)
class Draft:
    """A new program in the making: from which one, what it is, and the call whose advice it waits for."""

    source: int
    assignment: Assignment
    note: str
    call: CallJob | None = None


@dataclass(slots=True)
class Bucket:
    """The runs of one row, the best first."""

    row: int
    runs: list[RunResult]
    spread: tuple[float, float, float] = field(init=False)

    def __post_init__(self) -> None:
        self.runs.sort(key=lambda r: r.score, reverse=True)
        top, mean = self.runs[0].score, sum(r.score for r in self.runs) / len(self.runs)
        self.spread = (top - self.runs[-1].score, top, top - mean)


class Ascent(Staged):
    """See `SIMBA`. `pool` holds all programs in order, `winners` the places of the best of each step, `finals` of those
    scored on all rows, with their means.

    Facts of the history: `program`, the place in the pool, with its `step` and `scores`; of those scored on all rows
    `winner`, that place, and the `mean`."""

    def __init__(self, options: SIMBA, problem: Problem) -> None:
        import numpy as np

        super().__init__(problem.start)
        self.options, self.problem = options, problem
        self.pool = [Member(problem.start)]
        self.winners = [0]
        self.finals: list[tuple[int, float]] = []
        self.step = 0
        self._np, self._rng = np, random.Random(options.seed)
        self._poisson = np.random.default_rng(options.seed).poisson
        self._learning = problem.tunable("demos") if options.max_demos else []
        self._dropping = problem.tunable("demos")
        self._ruled = problem.tunable("instruction") if options.rules else []
        self._ways = ["demo"] * bool(options.max_demos) + ["rule"] * options.rules
        self._order = list(range(len(problem.train)))
        self._at, self._calls = 0, 0
        self._spent = 0  # runs of the step under way
        self.history.append(Candidate(problem.start, options.name, "the program as found"))

    # -- the algorithm ------------------------------------------------------------------------------

    def stages(self) -> Stages[None]:
        self._rng.shuffle(self._order)
        for step in range(self.options.max_steps):
            self.step = step
            batch = self._batch()
            buckets = yield from self._sample(batch)
            self._spent = len(batch) * self.options.num_candidates
            drafts = yield from self._draft(buckets)
            yield from self._compare(drafts, batch)
            self._spent = 0
        self.step = self.options.max_steps
        yield from self._finish()

    def _batch(self) -> list[int]:
        size = self.options.bsize
        if self._at + size > len(self._order):
            self._rng.shuffle(self._order)
            self._at = 0
        self._at += size
        return self._order[self._at - size : self._at]

    def _sample(self, batch: Sequence[int]) -> Stages[list[Bucket]]:
        """Run each row several times, each time a program drawn from the best ones; rows of the widest spread first."""
        top, split = self._top(), self.problem.train_split
        jobs = []
        for n in range(self.options.num_candidates):
            for row in batch:
                drawn = self.pool[self._softmax(top, self.options.temperature_for_sampling)].assignment
                if n == 0 and self.options.teacher_model:  # as it is set, not at temperature 1
                    names = [f"{p.symbol}.model" for p in self.problem.predictors()]
                    drawn = drawn.updated(**dict.fromkeys(names, self.options.teacher_model))
                    jobs.append(RunJob(drawn, split, row, n, traced=False))
                else:
                    jobs.append(RunJob(drawn, split, row, n, 1.0, traced=False))
        runs = []
        for result in (yield jobs):
            if not isinstance(result, RunResult):
                raise OptimizeError(f"simba asked for runs, not for what gives a {type(result).__name__}")
            runs.append(result)
        buckets = [Bucket(row, runs[i :: len(batch)]) for i, row in enumerate(batch)]
        return sorted(buckets, key=lambda b: b.spread, reverse=True)

    def _draft(self, buckets: Sequence[Bucket]) -> Stages[list[Draft]]:
        """New programs, one per row in order, until there are enough; a rule that no advice came for makes none."""
        scores = [r.score for b in buckets for r in b.runs]
        low, high = (float(self._np.percentile(scores, q)) for q in (10, 90))
        rest, made = iter(buckets), list[Draft]()
        while missing := self.options.num_candidates + 1 - len(made):
            drafts = [self._outline(b, low, high) for b in _first(rest, missing)]
            if not drafts:
                break
            answers = iter((yield [d.call for d in drafts if d.call is not None]))
            for draft in drafts:
                if draft.call is None or self._advised(draft, next(answers)):
                    made.append(draft)
        return made

    def _outline(self, bucket: Bucket, low: float, high: float) -> Draft:
        """Draw a program and what of its demos goes, and how it is to get better. Nothing of this depends on what a
        model answers, so the calls of a step may be made together."""
        source = self._softmax(self._top(), self.options.temperature_for_candidates)
        made = self._without_some(self.pool[source].assignment)
        way = self._rng.choice(self._ways)
        if way == "demo":
            if bucket.runs[0].score > low:
                made = self._with_demos(made, bucket.runs[0])
            return Draft(source, made, f"demo from row {bucket.row}")
        draft = Draft(source, made, f"rule from row {bucket.row}")
        found = contrast(bucket.row, bucket.runs, low, high)
        if found is not None:
            names = [p.symbol for p in self._ruled]
            call = found.call(self.problem, names, self.options.prompt_model or "main", self._calls)
            most = Sampling(max_tokens=self.options.max_proposal_tokens, firm=("max_tokens",))
            draft.call = replace(call, sampling=most)
            self._calls += 1
        return draft

    def _without_some(self, assignment: Assignment) -> Assignment:
        demos = {p.symbol: self.problem.demos(assignment, p) for p in self._dropping}
        most, fullest = max(map(len, demos.values()), default=0), self.options.max_demos or _FULLEST
        drop = min(most, max(int(self._poisson(most / fullest)), int(most >= fullest)))
        places = {self._rng.randrange(most) for _ in range(drop)}
        left = {n: [d for i, d in enumerate(ds) if i not in places] for n, ds in demos.items() if ds}
        return self.problem.with_demos(assignment, left) if places else assignment

    def _with_demos(self, assignment: Assignment, run: RunResult) -> Assignment:
        """The last call of each predictor in the run, as one more demo."""
        last = {c.predictor: c for c in run.trace if not c.error}
        demos = {}
        for p in self._learning:
            if (call := last.get(p.symbol)) is not None:
                values = {**{n: self._short(v) for n, v in call.inputs.items()}, **call.outputs}
                demos[p.symbol] = [*self.problem.demos(assignment, p), Demo(Obj(values), augmented=True)]
        return self.problem.with_demos(assignment, demos)

    def _short(self, value: Any) -> Any:
        most, text = self.options.demo_input_field_maxlen, value if isinstance(value, str) else str(thaw(value))
        return value if not most or len(text) <= most else text[:most] + _CUT

    def _advised(self, draft: Draft, answer: object) -> bool:
        """Put a model's advice into the draft's instructions; whether there is any."""
        if not isinstance(answer, CallResult):
            raise OptimizeError(f"simba asked for a call, not for what gives a {type(answer).__name__}")
        found = advice(answer)
        if found is None:
            return False
        for p in self._ruled:
            if p.symbol in found:
                text = f"{self.problem.instruction(draft.assignment, p)}\n\n{found[p.symbol]}"
                draft.assignment = draft.assignment.updated(**{f"{p.symbol}.instruction": text})
        return True

    def _compare(self, drafts: Sequence[Draft], batch: Sequence[int]) -> Stages[None]:
        """Score the new programs on the minibatch; all enter the pool, the first of the best is the step's winner."""
        tables = yield from self._tables([d.assignment for d in drafts], batch)
        for draft, scores in zip(drafts, tables, strict=True):
            self.pool.append(Member(draft.assignment, scores))
            mean, note = 100.0 * self.pool[-1].mean, f"step {self.step + 1}: {draft.note}"
            facts = Obj({"program": len(self.pool) - 1, "step": self.step, "scores": scores})
            parents = (draft.source,)  # the pool and this part of the history go together
            made = Candidate(draft.assignment, self.options.name, note, mean, len(scores), None, parents, facts)
            self.history.append(made)
        if drafts:
            new = range(len(self.pool) - len(drafts), len(self.pool))
            self.winners.append(max(new, key=lambda i: self.pool[i].mean))
            self.best = self.pool[self.winners[-1]].assignment

    def _finish(self) -> Stages[None]:
        """Score winners, evenly spread over the steps, on all rows; the first of the best is the result."""
        chosen = [self.winners[i] for i in _spread(len(self.winners) - 1, self.options.num_candidates)]
        tables = yield from self._tables([self.pool[i].assignment for i in chosen], range(len(self.problem.train)))
        for place, scores in zip(chosen, tables, strict=True):
            mean, assignment = sum(scores) / len(scores), self.pool[place].assignment
            self.finals.append((place, mean))
            facts = Obj({"winner": place, "mean": mean})
            made = Candidate(
                assignment, self.options.name, "on all rows", 100.0 * mean, len(scores), None, (place,), facts
            )
            self.history.append(made)
        self.best = self.pool[max(self.finals, key=lambda pair: pair[1])[0]].assignment

    def _tables(self, candidates: Sequence[Assignment], rows: Sequence[int]) -> Stages[list[tuple[float, ...]]]:
        results = yield [EvaluateJob(a, self.problem.train_split, tuple(rows)) for a in candidates]
        tables = []
        for result in results:
            if not isinstance(result, EvaluateResult):
                raise OptimizeError(f"simba asked for scores, not for what gives a {type(result).__name__}")
            tables.append(result.scores)
        return tables

    # -- draws --------------------------------------------------------------------------------------

    def _top(self) -> list[int]:
        """The best programs by their means, the one as found among them."""
        order = sorted(range(len(self.pool)), key=lambda i: self.pool[i].mean, reverse=True)
        top = order[: self.options.num_candidates]
        if 0 not in top:
            top[-1] = 0
        return top

    def _softmax(self, places: Sequence[int], temperature: float) -> int:
        scores = [self.pool[i].mean / temperature for i in places]
        beyond = max(0.0, max(scores) - 700.0)  # where the exponential would be infinite
        weights = [self._np.exp(s - beyond) for s in scores]
        total = sum(weights)
        if total <= 0:
            return self._rng.choice(list(places))
        return self._rng.choices(list(places), weights=[w / total for w in weights])[0]

    # -- accounts -----------------------------------------------------------------------------------

    def demand(self) -> Demand:
        """Exact without rules; with them a step makes fewer programs if a model gives no readable advice."""
        if self.done:
            return Demand()
        o, rows = self.options, len(self.problem.train)
        steps = o.max_steps - self.step
        each = min(o.num_candidates + 1, o.bsize)
        winners = len(self.winners) - 1
        last = len(_spread(winners + steps, o.num_candidates)) * rows
        most = steps * o.bsize * (o.num_candidates + each) + last - self._spent
        if not o.rules:
            return Demand(most, most)
        least = steps * o.bsize * o.num_candidates + len(_spread(winners, o.num_candidates)) * rows
        return Demand(max(0, least - self._spent), most, steps * o.bsize)


def _first(items: Iterator[Bucket], n: int) -> list[Bucket]:
    return [b for _, b in zip(range(n), items, strict=False)]


def _spread(last: int, parts: int) -> list[int]:
    """At most `parts + 1` of the numbers from 0 to `last`, evenly spaced, each once."""
    return list(dict.fromkeys(round(i * last / parts) for i in range(parts + 1))) if last else [0]
