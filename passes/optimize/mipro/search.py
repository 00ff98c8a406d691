"""The trials of MIPROv2: combinations of instructions and demo sets, sampled by TPE, scored on minibatches, the best by
their mean scored in full now and then.

One after another this is the loop of DSPy's MIPROv2, draw for draw. With `together` above 1, so many trials are sampled
before any of them is told, and run together; a full evaluation runs with the trials after it.
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
from lampc.passes.optimize.tpe import Params, TreeSearch

START, MINIBATCH, FULL = "start", "minibatch", "full"


@dataclass(frozen=True, slots=True)
class Variable:
    """What a trial chooses: a parameter of a predictor, out of `values`, the first of which is where the search begins.
    `name` is DSPy's (`0_predictor_instruction`)."""

    name: str
    parameter: str
    values: tuple[Attr, ...]


@dataclass(slots=True)
class Trial:
    """`study` is optuna's number of a trial that was sampled, None for a full evaluation."""

    number: int
    kind: str
    params: Params
    assignment: Assignment
    rows: tuple[int, ...]
    study: int | None = None
    score: float | None = None


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
        self._rng, self._together = rng, together
        self._study = TreeSearch(name, {v.name: len(v.values) for v in variables}, seed, together)
        self.best, self.best_score = problem.start, float("-inf")
        self.history: list[Candidate] = []
        self.trials: list[Trial] = []
        self._tried: dict[tuple[int, ...], _Tried] = {}
        self._sampled = 0
        self._group = [Trial(1, START, dict.fromkeys((v.name for v in variables), 0), problem.start, plan.rows)]
        self._asked, self._told = 0, 0

    @property
    def done(self) -> bool:
        return not self._group

    def ask(self, n: int) -> list[Job]:
        first, self._asked = self._asked, min(len(self._group), self._asked + n)
        split = self.problem.select_split
        return [EvaluateJob(t.assignment, split, t.rows) for t in self._group[first : self._asked]]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.name} asked for scores, not for {type(job).__name__}")
        trial = self._group[self._told]
        self._told += 1
        trial.score = round(result.mean, 2)  # as DSPy's evaluation gives it
        self._take(trial, trial.score, result)
        if self._told == len(self._group):
            self._group, self._asked, self._told = self._next_group(), 0, 0

    def demand(self) -> Demand:
        open_ = sum(len(t.rows) for t in self._group[self._told :])
        left = self.plan.trials - self._sampled
        begun = sum(t.kind == FULL and t.study is None for t in (*self.trials, *self._group[self._told :]))
        fulls = self.plan.full_evaluations - begun
        cells = open_ + left * (self.plan.minibatch or len(self.plan.rows)) + fulls * len(self.plan.rows)
        return Demand(cells, cells)

    # -- the fold -----------------------------------------------------------------------------------

    def _take(self, trial: Trial, score: float, result: EvaluateResult) -> None:
        self.trials.append(trial)
        sampled = trial.study is not None
        facts = Obj({"trial": trial.number, "kind": trial.kind, "sampled": sampled, "params": Obj(trial.params)})
        tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None
        self.history.append(
            Candidate(trial.assignment, self.name, _note(trial), score, len(trial.rows), tokens, facts=facts)
        )
        if trial.study is not None:
            self._study.tell(trial.study, score)
        else:
            self._study.add(trial.params, score)
        if trial.kind == MINIBATCH:
            spot = tuple(trial.params.values())
            self._tried.setdefault(spot, _Tried(trial.params, trial.assignment)).scores.append(score)
        elif score > self.best_score:
            self.best, self.best_score = trial.assignment, score

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
        return Trial(number, FULL, top.params, top.assignment, self.plan.rows)

    def _sample(self, number: int) -> Trial:
        self._sampled += 1
        study, params = self._study.ask()
        values: Mapping[str, Attr] = {v.parameter: v.values[params[v.name]] for v in self.variables}
        rows, size = self.plan.rows, self.plan.minibatch
        if size and size < len(rows):
            rows = tuple(rows[i] for i in self._rng.sample(range(len(rows)), size))
        kind = MINIBATCH if size else FULL
        return Trial(number, kind, params, self.problem.start.updated(**values), rows, study)


def _note(trial: Trial) -> str:
    if trial.kind == START:
        return "trial 1: the program as found"
    chosen = ", ".join(f"{name} {n}" for name, n in trial.params.items())
    return f"trial {trial.number} ({trial.kind}): {chosen}"
