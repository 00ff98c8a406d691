"""What an optimizer is, and what it is given.

A *strategy* is a frozen dataclass whose fields are its options; `begin(problem)` gives an *optimizer*, which
asks for jobs and is told results. Optimizers never call a model, own no threads and print nothing: their state
is a fold over the results told, so a run that is replayed from its journal ends in the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from lampc.ir import Assignment, Demo, DemoSet, Module, Obj, Signature, freeze
from lampc.ir.modelnames import named_model
from lampc.ir.prog import Call, DefPredictor, Func, Predict
from lampc.passes.lower.continuing import conversing
from lampc.passes.optimize.jobs import Job, Result

_NONE = Obj()


class OptimizeError(ValueError):
    """An optimizer was set up wrongly or cannot go on; the message says why and how to mend it. Wrong arguments are
    ValueErrors in DSPy."""


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled row as optimizers see it."""

    inputs: Mapping[str, Any]
    labels: Mapping[str, Any]

    def demo(self, signature: Signature) -> Demo | None:
        """The row as a demo of a predictor: its fields only. None if no input or no output is among them."""
        values = {**self.inputs, **self.labels}
        given = [f.name for f in signature.inputs if f.name in values]
        made = [f.name for f in signature.outputs if f.name in values]
        if not given or not made:
            return None
        return Demo(freeze({n: values[n] for n in given + made}))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be improved: a program, its starting parameters, and the rows there are.

    `train` are the rows of split `train_split`; of `select_split` only the number of rows is known here. With `whole`
    the predictors that the program does not reach count too. `teacher` is another program of the same predictors that
    is run for traces, on the same rows.
    """

    module: Module
    train: tuple[Example, ...]
    select_size: int
    start: Assignment = Assignment()
    entry: str | None = None
    train_split: str = "train"
    select_split: str = "dev"
    whole: bool = False
    teacher: Problem | None = None

    def predictors(self) -> list[DefPredictor]:
        """Predictors that the program can reach, in order of definition; all of them if it was not traced,
        or if the `whole` module is meant."""
        found = {op.symbol: op for op in self.module.body.ops if isinstance(op, DefPredictor)}
        functions = [op for op in self.module.body.ops if isinstance(op, Func)]
        if self.whole or not functions:
            return list(found.values())
        entry = next((f for f in functions if f.symbol == self.entry), functions[-1])
        reached, todo, used = {entry.symbol}, [entry], set()
        while todo:
            for op in todo.pop().walk():
                if isinstance(op, Predict):
                    used.add(op.predictor.name)
                elif isinstance(op, Call) and op.callee.name not in reached:
                    reached.add(op.callee.name)
                    todo += [f for f in functions if f.symbol == op.callee.name]
        return [op for name, op in found.items() if name in used]

    def tunable(self, parameter: str) -> list[DefPredictor]:
        """Predictors of which `parameter` (`instruction`, `demos`, ...) may be changed. Those whose calls go on from
        each other keep their model: one alone cannot have another."""
        held = conversing(self.module) if parameter == "model" else ()
        return [p for p in self.predictors() if parameter not in p.frozen and p.symbol not in held]

    def select_rows(self) -> tuple[int, ...]:
        return tuple(range(self.select_size))

    def instruction(self, assignment: Assignment, predictor: DefPredictor) -> str:
        """What may be changed of the instruction; frozen texts (`predictor.keep`) are added when prompts are made."""
        text: str = assignment.get(f"{predictor.symbol}.instruction", predictor.signature.instruction)
        return text

    def demos(self, assignment: Assignment, predictor: DefPredictor) -> tuple[Demo, ...]:
        found: DemoSet = assignment.get(f"{predictor.symbol}.demos", predictor.demos)
        return found.items

    def shown_rows(self) -> frozenset[int]:
        """Training rows that stand in every prompt of a predictor, as demos that are frozen."""
        out = set()
        for p in self.predictors():
            if kept := {d.values for d in p.keep.demos.items}:
                demos = [e.demo(p.signature) for e in self.train]
                out |= {i for i, d in enumerate(demos) if d is not None and d.values in kept}
        return frozenset(out)

    def with_demos(self, assignment: Assignment, demos: Mapping[str, Iterable[Demo]]) -> Assignment:
        """`assignment` with the demos of some predictors replaced."""
        return assignment.updated(**{f"{name}.demos": DemoSet(tuple(items)) for name, items in demos.items()})


@dataclass(frozen=True, slots=True)
class Demand:
    """Program runs (cells) and proposer calls that an optimizer will ask for: at least and at most.

    Cells that other steps asked for already are counted again; the driver runs them once.
    """

    least: int = 0
    most: int = 0
    calls: int = 0

    @property
    def exact(self) -> bool:
        return self.least == self.most

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.least + other.least, self.most + other.most, self.calls + other.calls)

    def __str__(self) -> str:
        return str(self.most) if self.exact else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of an optimizer's history: what was tried, by which step, and its score (0 to 100) if measured.

    `rows` are how many rows that score is the mean of (0: not said), `tokens` the mean of a row's; `parents` are places
    in the step's own history of what it was made from. `facts` are what else the step says, plain values
    by name.
    """

    assignment: Assignment
    step: str
    note: str = ""
    score: float | None = None
    rows: int = 0
    tokens: float | None = None
    parents: tuple[int, ...] = ()
    facts: Obj = _NONE


class Optimizer(Protocol):
    """See the module's text. `best` is always usable, also before the end."""

    @property
    def done(self) -> bool: ...

    @property
    def best(self) -> Assignment: ...

    @property
    def history(self) -> Sequence[Candidate]: ...

    def ask(self, n: int) -> list[Job]:
        """Up to `n` jobs that may run together. None while results of jobs asked for earlier are due."""
        ...

    def tell(self, job: Job, result: Result) -> None:
        """The result of a job. Results come in the order in which the jobs were asked for."""
        ...

    def demand(self) -> Demand:
        """What is still to be asked for."""
        ...


class Strategy(Protocol):
    """Options of an optimizer; `name` is what source files call it."""

    name: ClassVar[str]

    def begin(self, problem: Problem) -> Optimizer:
        """Start. Raises OptimizeError if the problem does not suit."""
        ...


@runtime_checkable
class Trades(Protocol):
    """What a strategy may be besides: one that wants more than a high score. Its result is then chosen by that."""

    def worth(self, score: float, tokens: float) -> float:
        """What a candidate is worth, of score 0 to 100 and so many tokens a row on average; more is better."""
        ...


@dataclass(slots=True)
class Settled:
    """An optimizer that needs no job: what it gives follows from the problem."""

    best: Assignment
    history: list[Candidate] = field(default_factory=list)
    done: bool = True

    def ask(self, n: int) -> list[Job]:
        return []

    def tell(self, job: Job, result: Result) -> None:
        raise OptimizeError("no job was asked for")

    def demand(self) -> Demand:
        return Demand()


def check_count(strategy: str, **counts: int) -> None:
    """Raises OptimizeError naming the first count that is negative."""
    for name, value in counts.items():
        if value < 0:
            raise OptimizeError(f"{strategy}: `{name}` is {value}; it cannot be negative")


def check_model(strategy: str, option: str, name: str, module: Module) -> None:
    """Raises OptimizeError if the program defines no model of that name, and no object has it."""
    if name not in ("", "main") and module.lookup(name) is None and named_model(name) is None:
        raise OptimizeError(f"{strategy}: the program defines no model `{name}` for `{option}`")
