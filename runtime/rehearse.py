"""An optimization on paper: the strategies' own jobs, answered with results that nobody computed.

What an algorithm asks for may hang on scores, so it is rehearsed in several moods: every run fails, every run succeeds,
and runs succeed by chance. What is asked for in all of them alike is fixed. Proposers give what they are asked for.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lampc.ir import Assignment, Module, Obj, Signature, digest, freeze
from lampc.ir.adapters import bind_predictors
from lampc.ir.types import STR
from lampc.passes.optimize import (
    CallJob,
    CallResult,
    Compose,
    Demand,
    EmbedJob,
    EmbedResult,
    EvaluateJob,
    EvaluateResult,
    FeedbackJob,
    FeedbackResult,
    Job,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
    Strategy,
    TracedCall,
    TrainJob,
    TrainResult,
)
from lampc.runtime.guesses import guess

FAIL, SUCCEED = "fail", "succeed"
CHANCE = ("chance 1", "chance 2")
MOODS: tuple[str, ...] = (FAIL, SUCCEED, *CHANCE)
_ASK = 4096
_VECTOR = 8
_TRAINED = " trained on "
"""Stands in the names of models that a training on paper gave."""


@dataclass(frozen=True, slots=True)
class PaperCell:
    """A run that was asked for: which program under which parameters (their identity), on which row, drawn how."""

    program: str
    candidate: str
    row: Any
    rollout: int = 0
    temperature: float | None = None


@dataclass(slots=True)
class Rehearsal:
    """What was asked for, in all and step by step (`start` first). `wanted` are runs as often as they were asked for,
    `cells` the distinct ones; `own` and `calls` are the runs and proposals that each step itself asked for, `demands`
    what it said, as it began, that it would."""

    wanted: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    distinct: list[int] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    cells: dict[PaperCell, Assignment] = field(default_factory=dict)
    proposals: list[CallJob] = field(default_factory=list)
    texts: int = 0
    trainings: int = 0


def rehearse(
    problem: Problem,
    steps: Sequence[Strategy],
    mood: str,
    as_asked: bool = False,
    row_of: Callable[[str, int], Any] = lambda split, i: (split, i),
) -> Rehearsal:
    """Run `steps` on paper. `row_of` says what rows are equal by. Raises OptimizeError if a step cannot begin or go on
    with what this mood gives."""
    with _quiet():
        return _rehearsed(problem, steps, mood, as_asked, row_of)


def _rehearsed(
    problem: Problem, steps: Sequence[Strategy], mood: str, as_asked: bool, row_of: Callable[[str, int], Any]
) -> Rehearsal:
    out, answers = Rehearsal(), _Answers(problem, mood)
    book = _Book(problem, out, row_of)
    scored = () if as_asked else problem.select_rows()
    if scored:
        book.want(EvaluateJob(problem.start, problem.select_split, scored))
    book.close()
    optimizer = Compose(tuple(steps), gated=not as_asked).begin(problem)
    said = -1
    while True:
        while len(out.wanted) <= len(optimizer.ends):  # the step's result is scored too
            if scored:
                book.want(EvaluateJob(optimizer.ends[len(out.wanted) - 1][1], problem.select_split, scored))
            if len(out.demands) < len(out.wanted):
                out.demands.append(Demand())  # of a step that needed nothing
            book.close()
        if len(out.wanted) > len(steps):
            return out
        own = not optimizer.comparing
        if own and said < len(optimizer.ends):
            said = len(optimizer.ends)
            out.demands.append(optimizer.step_demand())
        jobs = optimizer.ask(_ASK)
        if not jobs:
            raise OptimizeError("an optimizer asks for nothing and is not done: a bug of the optimizer")
        for job in jobs:
            book.want(job, own)
        for job in jobs:
            optimizer.tell(job, answers.to(job))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optimizers warn of failures; these are none."""
    names = [n for n in logging.root.manager.loggerDict if n.startswith("lampc.passes.optimize")]
    loggers = [found for n in names if not (found := logging.getLogger(n)).disabled]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in loggers:
            logger.disabled = False


class _Book:
    """Writes down what is asked for, step by step."""

    def __init__(self, problem: Problem, out: Rehearsal, row_of: Callable[[str, int], Any]) -> None:
        self.problem, self.out, self.row_of = problem, out, row_of
        self._names: dict[tuple[str, Assignment], str] = {}
        self._wanted = self._own = self._calls = self._known = 0

    def want(self, job: Job, own: bool = False) -> None:
        out, runs = self.out, 0
        match job:
            case EvaluateJob(assignment, split, rows):
                name, runs = self._candidate("", assignment), len(rows)
                for i in rows:
                    out.cells.setdefault(PaperCell("", name, self.row_of(split, i)), assignment)
            case RunJob(assignment, split, row, rollout, temperature, program):
                name, runs = self._candidate(program, assignment), 1
                cell = PaperCell(program, name, self.row_of(split, row), rollout, temperature)
                out.cells.setdefault(cell, assignment)
            case FeedbackJob(run):
                self.want(run, own)
            case CallJob():
                out.proposals.append(job)
                self._calls += 1
            case EmbedJob(texts):
                out.texts += len(texts)
            case TrainJob():
                out.trainings += 1
        self._wanted += runs
        self._own += runs if own else 0

    def close(self) -> None:
        """A step is over."""
        out = self.out
        out.wanted.append(self._wanted)
        out.own.append(self._own)
        out.calls.append(self._calls)
        out.distinct.append(len(out.cells) - self._known)
        self._wanted = self._own = self._calls = 0
        self._known = len(out.cells)

    def _candidate(self, program: str, assignment: Assignment) -> str:
        if (program, assignment) not in self._names:
            module = (self.problem.teacher or self.problem).module if program else self.problem.module
            self._names[program, assignment] = identity(module, assignment)
        return self._names[program, assignment]


def identity(module: Module, assignment: Assignment) -> str:
    """What candidates are equal by: the parameters in force."""
    bound = bind_predictors(module, assignment)
    others = {k: v for k, v in assignment.values.items() if k.rpartition(".")[0] not in bound}
    own = tuple((b.name, b.instruction, b.demos, b.layout, b.model, b.cascade) for b in bound.values())
    return digest((own, freeze(others)))


def untrained(assignment: Assignment) -> Assignment:
    """The candidate with models that are there in the place of those trained on paper."""
    models = {k: v.partition(_TRAINED)[0] for k, v in assignment.values.items() if isinstance(v, str) and _TRAINED in v}
    return assignment.updated(**{k: v for k, v in models.items() if k.endswith(".model")})


class _Answers:
    """Results of jobs in a mood. Equal jobs have equal results; texts of different ones differ."""

    def __init__(self, problem: Problem, mood: str) -> None:
        self.problem, self.mood = problem, mood
        self._names: dict[Assignment, str] = {}

    def to(self, job: Job) -> Result:
        match job:
            case EvaluateJob(assignment, split, rows):
                scores = tuple(self._score(assignment, split, i) for i in rows)
                return EvaluateResult(scores, 0, (1,) * len(rows))
            case RunJob():
                return self._run(job)
            case FeedbackJob(run, predictor, call):
                score = self._score(run.assignment, run.split, run.row)
                return FeedbackResult(score, f"feedback on {predictor} {call}")
            case CallJob(signature, _, _, _, _, number):
                return CallResult(_outputs(signature, digest((signature, job.inputs, number)), self._random(job)))
            case EmbedJob(texts):
                return EmbedResult(tuple(self._vector(t) for t in texts))
            case TrainJob(_, model):
                return TrainResult(f"{model}{_TRAINED}{digest(tuple(c.inputs for c in job.calls))}")

    def _random(self, *parts: Any) -> random.Random:
        return random.Random(f"{self.mood} {digest(freeze([repr(p) for p in parts]))}")

    def _score(self, assignment: Assignment, split: str, row: int, rollout: int = 0) -> float:
        if self.mood in (FAIL, SUCCEED):
            return float(self.mood == SUCCEED)
        return float(random.Random(f"{self.mood} {self._name(assignment)} {split} {row} {rollout}").random() < 0.5)

    def _name(self, assignment: Assignment) -> str:
        if assignment not in self._names:
            self._names[assignment] = digest(assignment)
        return self._names[assignment]

    def _run(self, job: RunJob) -> RunResult:
        problem = (self.problem.teacher or self.problem) if job.program else self.problem
        example = self.problem.train[job.row] if job.split == self.problem.train_split else None
        given: Mapping[str, Any] = example.inputs if example is not None else {}
        mark = f"{job.split} {job.row} {job.rollout} {self._name(job.assignment)}"
        calls, last = [], Obj()
        for p in problem.predictors():
            inputs = {f.name: given.get(f.name, guess(f.type)) for f in p.signature.inputs}
            last = _outputs(p.signature, f"{p.symbol} {mark}", random.Random(mark))
            calls.append(TracedCall(p.symbol, Obj(freeze(inputs)), last, "an answer"))
        score = self._score(job.assignment, job.split, job.row, job.rollout)
        return RunResult(score, tuple(calls), None, "feedback", Obj(), last, 1)

    def _vector(self, text: str) -> tuple[float, ...]:
        draw = random.Random(text)
        return tuple(draw.gauss(0.0, 1.0) for _ in range(_VECTOR))


def _outputs(signature: Signature, mark: str, draw: random.Random) -> Obj:
    """Guessed outputs; texts end in a mark."""
    values = {f.name: guess(f.type) for f in signature.outputs}
    for f in signature.outputs:
        if f.type == STR:
            values[f.name] = f"{values[f.name]} {digest(mark)[:8]} {draw.randrange(10**6)}"
    made = freeze(values)
    assert isinstance(made, Obj)
    return made


__all__ = ["CHANCE", "FAIL", "MOODS", "SUCCEED", "PaperCell", "Rehearsal", "rehearse", "untrained"]
