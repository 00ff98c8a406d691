"""Fuse: calls that look at the same context become one call, where held-out rows say that nothing is lost by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lampc.ir import Assignment, Module, Symbol, freeze
from lampc.ir.prog import DefPredictor, Func
from lampc.passes.gate import Gate, GateRecord, judge
from lampc.passes.manager import PassContext, Pipeline, RunOptions
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem
from lampc.passes.options import write_pass
from lampc.passes.schedule.fuse_calls import BEFORE, FUSED, FuseCalls, fused_in
from lampc.passes.schedule.joining import LONGEST, call_sites, groups, why_not


@dataclass(frozen=True)
class Fuse:
    """Groups of calls are fused, one group after another, if the gate accepts it and a row takes fewer tokens.

    A group are calls of one model that have an input in common, or of which one takes fields of an earlier one's
    answer (`lampc explain fuse-calls`). The largest groups are tried first, at most `trials` of them; `groups` names
    others, as lists of predictors. Each is held against the program as it is on the rows of the select split:
    accepted if the one-sided bound, at `level`, of the mean difference (scores 0 to 1) is at least `least`; fewer
    than `rows` rows decide nothing. A row whose joint answer cannot be read makes its calls apart. It is the last
    step of an optimisation, and for endpoints: a model on this machine shares what prompts have in common anyway
    (`local` fuses there too).
    """

    name: ClassVar[str] = FUSED
    stands: ClassVar[bool] = True
    groups: Any = ()
    trials: int = 8
    least: float = -0.01
    level: float = 0.95
    rows: int = 20
    longest: int = LONGEST
    local: bool = False

    def begin(self, problem: Problem) -> Fusing:
        if fused_in(problem.module, problem.start):
            raise OptimizeError("fuse: calls of this program are fused already; fuse the program that it was made from")
        if not any(isinstance(op, Func) for op in problem.module.body.ops):
            raise OptimizeError(
                "fuse: this program runs as plain Python, so which of its calls stand beside each other is known only "
                "when they are made; `lampc check` says what keeps it from being compiled"
            )
        if not problem.select_size:
            raise OptimizeError(f"fuse: split `{problem.select_split}` has no rows to hold the fused calls against")
        try:
            gate = Gate(self.least, self.level, self.rows)
        except ValueError as e:
            raise OptimizeError(f"fuse: {e}") from None
        module = prepared(problem.module, problem.start)
        used = {p.symbol for p in problem.predictors()}
        if self.groups:
            wanted = [self._named(group, module, used) for group in self.groups]
        else:
            wanted = [g for g in groups(module, self.longest) if used.issuperset(g)]
        return Fusing(problem, wanted[: self.trials], gate, self.longest)

    def _named(self, group: Any, module: Module, used: set[str]) -> tuple[str, ...]:
        """A group that was asked for. Raises OptimizeError with the reason why it cannot be."""
        names = tuple(group) if isinstance(group, list | tuple) else ()
        if len(names) < 2 or not all(isinstance(n, str) for n in names):
            raise OptimizeError(f"fuse: a group is a list of predictors, at least two: not {group!r}")
        if odd := [n for n in names if n not in used]:
            raise OptimizeError(f"fuse: the program calls no predictor `{odd[0]}`; it calls {', '.join(sorted(used))}")
        why = "their calls do not stand beside each other"
        for calls in call_sites(module):
            some = [c for c in calls if c.predictor.name in names]
            if sorted(c.predictor.name for c in some) == sorted(names):
                why = why_not(some, module, self.longest)
                if not why:
                    return tuple(c.predictor.name for c in some)
        raise OptimizeError(f"fuse: {', '.join(names)} cannot be one call: {why}")


def prepared(module: Module, start: Assignment) -> Module:
    """A copy in which calls are fused: layouts and models as chosen, functions inlined."""
    copy = module.clone()
    for op in copy.body.ops:
        if isinstance(op, DefPredictor):
            op.layout = start.get(f"{op.symbol}.layout", op.layout)
            op.model = Symbol(start.get(f"{op.symbol}.model", op.model.name))
    Pipeline.parse(BEFORE).run(copy, PassContext(), RunOptions(verify_each=False, crash_dir=None))
    return copy


class Fusing:
    """A search under way."""

    def __init__(self, problem: Problem, wanted: Sequence[tuple[str, ...]], gate: Gate, longest: int) -> None:
        self.problem, self.gate, self.longest = problem, gate, longest
        self.best = problem.start
        self.history: list[Candidate] = []
        self._open = list(wanted)
        self._before: EvaluateResult | None = None
        self._tokens = 0.0
        self._asked = False
        self.done = not self._open

    def ask(self, n: int) -> list[Job]:
        if self.done or self._asked:
            return []
        self._asked = True
        candidate = self.problem.start if self._before is None else self._with(self._open[0])
        return [EvaluateJob(candidate, self.problem.select_split, self.problem.select_rows())]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"fuse asked for scores, not for {type(job).__name__}")
        self._asked = False
        if self._before is None:
            self._before, self._tokens = result, _mean(result)
            return
        group = self._open.pop(0)
        change = write_pass(FuseCalls(group, self.longest))
        record = judge(self._before.scores, result.scores, change=change, gate=self.gate)
        tokens = _mean(result)
        if record.accepted and tokens >= self._tokens:
            record = _refused(record, f"a row takes {tokens:.0f} tokens, not fewer than {self._tokens:.0f}")
        note = f"{' + '.join(group)}: {record}; {self._tokens:.0f} -> {tokens:.0f} tokens a row"
        if not record.accepted:
            note += f" ({record.why})"
        self.history.append(
            Candidate(
                job.assignment,
                FUSED,
                note,
                result.mean,
                len(result.scores),
                tokens,
                facts=freeze({"gate": record.values()}),
            )
        )
        if record.accepted:
            self.best, self._tokens = job.assignment, tokens
            self._open = [g for g in self._open if not set(g) & set(group)]
        self.done = not self._open

    def demand(self) -> Demand:
        rows = self.problem.select_size
        first = rows if self._before is None else 0
        if self.done:
            return Demand()
        return Demand(first + rows, first + rows * len(self._open))

    def _with(self, group: tuple[str, ...]) -> Assignment:
        return self.best.updated(**{FUSED: (*self.best.get(FUSED, ()), group)})


def _mean(result: EvaluateResult) -> float:
    return sum(result.tokens) / len(result.tokens) if result.tokens else 0.0


def _refused(record: GateRecord, why: str) -> GateRecord:
    return GateRecord(**{**record.values(), "accepted": False, "why": why})
