"""The trials of MIPROv2: combinations of instructions and demo sets, sampled by TPE, scored on minibatches, the best by
their mean scored in full now and then.

One after another this is the loop of DSPy's MIPROv2, draw for draw. Yet the sampler draws its first trials at random,
whatever was scored: these are foreseen, and scored together with the program as found. With `together` above 1, so many
of the others are sampled before any of them is told, and run together; a full evaluation runs with the trials after it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lampc.ir import Assignment, Obj
from lampc.ir.attrs import Attr
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.mipro.plan import Plan
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem
from lampc.passes.optimize.tpe import STARTUP, Params, TreeSearch

START, MINIBATCH, FULL = "start", "minibatch", "full"


@dataclass(frozen=True, slots=True)
class Variable:
    """What a trial chooses: a parameter of a predictor, out of `values`, the first of which is where the search begins.
    `name` is DSPy's (`0_predictor_instruction`)."""

    name: str
    parameter: str
    values: tuple[Attr, ...]


@dataclass(slots=True)
class Cells:
    """A candidate and the rows that it is scored on, perhaps before the trial that wants that is sampled."""

    assignment: Assignment
    rows: tuple[int, ...]
    result: EvaluateResult | None = None


@dataclass(slots=True)
class Trial:
    """`study` is optuna's number of a trial that was sampled, None for a full evaluation."""

    number: int
    kind: str
    params: Params
    cells: Cells
    study: int | None = None


@dataclass(slots=True)
class _Tried:
    """A combination's minibatch scores, and the assignment that it is."""

    params: Params
    assignment: Assignment
    scores: list[float] = field(default_factory=list)
    full: bool = False

    @property
    def mean(self) -> float:
        return sum(self.scores) / len(self.scores)


class Search:
    """Trials under way. `rng` draws the minibatches. `best` is the best that was scored on all rows of the plan."""

    def __init__(
        self, name: str, problem: Problem, plan: Plan, variables: Sequence[Variable], seed: int, rng: random.Random,
        together: int = 1,
    ) -> None:  # fmt: skip
        self.name, self.problem, self.plan, self.variables = name, problem, plan, list(variables)
        self._rng, self._together, self._seed = rng, together, seed
        self._study = self._new_study()
        self.best, self.best_score = problem.start, float("-inf")
        self.history: list[Candidate] = []
        self.trials: list[Trial] = []
        self.done = False
        self._tried: dict[tuple[int, ...], _Tried] = {}
        self._sampled, self._scored = 0, 0
        start = Cells(problem.start, plan.rows)
        self._group = [Trial(1, START, dict.fromkeys((v.name for v in variables), 0), start)]
        self._foreseen = self._foresee()
        self._open = [start, *(cells for _, cells in self._foreseen.values())]
        self._asked, self._told = 0, 0

    def ask(self, n: int) -> list[Job]:
        first, self._asked = self._asked, min(len(self._open), self._asked + n)
        split = self.problem.select_split
        return [EvaluateJob(c.assignment, split, c.rows) for c in self._open[first : self._asked]]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.name} asked for scores, not for {type(job).__name__}")
        self._open[self._told].result = result
        self._told += 1
        self._scored += len(job.rows)
        while self._told == len(self._open) and not self.done:
            for trial in self._group:
                self._take(trial)
            self._group = self._next_group()
            self._open = [t.cells for t in self._group if t.cells.result is None]
            self._asked, self._told, self.done = 0, 0, not self._group

    def demand(self) -> Demand:
        left = 0 if self.done else max(0, self.plan.demand().most - self._scored)
        return Demand(left, left)

    # -- the fold -----------------------------------------------------------------------------------

    def _new_study(self) -> TreeSearch:
        sizes = {v.name: len(v.values) for v in self.variables}
        return TreeSearch(self.name, sizes, self._seed, self._together)

    def _foresee(self) -> dict[int, tuple[Params, Cells]]:
        """The trials, by their place, that a study samples before it looks at scores: with so many in it."""
        study, plan = self._new_study(), self.plan
        out: dict[int, tuple[Params, Cells]] = {}
        for place in range(1, plan.trials + 1):
            known = place + ((place - 1) // plan.full_steps if plan.minibatch else 0)
            if known >= STARTUP:
                break
            _, params = study.ask()
            out[place] = params, Cells(self._assignment(params), self._rows())
        return out

    def _take(self, trial: Trial) -> None:
        result, assignment = trial.cells.result, trial.cells.assignment
        assert result is not None
        score = round(result.mean, 2)  # as DSPy's evaluation gives it
        self.trials.append(trial)
        sampled = trial.study is not None
        facts = Obj({"trial": trial.number, "kind": trial.kind, "sampled": sampled, "params": Obj(trial.params)})
        tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None
        rows = len(trial.cells.rows)
        self.history.append(Candidate(assignment, self.name, _note(trial), score, rows, tokens, facts=facts))
        if trial.study is not None:
            self._study.tell(trial.study, score)
        else:
            self._study.add(trial.params, score)
        if trial.kind == MINIBATCH:
            spot = tuple(trial.params.values())
            self._tried.setdefault(spot, _Tried(trial.params, assignment)).scores.append(score)
        elif score > self.best_score:
            self.best, self.best_score = assignment, score

    def _next_group(self) -> list[Trial]:
        plan, number = self.plan, len(self.trials) + 1
        group: list[Trial] = []
        if self._full_due():
            group.append(self._full(number))
            if self._together == 1:
                return group
        left = plan.trials - self._sampled
        if plan.minibatch:  # what is scored in full is chosen when all trials before are told
            left = min(left, plan.full_steps - self._sampled % plan.full_steps)
        for _ in range(min(left, self._together)):
            group.append(self._sample(number + len(group)))
        return group

    def _full_due(self) -> bool:
        if not self.plan.minibatch or not self._sampled:
            return False
        due = -(-self._sampled // self.plan.full_steps)
        whole = self._sampled % self.plan.full_steps == 0 or self._sampled == self.plan.trials
        return whole and sum(t.kind == FULL for t in self.trials) < due

    def _full(self, number: int) -> Trial:
        """Of the combinations not scored in full yet the best by its mean; the earliest of those that tie.

        Where every one was, the best by its mean again: its rows are known, and the number of evaluations stays what
        was announced.
        """
        open_ = [t for t in self._tried.values() if not t.full] or list(self._tried.values())
        top = max(open_, key=lambda t: t.mean)
        top.full = True
        return Trial(number, FULL, top.params, Cells(top.assignment, self.plan.rows))

    def _sample(self, number: int) -> Trial:
        self._sampled += 1
        study, params = self._study.ask()
        foreseen, cells = self._foreseen.pop(self._sampled, (None, None))
        if cells is None:
            cells = Cells(self._assignment(params), self._rows())
        elif foreseen != params:  # another sampler than the one known: only the rows were drawn right
            cells = Cells(self._assignment(params), cells.rows)
        return Trial(number, MINIBATCH if self.plan.minibatch else FULL, params, cells, study)

    def _assignment(self, params: Params) -> Assignment:
        values: Mapping[str, Attr] = {v.parameter: v.values[params[v.name]] for v in self.variables}
        return self.problem.start.updated(**values)

    def _rows(self) -> tuple[int, ...]:
        """The rows of the next trial."""
        rows, size = self.plan.rows, self.plan.minibatch
        return tuple(rows[i] for i in self._rng.sample(range(len(rows)), size)) if 0 < size < len(rows) else rows


def _note(trial: Trial) -> str:
    if trial.kind == START:
        return "trial 1: the program as found"
    chosen = ", ".join(f"{name} {n}" for name, n in trial.params.items())
    return f"trial {trial.number} ({trial.kind}): {chosen}"
