"""`KNNFewShot`: demos that each call bootstraps from the examples nearest to it."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module, predictor_symbols
from lampc.frontend.python.modules.best_of_n import attempt_sampling
from lampc.frontend.python.modules.knn import KNN
from lampc.frontend.python.tracing import outputs
from lampc.ir import freeze
from lampc.ir.modelnames import model_name
from lampc.ir.runner import aside, gather, once
from lampc.ir.settings import settings
from lampc.runtime.configure import context
from lampc.runtime.evaluation.rows import called_on, kept_rows, row_metric
from lampc.runtime.hosts import described, plain
from lampc.runtime.metrics import MetricError
from lampc.runtime.optimizers.base import Teleprompter, check_alike, demos_of, examples_of, module_of
from lampc.runtime.optimizers.bootstrap import BootstrapFewShot
from lampc.runtime.types import Returned, Row, TraceStep

if TYPE_CHECKING:
    from lampc.ir import Assignment
    from lampc.passes.optimize import Problem, RunJob, RunResult

KEPT = 4096
"""Most neighbourhoods whose demos are remembered."""


class KNNFewShot(Teleprompter):
    """`KNNFewShot(k, trainset, vectorizer, **bootstrap).compile(student)`: a program that shows what is near.

    For each call the `k` nearest examples (by `vectorizer`, such as `lampc.Embedder(...)`) are bootstrapped as
    `BootstrapFewShot(**bootstrap)` does it, then the student runs with the demos that this gave. The runs of a
    bootstrap go out together with those of all other calls under way. Calls with the same nearest examples share their
    demos: those are bootstrapped once, and remembered as long as the compiled program lives (4096 neighbourhoods).
    """

    def __init__(
        self,
        k: int,
        trainset: Sequence[Example],
        vectorizer: Callable[[list[str]], Any],
        **few_shot_bootstrap_args: Any,
    ) -> None:
        BootstrapFewShot(**few_shot_bootstrap_args)  # what it does not take is an error now, not at the first call
        self.KNN = KNN(k, examples_of(trainset), vectorizer=vectorizer)
        self.few_shot_bootstrap_args = few_shot_bootstrap_args

    def compile(self, student: Module, *, teacher: Module | None = None) -> Module:
        """A copy of `student` that bootstraps as it is called. Raises OptimizeError for a teacher of other
        predictors."""
        made = module_of(student).reset_copy()
        near = _Neighbours(self.KNN, BootstrapFewShot(**self.few_shot_bootstrap_args), student, teacher)

        def forward(self: Module, **kwargs: Any) -> Any:
            return near.program(kwargs)(**kwargs)

        made.forward = types.MethodType(forward, made)  # type: ignore[method-assign]
        return made


class _Neighbours:
    """Programs by the examples whose demos they show."""

    def __init__(self, knn: KNN, options: BootstrapFewShot, student: Module, teacher: Module | None) -> None:
        self.knn, self.options = knn, options
        self.student = student.reset_copy()
        self.teacher = (student if teacher is None else module_of(teacher)).deepcopy()
        check_alike(self.student, self.teacher)
        self._known: dict[Any, Future[Module]] = {}
        self._unit, called = called_on(self.teacher, knn.trainset)
        self._rows = kept_rows(called, knn.trainset)
        self._inputs = [row.inputs for row in called]

    def program(self, inputs: Mapping[str, Any]) -> Module:
        """The student with the demos for these inputs."""
        nearest = tuple(aside(lambda: self.knn.nearest(**inputs)))
        key = (nearest, model_name(settings.get("lm")))
        while len(self._known) >= KEPT and key not in self._known:
            del self._known[next(iter(self._known))]
        made: Module = once(self._known, key, lambda: self._bootstrap(nearest))
        return made

    def _bootstrap(self, nearest: Sequence[int]) -> Module:
        strategy = self.options.strategy(self.teacher)
        optimizer = strategy.begin(self._problem(nearest))
        while not optimizer.done:
            jobs = optimizer.ask(len(nearest) * strategy.max_rounds)
            results = gather([lambda j=j: self._run(j, nearest) for j in jobs], _none)  # type: ignore[misc]
            for job, result in zip(jobs, results, strict=True):
                if isinstance(result, Exception):
                    raise result
                optimizer.tell(job, result)
        made = self.student.deepcopy()
        rows, examples = [self._rows[i] for i in nearest], [self.knn.trainset[i] for i in nearest]
        for symbol, predictor in predictor_symbols(made):
            found = optimizer.best.get(f"{symbol}.demos")
            if found is not None:  # of a frozen predictor there are none
                predictor.demos = demos_of(found, predictor, rows, examples)
        made._compiled = True
        return made

    def _problem(self, nearest: Sequence[int]) -> Problem:
        from lampc.passes.optimize import Example as Labelled
        from lampc.passes.optimize import Problem

        train = tuple(Labelled(self._rows[i].inputs, self._rows[i].labels) for i in nearest)
        return Problem(self._unit.module, train, 0, whole=True)

    def _run(self, job: RunJob, nearest: Sequence[int]) -> RunResult:
        """A run of the teacher here, inside of the call that wants its demos. An error of it is a failed run."""
        from lampc.passes.optimize import RunResult, TracedCall

        at = nearest[job.row]
        teacher = _shows(self.teacher.deepcopy(), job.assignment)
        names = {id(p): n for n, p in predictor_symbols(teacher)}
        steps: list[Any] = []
        warm = {"sampling": attempt_sampling(job.rollout)} if job.rollout else {}
        try:
            with context(**self.options.teacher_settings), settings.context(trace=steps, **warm):
                prediction = teacher(**self._inputs[at])
            trace = [TraceStep(names[id(p)], plain(i), plain(dict(o))) for p, i, o in steps if id(p) in names]
            score = self._score(teacher, self._rows[at], Returned(described(outputs(prediction)), prediction), trace)
        except Exception as e:
            return RunResult(0.0, error=f"{type(e).__name__}: {e}")
        return RunResult(score, tuple(TracedCall(s.predictor, freeze(s.inputs), freeze(s.outputs)) for s in trace))

    def _score(self, teacher: Module, row: Row, made: dict[str, Any], trace: list[TraceStep]) -> float:
        if self.options.metric is None:
            return 1.0
        metric = row_metric(self.options.metric, self._unit, dict(predictor_symbols(teacher)))
        try:
            return metric(row, made, trace)
        except MetricError as e:
            raise e.__cause__ if isinstance(e.__cause__, Exception) else e from None


def _none(_: list[Any]) -> None:
    """None of the runs of a bootstrap is part of the call's trace."""
    return None


def _shows(teacher: Module, assignment: Assignment) -> Module:
    """A teacher with the demos of a candidate."""
    from lampc.ir import thaw

    for symbol, predictor in predictor_symbols(teacher):
        found = assignment.get(f"{symbol}.demos")
        predictor.demos = [Example(thaw(d.values)) for d in found.items] if found is not None else predictor.demos
    return teacher
