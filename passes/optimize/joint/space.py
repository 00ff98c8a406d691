"""What a joint search chooses from: parameters with their choices, the first of which is what the program has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lampc.ir import Assignment, DemoSet, thaw
from lampc.ir.adapters import adapter
from lampc.ir.adapters.arranged import base_of, like
from lampc.ir.adapters.two_step import TwoStep
from lampc.ir.attrs import Attr
from lampc.ir.modelnames import named_model
from lampc.ir.prog import DefModel, DefRetriever
from lampc.passes.lower.continuing import conversing
from lampc.passes.optimize.parameters import declared, parameters
from lampc.passes.optimize.protocol import OptimizeError, Problem

Spot: TypeAlias = tuple[int, ...]
"""A point of the space: the place of the choice made for each parameter."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter and its choices."""

    parameter: str
    values: tuple[Attr, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """Axes with two choices or more; `start` is where the search begins."""

    axes: tuple[Axis, ...]
    start: Assignment

    @property
    def size(self) -> int:
        n = 1
        for axis in self.axes:
            n *= len(axis.values)
        return n

    def sizes(self) -> dict[str, int]:
        return {a.parameter: len(a.values) for a in self.axes}

    def assignment(self, spot: Spot) -> Assignment:
        """The candidate at a spot; what stays as it is is not said."""
        chosen = zip(self.axes, spot, strict=True)
        return self.start.updated(**{a.parameter: a.values[i] for a, i in chosen if i})

    def note(self, spot: Spot) -> str:
        """What a spot changes, in one line."""
        parts = [_said(a, i) for a, i in zip(self.axes, spot, strict=True) if i]
        return ", ".join(parts) or "as the program is"


def static_axes(
    problem: Problem, who: str, choices: Mapping[str, Any], layouts: Sequence[str], models: Sequence[str]
) -> dict[str, list[Attr]]:
    """Choices that are known before anything runs, by parameter: tuned values and numbers of passages, `layouts` and
    `models` for every predictor whose calls do not go on from each other, and what `choices` says of a parameter, which
    goes before all of these. Raises OptimizeError."""
    out = declared(problem, who, {})
    for op in problem.module.body.ops:
        if isinstance(op, DefRetriever):
            out[f"{op.symbol}.k"] = sorted({max(1, op.k // 2), op.k, 2 * op.k})
    for name in layouts:
        _check_layout(who, name)
    known = ["main", *(op.symbol for op in problem.module.body.ops if isinstance(op, DefModel))]
    for name in models:
        if name not in known and named_model(name) is None:
            raise OptimizeError(f"{who}: there is no model `{name}`; the program has {', '.join(known)}")
    held = conversing(problem.module)  # calls of one conversation keep their models, and layouts that go together
    for p in problem.predictors():
        for part, values in (("layout", layouts), ("model", models)):
            if values and part not in p.frozen and p.symbol not in held:
                out[f"{p.symbol}.{part}"] = in_order(p.layout, values) if part == "layout" else list(values)
    return out | declared(problem, who, choices, tuned=False)


def in_order(layout: str, layouts: Sequence[str]) -> list[str]:
    """Layouts in the order of blocks that a predictor's author asks for, and its own layout without it; as they are for
    one without such a wish."""
    if base_of(layout) == layout:
        return list(layouts)
    asked = [like(layout, name) for name in layouts if base_of(name) == name and hasattr(adapter(name), "task")]
    return [*(name for name in asked if not isinstance(adapter(base_of(name)), TwoStep)), base_of(layout)]


def make_space(
    problem: Problem, static: Mapping[str, Sequence[Attr]], texts: Mapping[str, Sequence[str]],
    demos: Mapping[str, Sequence[DemoSet]],
) -> Space:  # fmt: skip
    """The space of static choices, instructions and demo sets, the latter two by predictor."""
    return Space(tuple(_axes(problem, static, texts, demos)), problem.start)


def _axes(
    problem: Problem, static: Mapping[str, Sequence[Attr]], texts: Mapping[str, Sequence[str]],
    demos: Mapping[str, Sequence[DemoSet]],
) -> Iterator[Axis]:  # fmt: skip
    known, start = parameters(problem.module), problem.start
    more: dict[str, Sequence[Attr]] = {}
    for p in problem.predictors():
        own: dict[str, Any] = {"instruction": problem.instruction(start, p), "demos": DemoSet(problem.demos(start, p))}
        for part, values in (("instruction", texts.get(p.symbol, ())), ("demos", demos.get(p.symbol, ()))):
            name = f"{p.symbol}.{part}"
            if name not in static:
                known, more = known | {name: own[part]}, more | {name: tuple(values)}
    for name, values in {**more, **static}.items():
        found = tuple(dict.fromkeys([start.get(name, known[name]), *values]))
        if len(found) > 1:
            yield Axis(name, found)


def _check_layout(who: str, name: str) -> None:
    try:
        adapter(name)
    except ValueError as e:
        raise OptimizeError(f"{who}: {e}") from None


def _said(axis: Axis, i: int) -> str:
    value = axis.values[i]
    if isinstance(value, DemoSet):
        return f"{axis.parameter} set {i} of {len(value.items)}"
    shown = repr(thaw(value))
    return f"{axis.parameter} = {shown if len(shown) <= 60 else shown[:57] + '...'}"
