"""A function under construction: the region that ops go to, the names that are visible, the keys of calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lampc.frontend.lmp.env import Env
from lampc.frontend.lmp.program import Function, Predictor, Program, Tuned
from lampc.frontend.lmp.report import Reporter
from lampc.frontend.lmp.values import Binding, Lit, Val, joined, misfit
from lampc.ir import ANY, Key, Op, Region, Span, Type, Value, freeze
from lampc.ir.prog import Const, Yield

_SILENT = re.compile(r"_\d+\Z")


class Body:
    """State of one function. Expressions, statements and calls are functions over it in their own files."""

    def __init__(self, program: Program, env: Env, region: Region) -> None:
        self.program, self.env = program, env
        self.region = region
        self.scopes: list[dict[str, Binding]] = [{}]
        self.hidden: dict[str, Span] = {}
        self.uses: dict[str, Predictor | Function] = {}
        self.tunes: dict[str, Tuned] = {}
        self.counts: Counter[str] = Counter()
        self.wanted: list[set[str]] = [set()]
        self.fields: dict[str, Value] = {}

    @property
    def report(self) -> Reporter:
        return self.program.report

    # -- ops ---------------------------------------------------------------------------------------

    def emit(self, op: Op, span: Span) -> Op:
        """Append `op` to the current region."""
        op.loc = span
        return self.region.append(op)

    def constant(self, value: Any, span: Span, type: Type) -> Value:
        """A constant op for a plain value."""
        return self.emit(Const.make(value=freeze(value), type=type), span).result

    def value(self, val: Val, span: Span) -> Value | None:
        """The SSA value of `val`: a literal becomes a constant here."""
        if isinstance(val, Lit):
            return self.constant(val.value, span, val.type)
        return val

    def values(self, vals: list[Val], spans: list[Span]) -> list[Value] | None:
        """SSA values of all, in order; None if one is unknowable."""
        if any(v is None for v in vals):
            return None
        made = [self.value(v, s) for v, s in zip(vals, spans, strict=True)]
        return [v for v in made if v is not None]

    def key(self, callee: str) -> Key:
        """The key of the next call of `callee` in this function."""
        n = self.counts[callee]
        self.counts[callee] += 1
        return Key((f"{callee}#{n}",))

    @contextmanager
    def inside(self, region: Region, wanted: set[str] | None = None) -> Iterator[Region]:
        """Build in `region`, with a scope of its own; `wanted` are names used after it (loops only)."""
        outer = self.region
        self.region = region
        self.scopes.append({})
        self.wanted.append(wanted or set())
        try:
            yield region
        finally:
            self.wanted.pop()
            self.leave()
            self.region = outer

    def leave(self) -> None:
        """Close the innermost scope: warn of what nothing used, remember what is no longer visible."""
        for name, binding in self.scopes.pop().items():
            self.hidden[name] = binding.span
            if not binding.used and not name.startswith("_"):
                self.report.warn(
                    "L0207", f"`{name}` is never used", binding.span, help=f"remove it, or call it `_{name}`"
                )

    def give(self, vals: list[Val], spans: list[Span], span: Span) -> list[Type] | None:
        """End the current region by a yield of `vals`; gives their types, None if one is unknowable."""
        made = self.values(vals, spans)
        self.emit(Yield.make(*(made or [])), span)
        return None if made is None else [v.type for v in made]

    # -- names -------------------------------------------------------------------------------------

    def bind(self, name: str, val: Val, span: Span, *, used: bool = False) -> None:
        """Make `name` visible. Reports L0203 if it already is: every name is given once."""
        if name == "_":
            return
        known = self.find(name)
        first = known.span if known else self.declared(name)
        if first is not None:
            self.report.error(
                "L0203",
                f"`{name}` is defined twice",
                span,
                help="every name is given a value once; choose another",
                also=[(first, "first defined here")],
            )
        self.scopes[-1][name] = Binding(val, span, used)

    def declared(self, name: str) -> Span | None:
        if name in self.uses:
            return self.uses[name].span
        return self.tunes[name].span if name in self.tunes else None

    def find(self, name: str) -> Binding | None:
        return next((s[name] for s in reversed(self.scopes) if name in s), None)

    def visible(self) -> list[str]:
        """Names that may be written here."""
        local = [n for s in self.scopes for n in s]
        return [*local, *self.tunes, *self.fields]

    def name_results(self, val: Val, name: str, mark: int) -> None:
        """Let `name` be the hint of a value that was made since `mark` (a count of ops)."""
        if isinstance(val, Value) and isinstance(val.owner, Op) and val.serial >= mark:
            val.hint = hint(name)

    # -- checks ------------------------------------------------------------------------------------

    def expect(self, val: Val, wanted: Type, span: Span, what: str) -> bool:
        """Whether `val` fits; reports L0301 if not."""
        why = misfit(val, wanted)
        if why is None:
            return True
        from lampc.frontend.lmp.report import suggest
        from lampc.ir import Choice

        help = ""
        if isinstance(wanted, Choice) and isinstance(val, Lit) and isinstance(val.value, str):
            help = suggest(val.value, wanted.options)
        self.report.error("L0301", f"{what}: {why}", span, help=help)
        return False

    def common(self, types: list[Type], span: Span, what: str) -> Type | None:
        """The type of a value that comes from several places; reports L0301 if they differ too much."""
        out = joined(types)
        if out is None:
            shown = " and ".join(dict.fromkeys(map(str, types)))
            self.report.error("L0301", f"{what} give values of different types: {shown}", span)
        return out


def hint(name: str) -> str:
    """The hint of a value that is bound to `name`: names like `_3` leave none."""
    return "" if _SILENT.match(name) else name


def mark() -> int:
    """A mark in time for `Body.name_results`: values made later have a larger serial number."""
    return Value(ANY, Region(), 0).serial
