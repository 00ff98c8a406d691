"""ParameterSearch: for each parameter in turn the best of its choices: tuned values, retrievers' `k` and store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, ClassVar

from lampc.ir import Module, freeze, thaw
from lampc.ir.diag import there_are
from lampc.ir.prog import DefPredictor, DefRetriever, DefTune
from lampc.passes.lower.continuing import parts
from lampc.passes.optimize.coordinate import CoordinateSearch
from lampc.passes.optimize.protocol import OptimizeError, Problem
from lampc.passes.optimize.racing import OFF


@dataclass(frozen=True)
class ParameterSearch:
    """Coordinate search on the select split.

    `choices` are values by parameter: `facts.k`, `facts.store` (names of the session's retrievers), `ask.layout`,
    `ask.model`, or the name of a tuned value, whose declared choices need not be said. All choices of a parameter are
    scored together. The current value stays unless another scores higher; of those that tie above it the earliest wins.
    `rounds` passes are made over the parameters, fewer if one changes nothing. Under `racing` (`halving` or
    `bernstein`) choices that fall behind on the first rows are not run on the others.
    """

    name: ClassVar[str] = "parameters"
    choices: Any = field(default_factory=dict)
    rounds: int = 1
    racing: str = OFF

    def begin(self, problem: Problem) -> CoordinateSearch:
        known = parameters(problem.module)
        wanted = declared(problem, self.name, self.choices)
        if not problem.select_size:
            raise OptimizeError(f"{self.name}: split `{problem.select_split}` has no rows to score on")
        if not wanted:
            raise OptimizeError(f"{self.name}: nothing to choose: give `choices`, or declare tuned values")
        return CoordinateSearch(
            self.name, problem, wanted, lambda candidate, name: candidate.get(name, known[name]),
            lambda name, value: f"{name} = {thaw(value)!r}", self.rounds,
        )  # fmt: skip


def declared(problem: Problem, who: str, choices: Any, tuned: bool = True) -> dict[str, list[Any]]:
    """The choices of tuned values, unless `tuned` is off, and those said in `choices` by parameter, which go before.
    Raises OptimizeError, naming `who`, for a parameter that there is not and choices that are no list."""
    known = parameters(problem.module)
    ops = problem.module.body.ops if tuned else ()
    out: dict[str, list[Any]] = {op.symbol: list(op.choices) for op in ops if isinstance(op, DefTune)}
    for name, values in dict(choices).items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            guess = f" (did you mean `{near[0]}`?)" if near else ""
            raise OptimizeError(f"{who}: there is no parameter `{name}`{guess}; {there_are(known)}")
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise OptimizeError(f"{who}: the choices of `{name}` are a list, not {values!r}")
        out[name] = [freeze(v) for v in values]
    if wrong := next((w for n, values in out.items() for v in values if (w := parts(problem.module, n, v))), ""):
        raise OptimizeError(f"{who}: {wrong}")
    return out


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
