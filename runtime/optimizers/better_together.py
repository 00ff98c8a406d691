"""DSPy's BetterTogether."""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.ir.diag import there_are
from lampc.passes.optimize.jobs import EvaluateJob, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, Problem
from lampc.runtime.evaluation.evaluate import Evaluate
from lampc.runtime.optimizers.base import Teleprompter, examples_of, foreseen, improve, module_of
from lampc.runtime.optimizers.finetune import BootstrapFinetune
from lampc.runtime.optimizers.random_search import BootstrapFewShotWithRandomSearch

if TYPE_CHECKING:
    from lampc.runtime.dryrun import DryRun

logger = logging.getLogger(__name__)


class BetterTogether(Teleprompter):
    """Optimizers in turn, `BetterTogether(metric, p=..., w=...).compile(student, strategy="p -> w -> p", ...)`: each
    starts from what the one before gave, and the best of all stations is the result.

    Any optimizer with a `compile` will do, those of users too. Without any, `p` is `BootstrapFewShotWithRandomSearch`
    and `w` `BootstrapFinetune`. Predictors keep the LMs that `set_lm` gave them; unlike in DSPy the configured LM will
    do as well. A step that fails ends the sequence; the best so far is the result. The program that comes out has
    `candidate_programs`: dicts of `score`, `program` and `strategy`, the best first, and
    `flag_compilation_error_occurred`.
    """

    STRAT_SEP = " -> "

    def __init__(self, metric: Callable[..., Any], **optimizers: Teleprompter) -> None:
        """Raises TypeError for what is no optimizer."""
        for name, one in optimizers.items():
            if not isinstance(one, Teleprompter):
                raise TypeError(f"`{name}` is no optimizer (lampc.Teleprompter), but {type(one).__name__}")
        self.metric = metric
        self.optimizers: dict[str, Teleprompter] = optimizers or _defaults(metric)

    def compile(
        self,
        student: Module,
        *,
        trainset: Sequence[Example],
        teacher: Any = None,
        valset: Sequence[Example] | None = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        provide_traceback: bool | None = None,
        seed: int | None = None,
        valset_ratio: float = 0.1,
        shuffle_trainset_between_steps: bool = True,
        strategy: str = "p -> w -> p",
        optimizer_compile_args: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Module:
        """The best station on `valset`, by default the first `valset_ratio` of the trainset, which no step sees then;
        without one, the last station. `seed` shuffles the trainset before each step; `optimizer_compile_args` are more
        arguments of steps' `compile`, by name. A row that fails scores 0, however many do: `max_errors` is a name of
        DSPy's. Raises ValueError for arguments that do not fit."""
        train, val = _split(examples_of(trainset), valset, valset_ratio)
        steps = self._steps(strategy)
        more = self._compile_args(optimizer_compile_args or {})
        evaluate = Evaluate(
            devset=val, metric=self.metric, num_threads=num_threads, provide_traceback=provide_traceback
        )
        rng = random.Random(seed)
        stations: list[dict[str, Any]] = []
        failed = False

        def arrive(program: Module, way: Sequence[str]) -> None:
            score = evaluate(program).score if val else None
            stations.append({"score": score, "program": program.deepcopy(), "strategy": self.STRAT_SEP.join(way)})

        current = module_of(student).deepcopy()
        arrive(current, ())
        for i, name in enumerate(steps):
            try:
                if shuffle_trainset_between_steps:
                    rng.shuffle(train)
                given = {"trainset": list(train), "teacher": teacher, "valset": val or None, **more.get(name, {})}
                current = self._step(self.optimizers[name], current, given)
                arrive(current, steps[: i + 1])
            except Exception as e:
                failed = True
                logger.error("step %d of %d (`%s`) failed: %s: %s", i + 1, len(steps), name, type(e).__name__, e)
                break
        best = max(stations, key=lambda s: s["score"]) if val else stations[-1]
        made: Module = best["program"]
        ranked = sorted(stations, key=lambda s: s["score"], reverse=True) if val else stations
        made.candidate_programs = ranked  # type: ignore[attr-defined]
        made.flag_compilation_error_occurred = failed  # type: ignore[attr-defined]
        made._compiled = True
        return made

    def dry_run(self, student: Module, *args: Any, **kwargs: Any) -> DryRun:
        """The plans of the steps, each from the student on, and the scoring of every station.

        Raises OptimizeError for a step that runs programs in a way of its own.
        """
        from lampc.runtime.dryrun import in_turn

        given = inspect.signature(self.compile).bind(student, *args, **kwargs)
        given.apply_defaults()
        said = given.arguments
        train, val = _split(examples_of(said["trainset"]), said["valset"], said["valset_ratio"])
        steps, more = self._steps(said["strategy"]), self._compile_args(said["optimizer_compile_args"] or {})
        program = module_of(student)
        shared = {"trainset": train, "teacher": said["teacher"], "valset": val or None}
        plans = []
        score = foreseen(lambda: improve(program, _Station(), trainset=(), valset=val, metric=self.metric))
        if val and score is not None:
            plans = [score] * (len(steps) + 1)
        for name in steps:
            current, optimizer = program.deepcopy(), self.optimizers[name]
            current._compiled = False
            plans.append(optimizer.dry_run(current, **_taken(optimizer, {**shared, **more.get(name, {})})))
        return in_turn(plans)

    def _step(self, optimizer: Teleprompter, current: Module, given: Mapping[str, Any]) -> Module:
        """One optimizer on the last station. LMs that it takes away from predictors are given back."""
        lms = [p.lm for p in current.predictors()]
        current._compiled = False
        made = optimizer.compile(current, **_taken(optimizer, given))
        for predictor, lm in zip(made.predictors(), lms, strict=False):
            predictor.lm = lm if predictor.lm is None else predictor.lm
        return made

    def _steps(self, strategy: str) -> list[str]:
        names = strategy.split(self.STRAT_SEP) if strategy.strip() else []
        wrong = [n for n in names if n not in self.optimizers]
        if wrong or not names:
            raise ValueError(
                f"`strategy` is {strategy!r}: "
                + (f"there is no optimizer {wrong[0]!r}" if wrong else "it names no step")
                + f'; it is names out of {", ".join(self.optimizers)}, as in "p -> w"'
            )
        return names

    def _compile_args(self, given: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        for name, args in given.items():
            if name not in self.optimizers:
                raise ValueError(f"`optimizer_compile_args` are for {name!r}; {there_are(self.optimizers)}")
            takes = list(inspect.signature(self.optimizers[name].compile).parameters)
            wrong = [a for a in args if a == "student" or a not in takes]
            if wrong:
                what = type(self.optimizers[name]).__name__
                raise ValueError(f"{what}.compile is not given `{wrong[0]}` here; it takes {', '.join(takes[1:])}")
        return given


@dataclass(frozen=True)
class _Station:
    """Scoring a program as it is, as a step that can be foreseen."""

    name: ClassVar[str] = "station"

    def begin(self, problem: Problem) -> _Arrived:
        return _Arrived(problem)


class _Arrived:
    def __init__(self, problem: Problem) -> None:
        self.best, self.history = problem.start, list[Candidate]()
        self._due = [EvaluateJob(problem.start, problem.select_split, problem.select_rows())]
        self._rows, self._told = problem.select_size, False

    @property
    def done(self) -> bool:
        return self._told

    def ask(self, n: int) -> list[Job]:
        jobs, self._due = self._due, []
        return [*jobs]

    def tell(self, job: Job, result: Result) -> None:
        self._told = True

    def demand(self) -> Demand:
        rows = 0 if self._told else self._rows
        return Demand(rows, rows)


def _taken(optimizer: Teleprompter, given: Mapping[str, Any]) -> dict[str, Any]:
    """Of the arguments those that its `compile` takes."""
    takes = inspect.signature(optimizer.compile).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    return {k: v for k, v in given.items() if anything or k in takes}


def _split(
    trainset: list[Example], valset: Sequence[Example] | None, ratio: float
) -> tuple[list[Example], list[Example]]:
    """What steps train on, and what stations are compared on."""
    if not trainset:
        raise ValueError("there are no examples in the trainset")
    if not 0 <= ratio < 1:
        raise ValueError(f"`valset_ratio` is {ratio}; it is from 0 to below 1")
    if valset:
        return list(trainset), examples_of(valset)
    held = int(ratio * len(trainset))
    return trainset[held:], trainset[:held]


def _defaults(metric: Callable[..., Any]) -> dict[str, Teleprompter]:
    return {"p": BootstrapFewShotWithRandomSearch(metric=metric), "w": BootstrapFinetune(metric=metric)}
