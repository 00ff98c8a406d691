"""What a program's structure says of its calls: how many a run makes, and which hang on the answers of which others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from lampc.ir import Module, Region, Value
from lampc.ir.adapters.rounds import least_rounds, most_rounds
from lampc.ir.prog import Call, DefPredictor, Func, If, Loop, Map, Match, Predict, Try
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

    @property
    def exact(self) -> bool:
        return self.least == self.most

    def __contains__(self, n: int) -> bool:
        return self.least <= n and (self.most is None or n <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return str(self.most) if self.least == self.most else f"{self.least} to {self.most}"


NONE = Range(0, 0)
Counts = dict[str, Range]
"""LM calls of one run, by predictor."""


def calls_per_run(module: Module, entry: str | None) -> Range:
    """LM calls of one run by the program's structure; an answer that cannot be read is asked for again. An untraced
    program can make any number."""
    counts = calls_by_predictor(module, entry)
    return Range(0, None) if counts is None else sum(counts.values(), NONE)


def calls_by_predictor(module: Module, entry: str | None) -> Counts | None:
    """The same for each predictor; None for an untraced program."""
    functions = {op.symbol: op for op in module.body.ops if isinstance(op, Func)}
    if not functions:
        return None
    layouts = {op.symbol: op.layout for op in module.body.ops if isinstance(op, DefPredictor)}
    return _calls(entry_function(module, entry).body, functions, layouts, ())


def _calls(region: Region, functions: dict[str, Func], layouts: dict[str, str], inside: tuple[str, ...]) -> Counts:
    total: Counts = {}
    for op in region.ops:
        bodies = [_calls(r, functions, layouts, inside) for r in op.regions]
        match op:
            case Predict():
                layout = layouts.get(op.predictor.name, "compact")
                total = _plus(total, {op.predictor.name: Range(least_rounds(layout), most_rounds(layout))})
            case Call() if op.callee.name in functions:
                name = op.callee.name
                if name in inside:
                    total = _plus(total, {p: Range(0, None) for p in layouts})
                else:
                    total = _plus(total, _calls(functions[name].body, functions, layouts, (*inside, name)))
            case If() | Match():
                total = _plus(total, reduce(_either, bodies))
            case Loop():
                total = _plus(total, _times(bodies[0], Range(1, op.max)))
            case Map():
                total = _plus(total, _times(bodies[0], Range(0, None)))
            case Try():
                total = _plus(total, _either(bodies[0], {}))
    return total


def _plus(one: Counts, other: Counts) -> Counts:
    return {n: one.get(n, NONE) + other.get(n, NONE) for n in {**one, **other}}


def _either(one: Counts, other: Counts) -> Counts:
    return {n: one.get(n, NONE).either(other.get(n, NONE)) for n in {**one, **other}}


def _times(one: Counts, count: Range) -> Counts:
    return {n: r.times(count) for n, r in one.items()}


def upstream(module: Module, entry: str | None) -> dict[str, frozenset[str]]:
    """For each predictor that the program asks: those whose answers its calls may hang on, itself included.

    A call with the same answers behind it is the same call: it changes only if one of these predictors does. What is in
    a branch or a loop hangs on what decides about it. Of an untraced program, whose order nobody knows, all hang on
    all.
    """
    functions = {op.symbol: op for op in module.body.ops if isinstance(op, Func)}
    every = frozenset(op.symbol for op in module.body.ops if isinstance(op, DefPredictor))
    if not functions:
        return dict.fromkeys(every, every)
    found: dict[str, frozenset[str]] = {}
    _flow(entry_function(module, entry).body, {}, frozenset(), functions, (), found)
    return found


def _flow(
    region: Region,
    known: dict[Value, frozenset[str]],
    behind: frozenset[str],
    functions: dict[str, Func],
    inside: tuple[str, ...],
    found: dict[str, frozenset[str]],
) -> frozenset[str]:
    """What the values of a region hang on, put into `known`; gives what its terminator hangs on."""
    last = behind
    for op in region.ops:
        hangs = reduce(frozenset.union, (known.get(v, frozenset()) for v in op.operands), behind)
        if isinstance(op, Predict):
            name = op.predictor.name
            hangs |= {name}
            found[name] = found.get(name, frozenset()) | hangs
        elif isinstance(op, Call) and op.callee.name in functions and op.callee.name not in inside:
            callee = functions[op.callee.name].body
            inner = dict.fromkeys(callee.args, hangs)
            hangs |= _flow(callee, inner, behind, functions, (*inside, op.callee.name), found)
        if op.regions:
            own = {p.predictor.name for r in op.regions for o in r.ops for p in o.walk() if isinstance(p, Predict)}
            hangs |= own if isinstance(op, Loop | Try) else frozenset()
            ends = [
                _flow(r, {**known, **dict.fromkeys(r.args, hangs)}, hangs, functions, inside, found) for r in op.regions
            ]
            hangs = reduce(frozenset.union, ends, hangs)
        known.update(dict.fromkeys(op.results, hangs))
        last = hangs
    return last


__all__ = ["NONE", "Range", "calls_by_predictor", "calls_per_run", "upstream"]
