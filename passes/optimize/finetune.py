"""BootstrapFinetune: the models' weights learn from the program's own successful runs, as adapters.

Every training row is run once, by the teacher if there is one; calls of runs that the metric likes become what a Train
job is given. What it answers with is a model of another name, which the predictors then ask. As DSPy does it: with
`multitask` the calls of all predictors train each model that is asked, without it each predictor gets an adapter of its
own calls alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lampc.ir import Assignment, DemoSet, freeze
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.jobs import TEACHER, Job, Result, RunJob, RunResult, TracedCall, TrainJob, TrainResult
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BootstrapFinetune:
    """Options as in DSPy.

    A run is trained on if the metric's score is not 0. `train_kwargs` are the trainer's options by name (see
    `lampc.backend.training.TrainingSettings`), or such options by the names of models. With `exclude_demos` what is
    trained, and the program afterwards, shows no demos. `layout`, if given, is the one that is trained and then used.
    """

    name: ClassVar[str] = "finetune"
    multitask: bool = True
    train_kwargs: Any = field(default_factory=dict)
    layout: str = ""
    exclude_demos: bool = False

    def begin(self, problem: Problem) -> Finetune:
        if not isinstance(self.train_kwargs, Mapping):
            raise OptimizeError(f"{self.name}: `train_kwargs` are options by name, not {self.train_kwargs!r}")
        if not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows to run")
        if not problem.tunable("model"):
            raise OptimizeError(
                f"{self.name}: no predictor's model may be changed; leave `model` out of what is frozen"
            )
        return Finetune(self, problem)


class Finetune:
    """A bootstrap and its trainings under way."""

    def __init__(self, options: BootstrapFinetune, problem: Problem) -> None:
        self.options, self.problem = options, problem
        self.best = problem.start
        self.history: list[Candidate] = []
        self.done = False
        self.calls: list[TracedCall] = []
        self._runs_asked = self._runs_told = self._succeeded = 0
        self._error = ""
        self._jobs: list[TrainJob] = []
        self._users: list[list[str]] = []  # of each training the predictors that will ask its model
        self._trained: list[str] = []
        self._asked = 0

    def ask(self, n: int) -> list[Job]:
        rows = len(self.problem.train)
        if self._runs_told < rows:
            first, self._runs_asked = self._runs_asked, min(rows, self._runs_asked + n)
            return [self._run(row) for row in range(first, self._runs_asked)]
        first, self._asked = self._asked, min(len(self._jobs), self._asked + n)
        return list(self._jobs[first : self._asked])

    def tell(self, job: Job, result: Result) -> None:
        match job, result:
            case RunJob(), RunResult():
                self._runs_told += 1
                self._use(result)
                if self._runs_told == len(self.problem.train):
                    self._plan()
            case TrainJob(), TrainResult():
                if result.error is not None:
                    raise OptimizeError(f"{self.options.name}: {result.error}")
                self._trained.append(result.model)
                if len(self._trained) == len(self._jobs):
                    self._finish()
            case _:
                raise OptimizeError(f"{self.options.name} asked for runs and trainings, not for {type(job).__name__}")

    def demand(self) -> Demand:
        """The runs; trainings take no call of the program."""
        left = len(self.problem.train) - self._runs_told
        return Demand(left, left)

    def _run(self, row: int) -> RunJob:
        teacher = self.problem.teacher
        split = self.problem.train_split
        if teacher is None:
            return RunJob(self.problem.start, split, row)
        return RunJob(teacher.start, split, row, program=TEACHER)

    def _use(self, result: RunResult) -> None:
        if result.error is not None:
            logger.warning("%s: a run failed: %s", self.options.name, result.error)
            self._error = self._error or result.error
        elif result.score:
            self._succeeded += 1
            self.calls += [c for c in result.trace if not c.error]

    def _plan(self) -> None:
        """One training for each model; without `multitask` for each model and predictor."""
        kept = self._shown()
        groups: dict[tuple[str, str], list[str]] = {}
        for p in self.problem.tunable("model"):
            model = self._model(p)
            groups.setdefault((model, "" if self.options.multitask else p.symbol), []).append(p.symbol)
        for (model, own), users in groups.items():
            calls = tuple(c for c in self.calls if own in ("", c.predictor))
            if calls:
                self._jobs.append(TrainJob(kept, model, calls, freeze(self._options_for(model))))
                self._users.append(users)
        if not self._jobs:
            first = f"; the first failed with: {self._error}" if self._error else ""
            raise OptimizeError(
                f"{self.options.name}: none of {len(self.problem.train)} runs succeeded, so there is nothing to train "
                f"on{first}; use a teacher, or a metric that is met sometimes"
            )

    def _shown(self) -> Assignment:
        """The program as it is trained and then used, but for its models."""
        changes: dict[str, Any] = {}
        if self.options.exclude_demos:
            changes |= {f"{p.symbol}.demos": DemoSet() for p in self.problem.tunable("demos")}
        if self.options.layout:
            changes |= {f"{p.symbol}.layout": self.options.layout for p in self.problem.tunable("layout")}
        return self.problem.start.updated(**changes)

    def _model(self, predictor: DefPredictor) -> str:
        name: str = self.problem.start.get(f"{predictor.symbol}.model", predictor.model.name)
        return name

    def _options_for(self, model: str) -> Mapping[str, Any]:
        given: Mapping[str, Any] = self.options.train_kwargs
        if given and all(isinstance(v, Mapping) for v in given.values()):
            own: Mapping[str, Any] = given.get(model, {})
            return own
        return given

    def _finish(self) -> None:
        pairs = zip(self._users, self._trained, strict=True)
        self.best = self._shown().updated(**{f"{p}.model": model for users, model in pairs for p in users})
        note = f"{len(self.calls)} calls of {self._succeeded} runs, {len(self._jobs)} adapters"
        self.history.append(Candidate(self.best, self.options.name, note))
        self.done = True
