"""ParameterSearch: for each parameter in turn the best of its choices: tuned values, retrievers' `k` and store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar

from lampc.ir import Assignment, Module, freeze, thaw
from lampc.ir.prog import DefPredictor, DefRetriever, DefTune
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem


@dataclass(frozen=True)
class ParameterSearch:
    """Coordinate search on the select split.

    `choices` are values by parameter: `facts.k`, `facts.store` (names of the session's retrievers), `ask.layout`,
    `ask.model`, or the name of a tuned value, whose declared choices need not be said. All choices of a parameter are
    scored together. The current value stays unless another scores higher; of those that tie above it the earliest wins.
    `rounds` passes are made over the parameters, fewer if one changes nothing.
    """

    name: ClassVar[str] = "parameters"
    choices: Any = field(default_factory=dict)
    rounds: int = 1

    def begin(self, problem: Problem) -> Search:
        known = parameters(problem.module)
        declared = {op.symbol: op.choices for op in problem.module.body.ops if isinstance(op, DefTune)}
        wanted: dict[str, tuple[Any, ...]] = dict(declared)
        for name, values in dict(self.choices).items():
            if name not in known:
                near = get_close_matches(name, known, 1)
                guess = f" (did you mean `{near[0]}`?)" if near else ""
                raise OptimizeError(f"{self.name}: there is no parameter `{name}`{guess}; there are {', '.join(known)}")
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise OptimizeError(f"{self.name}: the choices of `{name}` are a list, not {values!r}")
            wanted[name] = tuple(freeze(v) for v in values)
        if not problem.select_size:
            raise OptimizeError(f"{self.name}: split `{problem.select_split}` has no rows to score on")
        if not wanted:
            raise OptimizeError(f"{self.name}: nothing to choose: give `choices`, or declare tuned values")
        return Search(self, problem, wanted, known)


def parameters(module: Module) -> dict[str, Any]:
    """The parameters that can be set to a choice, with the values that the module has."""
    out: dict[str, Any] = {}
    for op in module.body.ops:
        if isinstance(op, DefTune):
            out[op.symbol] = op.default
        elif isinstance(op, DefRetriever):
            out |= {f"{op.symbol}.k": op.k, f"{op.symbol}.store": ""}
        elif isinstance(op, DefPredictor):
            own = {"layout": op.layout, "model": op.model.name, "instruction": op.signature.instruction}
            out |= {f"{op.symbol}.{n}": v for n, v in own.items() if n not in op.frozen}
    return out


class Search:
    """A search under way."""

    def __init__(
        self,
        options: ParameterSearch,
        problem: Problem,
        choices: Mapping[str, tuple[Any, ...]],
        initial: dict[str, Any],
    ) -> None:
        self.options, self.problem, self.choices, self.initial = options, problem, choices, initial
        self.order = list(choices)
        self.best = problem.start
        self.history: list[Candidate] = []
        self._at, self._round, self._changed = 0, 0, False
        self._values: list[Any] = []
        self._scores: list[float] = []
        self._asked = 0
        self.done = False
        self._enter()

    def _enter(self) -> None:
        """Take up parameter `_at` of this round, or the next one that has a choice."""
        while True:
            if self._at == len(self.order):
                self._at, self._round = 0, self._round + 1
                if not self._changed or self._round >= self.options.rounds:
                    self.done = True
                    return
                self._changed = False
            self._values = self._offered(self.order[self._at])
            self._scores, self._asked = [], 0
            if len(self._values) > 1:
                return
            self._at += 1

    def _offered(self, name: str) -> list[Any]:
        """The current value, then the others."""
        return list(dict.fromkeys([self.best.get(name, self.initial[name]), *self.choices[name]]))

    def _candidate(self, value: Any) -> Assignment:
        return self.best.updated(**{self.order[self._at]: value})

    def ask(self, n: int) -> list[Job]:
        if self.done:
            return []
        rows, split = self.problem.select_rows(), self.problem.select_split
        first, self._asked = self._asked, min(len(self._values), self._asked + n)
        wanted = enumerate(self._values[first : self._asked], first)
        return [EvaluateJob(self._candidate(v) if i else self.best, split, rows) for i, v in wanted]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.options.name} asked for scores, not for {type(job).__name__}")
        note = f"{self.order[self._at]} = {thaw(self._values[len(self._scores)])!r}"
        self._scores.append(result.mean)
        self.history.append(Candidate(job.assignment, self.options.name, note, result.mean))
        if len(self._scores) < len(self._values):
            return
        top = max(self._scores)
        if top > self._scores[0]:
            self.best = self._candidate(self._values[self._scores.index(top)])
            self._changed = True
        self._at += 1
        self._enter()

    def demand(self) -> Demand:
        if self.done:
            return Demand()
        others = [len(self._offered(n)) - 1 for n in self.order]  # the current value has been scored by then
        now = len(self._values) - len(self._scores)
        least = now + sum(others[self._at + 1 :])
        again = sum(others) * (self.options.rounds - self._round - 1)
        rows = self.problem.select_size
        return Demand(least * rows, (least + again) * rows)
