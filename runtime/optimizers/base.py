"""What DSPy's optimizers have in common: `compile(student, trainset=...)` gives a better student.

`improve` runs a strategy on a module, `module_with` makes the module of a candidate. A module that cannot be traced
runs as plain Python, rows side by side; everything else is the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module, predictor_symbols
from lampc.ir import Assignment, Demo, DemoSet, digest, freeze, thaw
from lampc.ir.settings import settings
from lampc.runtime.budget import UNLIMITED, Budget
from lampc.runtime.configure import SESSION_OPTIONS, context, session_of
from lampc.runtime.evaluation.rows import called_on, kept_rows, row_metric
from lampc.runtime.halting import awaited
from lampc.runtime.host_sources import module_identity
from lampc.runtime.objects import asked_whole, fields_as_objects
from lampc.runtime.optimizers.parameters import changed

if TYPE_CHECKING:
    from lampc.ir import Unit
    from lampc.passes.optimize import Strategy
    from lampc.runtime.dryrun import DryRun
    from lampc.runtime.optimized import OptimizeResult
    from lampc.runtime.perform import Program
    from lampc.runtime.types import Row


class Teleprompter:
    """Base of optimizers, those of users too."""

    def compile(self, student: Module, *args: Any, **kwargs: Any) -> Module:
        """An optimized copy of `student`; DSPy's names are `trainset=`, `teacher=` and `valset=`."""
        raise NotImplementedError(f"{type(self).__name__} has no `compile`")

    async def acompile(self, student: Module, *args: Any, **kwargs: Any) -> Module:
        """`compile`, awaited: the event loop goes on, and several at a time share batches. When the task is cancelled
        the run ends after what is under way; with a `log_dir` the same call goes on from there."""
        return await awaited(self.compile, student, *args, **kwargs)

    def dry_run(self, student: Module, *args: Any, **kwargs: Any) -> DryRun:
        """What `compile` with these arguments would ask for, before anything is asked of a model.

        Raises OptimizeError for an optimizer that asks for nothing, or runs programs in a way of its own.
        """
        from lampc.passes.optimize import OptimizeError

        plan = foreseen(lambda: self.compile(student, *args, **kwargs))
        if plan is None:
            raise OptimizeError(f"{type(self).__name__} runs nothing that could be foreseen")
        return plan

    def get_params(self) -> dict[str, Any]:
        """What it was made with, by name."""
        return dict(vars(self))


_planning: ContextVar[bool] = ContextVar("lampc_planning", default=False)


def planning() -> bool:
    """Whether a `compile` under way only plans: then nothing of the user's that costs is asked."""
    return _planning.get()


class _Planned(BaseException):
    """Ends a `compile` that only plans."""

    def __init__(self, plan: DryRun) -> None:
        self.plan = plan


def foreseen(work: Callable[[], object]) -> DryRun | None:
    """What the first `improve` of some work would ask for, where that work then ends; None if it comes to none."""
    token = _planning.set(True)
    try:
        work()
    except _Planned as e:
        return e.plan
    finally:
        _planning.reset(token)
    return None


@dataclass(slots=True)
class Found:
    """What `improve` found: the better module, and how it was found. `student` is what candidates are made of."""

    module: Module
    result: OptimizeResult
    student: Module = field(repr=False)
    rows: list[Row] = field(default_factory=list, repr=False)
    examples: list[Example] = field(default_factory=list, repr=False)

    def program(self, assignment: Assignment) -> Module:
        """The module of a candidate, compiled."""
        made = module_with(self.student, assignment, self.rows, self.examples)
        made._compiled = True
        return made

    def subscores(self, assignment: Assignment) -> list[float]:
        """A candidate's score on each row, as it was last scored; empty if it was not, or cut short."""
        table = self.result.table
        own = "" if table is None else table.candidate(assignment)
        scored = [t.scores for t in self.result.trials if t.kind == "evaluate" and t.candidate == own and t.scores]
        return list(scored[-1]) if scored else []


def improve(
    student: Module,
    strategy: Strategy | Sequence[Strategy],
    *,
    trainset: Sequence[Any],
    valset: Sequence[Any] | None = None,
    metric: Callable[..., Any] | None = None,
    teacher: Module | None = None,
    teacher_settings: Mapping[str, Any] | None = None,
    embedders: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    num_threads: int | None = None,
    max_errors: int | None = None,
    log_dir: str | Path | None = None,
    verbose: bool = False,
) -> Found:
    """Run a strategy on a module, in the session of the configured model. The student itself is not changed.

    `student` is taken with the demos, instructions and models that it has: whoever wants it without hands over a
    `reset_copy()`. Without a `valset` the strategy has no rows to select on. Without a metric every run succeeds, and
    there is nothing to select by. Jobs that ask for a teacher run `teacher`, or the student under `teacher_settings`;
    without either, the student.
    `num_threads` bounds how many calls of a model that is Python code and waits are made at once: everything else runs
    in batches. A row that fails is a scored failure; only where `max_errors` is given do so many of them end the run.
    Without a `budget` that of the settings holds (`lampc.context(budget={"tokens": 2e6})`).
    With `log_dir` everything that is finished stands there: the same call goes on from it. How far it is, with the best
    score so far, tokens and the time left, is told on stderr if that is a terminal, or with `verbose`; the setting
    `progress` (true or false) decides where it is set.

    Raises OptimizeError, MetricError, NoSession, CompileError; TypeError without a metric that is needed.
    """
    from lampc.passes.optimize import OptimizeError

    if metric is None and valset:
        raise TypeError(f"no metric is given, and `{_named(strategy)}` chooses by score: give metric=")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}; at least 1")
    steps = tuple(strategy) if isinstance(strategy, Sequence) else (strategy,)
    if wrong := [k for k in teacher_settings or {} if k in SESSION_OPTIONS]:
        raise OptimizeError(f"`{wrong[0]}` is an option of the session: a teacher has settings, as `lm`, `adapter`")
    student, train, val = student.deepcopy(), examples_of(trainset), examples_of(valset or ())
    with _settings(num_threads, log_dir):
        own, rows = _program(student, [*train, *val], metric)
        select = _known_as(rows[: len(train)], rows[len(train) :])
        taught = _teacher(own, student, teacher, dict(teacher_settings or {}), train, metric)
        result = _drive(
            own, steps, rows[: len(train)], select, taught, embedders, _budget(budget), max_errors, log_dir, verbose
        )  # fmt: skip
    found = Found(student, result, student, rows[: len(train)], train)
    found.module = found.program(result.assignment)
    return found


def _named(strategy: Strategy | Sequence[Strategy]) -> str:
    steps = strategy if isinstance(strategy, Sequence) else [strategy]
    return ", ".join(s.name for s in steps)


def _drive(
    student: Program,
    steps: tuple[Strategy, ...],
    train: list[Row],
    select: list[Row],
    teacher: Program | None,
    embedders: Mapping[str, Any] | None,
    budget: Budget,
    max_errors: int | None,
    log_dir: str | Path | None,
    verbose: bool,
) -> OptimizeResult:
    from lampc.runtime.driver import optimize, problem_of
    from lampc.runtime.dryrun import dry_run
    from lampc.runtime.progress import watching

    entry = student.entry
    if _planning.get():
        problem = problem_of(student.unit, train, select, entry, whole=True, teacher=teacher)
        splits = {"train": train, "dev": select}
        raise _Planned(dry_run(problem, steps, as_asked=True, student=student, teacher=teacher, splits=splits))
    with watching(student.session.bus, verbose):
        return optimize(
            student.unit, student.session, steps=steps, train=train, select=select, metric=student.metric,
            program=entry, budget=budget, record=Path(log_dir) / "run.json" if log_dir else None, whole=True,
            teacher=teacher, embedders=embedders, as_asked=True, max_errors=max_errors or 0,
        )  # fmt: skip


def _budget(given: Budget | None) -> Budget:
    """The budget, else that of the settings: a `Budget`, or limits by name. Raises OptimizeError for another name."""
    from lampc.passes.optimize import OptimizeError

    said = given if given is not None else settings.get("budget")
    if said is None or isinstance(said, Budget):
        return said or UNLIMITED
    try:
        return Budget.of(dict(said).items())
    except (TypeError, ValueError) as e:
        raise OptimizeError(f"the setting `budget` bounds a compilation, {{'tokens': 2e6}}: {e}") from None


@contextlib.contextmanager
def _settings(num_threads: int | None, log_dir: str | Path | None) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if num_threads:
            stack.enter_context(settings.context(num_threads=num_threads))
        if log_dir and not _planning.get():
            from lampc.runtime.store import Store

            store = stack.enter_context(Store(Path(log_dir) / "journal.store"))
            stack.enter_context(context(store=store))
        yield


def _program(
    module: Module, examples: Sequence[Example], metric: Callable[..., Any] | None
) -> tuple[Program, list[Row]]:
    """A module as jobs run it, with the examples as its rows."""
    from lampc.runtime.perform import Program

    unit, called = called_on(module, examples)
    unit = replace(asked_whole(unit, module), surroundings=module_identity(module))
    rows = kept_rows(called, examples)
    held = dict(predictor_symbols(module))
    names = dict(zip(held, (name for name, _ in module.named_predictors()), strict=True))
    score = row_metric(metric or _any, unit, held, names)
    return Program(unit, session_of("compile"), score, unit.entry), rows


def _known_as(train: Sequence[Row], select: Sequence[Row]) -> list[Row]:
    """Rows to select on; those that are training rows as well are the same rows, so what ran on them ran. Metrics see
    the examples that were given, of equal ones each its own."""
    known: dict[str, Row] = {}
    for row in train:
        known.setdefault(digest(freeze([row.inputs, row.labels])), row)
    same = [known.get(digest(freeze([row.inputs, row.labels])), row) for row in select]
    return [k if k.example is row.example else replace(row, id=k.id) for k, row in zip(same, select, strict=True)]


def _any(example: Example, prediction: Any, trace: Any = None) -> float:
    return 1.0


def _teacher(
    own: Program,
    student: Module,
    teacher: Module | None,
    given: dict[str, Any],
    examples: Sequence[Example],
    metric: Callable[..., Any] | None,
) -> Program | None:
    """The teacher as jobs run it; None if it is the student. Raises OptimizeError for one of other predictors."""
    asked = (student if teacher is None else module_of(teacher)).deepcopy()
    check_alike(student, asked)
    with context(**given):
        made, _ = _program(asked, examples, metric)
    if not given and (teacher is None or _equal(own.unit, made.unit)):
        return None
    return replace(made, within=lambda: context(**given))


def _equal(one: Unit, other: Unit) -> bool:
    """Whether two units are one program; of plain Python nobody knows."""
    return one.dynamic is None and other.dynamic is None and one.module.digest() == other.module.digest()


def module_with(
    student: Module, assignment: Assignment, rows: Sequence[Row] = (), examples: Sequence[Example] = ()
) -> Module:
    """A copy of a module with the parameters of a candidate.

    Demos that are one of `rows` are those `examples` themselves. Raises OptimizeError for a parameter that a module
    does not hold.
    """
    made = student.deepcopy()
    for parameter, value in assignment.values.items():
        changed(made, parameter, value, lambda found, predictor: demos_of(found, predictor, rows, examples))
    return made


def demos_of(found: DemoSet, predictor: Any, rows: Sequence[Row], examples: Sequence[Example]) -> list[Example]:
    """Demos as a predictor holds them: those that nobody ran are the examples themselves."""
    from lampc.passes.optimize import Example as Labelled

    signature = predictor.ir_signature()
    own: dict[Demo | None, Example] = {}
    for row, example in zip(rows, examples, strict=True):
        own.setdefault(Labelled(row.inputs, row.labels).demo(signature), example)
    fields = (*signature.inputs, *signature.outputs)
    return [
        own.get(d) or Example(fields_as_objects(thaw(d.values), fields), **({"augmented": True} if d.augmented else {}))
        for d in found.items
    ]


def module_of(program: Any) -> Module:
    """Raises TypeError for what is no module."""
    if not isinstance(program, Module):
        raise TypeError("compile takes a lampc.Module; for a @lampc.program use `lampc optimize`")
    return program


def examples_of(rows: Sequence[Any]) -> list[Example]:
    return [e if isinstance(e, Example) else Example(e) for e in rows]


def check_alike(student: Module, teacher: Module) -> None:
    """Raises OptimizeError if their predictors differ in names or fields."""
    from lampc.passes.optimize import OptimizeError

    def parts(module: Module) -> dict[str, Any]:
        signatures = {n: p.ir_signature() for n, p in predictor_symbols(module)}
        return {n: [(f.name, f.type) for f in (*s.inputs, *s.outputs)] for n, s in signatures.items()}

    ours, theirs = parts(student), parts(teacher)
    wrong = [n for n in {**ours, **theirs} if ours.get(n) != theirs.get(n)]
    if wrong:
        raise OptimizeError(
            f"bootstrap: student and teacher need the same predictors, and `{wrong[0]}` of them is "
            f"{'not in both' if wrong[0] not in ours or wrong[0] not in theirs else 'one of other fields'}"
        )


__all__ = [
    "Found", "Teleprompter", "check_alike", "demos_of", "examples_of", "foreseen", "improve", "module_of",
    "module_with", "planning",
]  # fmt: skip
