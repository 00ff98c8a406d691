"""What an optimisation will cost, before anything is spent: program runs and LM calls, exactly or as bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lampc.ir import Module, Obj, Region
from lampc.ir.adapters import bind_predictors
from lampc.ir.adapters.rounds import least_rounds, most_rounds
from lampc.ir.prog import Call, DefPredictor, Func, If, Loop, Map, Match, Predict, Try
from lampc.passes.optimize import (
    CallJob,
    CallResult,
    Compose,
    EvaluateJob,
    EvaluateResult,
    OptimizeError,
    Problem,
    Result,
    RunJob,
    RunResult,
    Strategy,
)
from lampc.runtime.compile import simplified
from lampc.runtime.interp import entry_function


@dataclass(frozen=True, slots=True)
class Range:
    """From `least` to `most`; `most` None if nothing bounds it."""

    least: int
    most: int | None

    def __add__(self, other: Range) -> Range:
        most = None if self.most is None or other.most is None else self.most + other.most
        return Range(self.least + other.least, most)

    def times(self, other: Range) -> Range:
        if 0 in (self.most, other.most):
            return Range(0, 0)
        most = None if self.most is None or other.most is None else self.most * other.most
        return Range(self.least * other.least, most)

    def either(self, other: Range) -> Range:
        most = None if self.most is None or other.most is None else max(self.most, other.most)
        return Range(min(self.least, other.least), most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return str(self.most) if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class DryRun:
    """Distinct program runs of each step and of the whole (scoring the start and the results included), LM calls
    of one run, and of all. Equal calls of different runs are made once, so fewer may be computed."""

    steps: tuple[tuple[str, Range], ...]
    runs: Range
    calls_per_run: Range
    calls: Range

    def __str__(self) -> str:
        lines = [f"{name}: {runs} runs" for name, runs in self.steps]
        lines.append(f"in all: {self.runs} runs of {self.calls_per_run} LM calls each: {self.calls} calls")
        return "\n".join(lines)


def dry_run(problem: Problem, steps: Sequence[Strategy], *, as_asked: bool = False) -> DryRun:
    """The demand of `steps`: two rehearsals, in which every run fails and in which every run succeeds.

    A run that the other rehearsal would not make is a bound's slack; where both agree the number is exact.
    With `as_asked` neither the start nor the results are scored besides. Raises OptimizeError if a step cannot begin.
    """
    worst, best = (rehearse(problem, steps, score, as_asked) for score in (0.0, 1.0))
    names = ["start", *(s.name for s in steps)]
    ranges = [_range(a, b) for a, b in zip(worst, best, strict=True)]
    total = _range(sum(worst), sum(best))
    calls = calls_per_run(simplified(problem.module), problem.entry)
    return DryRun(tuple(zip(names, ranges, strict=True)), total, calls, total.times(calls))


def _range(a: int, b: int) -> Range:
    return Range(min(a, b), max(a, b))


def rehearse(problem: Problem, steps: Sequence[Strategy], score: float, as_asked: bool = False) -> list[int]:
    """Distinct runs of the start and of each step, if every run scores `score`."""
    seen: set[object] = set()

    def want(assignment: object, split: str, row: int, rollout: int = 0) -> None:
        seen.add((assignment, split, row, rollout))

    def parameters(assignment: object) -> object:
        bound = bind_predictors(problem.module, assignment)  # type: ignore[arg-type]
        return tuple((b.name, b.instruction, b.demos, b.layout, b.model) for b in bound.values())

    scored = () if as_asked else problem.select_rows()
    for i in scored:
        want(parameters(problem.start), problem.select_split, i)
    counts, before, calls = [len(seen)], len(seen), 0
    optimizer = Compose(tuple(steps), gated=not as_asked).begin(problem)
    while len(counts) <= len(steps):
        at = len(optimizer.ends)
        while len(counts) <= at:  # the step's result is scored too
            for i in scored:
                want(parameters(optimizer.ends[len(counts) - 1][1]), problem.select_split, i)
            counts.append(len(seen) - before)
            before = len(seen)
        if len(counts) > len(steps):
            break
        jobs = optimizer.ask(4096)
        if not jobs:
            raise OptimizeError("an optimizer asks for nothing and is not done: a bug of the optimizer")
        for job in jobs:
            result: Result
            if isinstance(job, EvaluateJob):
                for i in job.rows:
                    want(parameters(job.assignment), job.split, i)
                result = EvaluateResult((score,) * len(job.rows))
            elif isinstance(job, CallJob):
                calls += 1  # texts that differ, as those of a model would
                result = CallResult(Obj({f.name: f"{f.name} {calls}" for f in job.signature.outputs}))
            elif isinstance(job, RunJob):
                want(parameters(job.assignment), job.split, job.row, job.rollout)
                result = RunResult(score)
            else:
                raise OptimizeError(f"a dry run cannot foresee a {type(job).__name__} yet")
            optimizer.tell(job, result)
    return counts


def calls_per_run(module: Module, entry: str | None) -> Range:
    """LM calls of one run by the program's structure; an answer that cannot be read is asked for again. An untraced
    program can make any number."""
    functions = {op.symbol: op for op in module.body.ops if isinstance(op, Func)}
    if not functions:
        return Range(0, None)
    layouts = {op.symbol: op.layout for op in module.body.ops if isinstance(op, DefPredictor)}
    return _calls(entry_function(module, entry).body, functions, layouts, ())


def _calls(region: Region, functions: dict[str, Func], layouts: dict[str, str], inside: tuple[str, ...]) -> Range:
    total = Range(0, 0)
    for op in region.ops:
        bodies = [_calls(r, functions, layouts, inside) for r in op.regions]
        match op:
            case Predict():
                layout = layouts.get(op.predictor.name, "compact")
                total += Range(least_rounds(layout), most_rounds(layout))
            case Call() if op.callee.name in functions:
                name = op.callee.name
                recursive = name in inside
                body = functions[name].body
                total += Range(0, None) if recursive else _calls(body, functions, layouts, (*inside, name))
            case If() | Match():
                arms = bodies[0]
                for other in bodies[1:]:
                    arms = arms.either(other)
                total += arms
            case Loop():
                total += bodies[0].times(Range(1, op.max))
            case Map():
                total += bodies[0].times(Range(0, None))
            case Try():
                total += bodies[0].either(Range(0, 0))
    return total
