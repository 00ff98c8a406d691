"""Small parts of emitted source: names, types, operators, sampling; and the error for what cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lampc.frontend.lmp import literals
from lampc.frontend.lmp.layout import LEVEL
from lampc.frontend.lmp.operands import OPERATORS
from lampc.ir import Choice, CompileError, Diagnostic, Label, ListOf, Maybe, Op, Record, Sampling, Scalar, Type
from lampc.ir.adapters import ADAPTERS as _ADAPTERS
from lampc.ir.adapters.arranged import base_of
from lampc.ir.builtins import BUILTINS


@dataclass(slots=True)
class Part:
    """A region as statements, and the texts of what it yields."""

    lines: list[str] = field(default_factory=list)
    gives: list[str] = field(default_factory=list)
    level: int = 0


_SIGNS = {fn: sign for sign, fn in OPERATORS.items()}


class NotSayable(CompileError):
    """A module holds something that `.lmp` has no words for; L0620 says what and where."""

    def __init__(self, what: str, op: Op | None = None) -> None:
        span = op.loc.origin() if op is not None else None
        help = "the program runs and can be saved as `.lir`; only as `.lmp` it cannot be written"
        super().__init__([Diagnostic("L0620", f"`.lmp` cannot say {what}", Label(span) if span else None, help=help)])


def identifier(name: str) -> str:
    """`name`, if it can be one in `.lmp`. Raises NotSayable."""
    if not literals.WORD.match(name) or name in literals.RESERVED:
        raise NotSayable(f"the name {name!r}")
    return name


def type_text(t: Type, inside: bool = False) -> str:
    """A type as `.lmp` writes it. Raises NotSayable."""
    match t:
        case Scalar(kind):
            return kind
        case ListOf(item):
            return f"list[{type_text(item)}]"
        case Maybe(item):
            return type_text(item, True) + "?"
        case Record(host=host) | Choice(host=host) if host:
            raise NotSayable(f"the Python class {host}")
        case Record(fields):
            return "{" + ", ".join(f"{identifier(n)}: {type_text(f)}" for n, f in fields) + "}"
        case Choice(options) if options:
            text = " | ".join(map(literals.quote, options))
            return f"({text})" if inside and len(options) > 1 else text
    raise NotSayable(f"the type {t}")


def operator_text(fn: str, operands: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """A built-in function of operands (text, level) as an operator or a call, and its level."""
    if fn in _SIGNS and len(operands) == 2:
        sign = _SIGNS[fn]
        own = LEVEL[sign]
        chains = own <= 2
        left_least = 9 if sign == "**" else own + (own == 4 or chains)
        right_least = 7 if sign == "**" else own if chains else own + 1
        (a, a_level), (b, b_level) = operands
        return f"{paren(a, a_level, left_least)} {sign} {paren(b, b_level, right_least)}", own
    if fn in ("not", "neg") and len(operands) == 1:
        ((text, level),) = operands
        own = 3 if fn == "not" else 7
        return ("not " if fn == "not" else "-") + paren(text, level, own), own
    if fn == "index":
        (seq, level), (i, _) = operands
        return f"{paren(seq, level, 10)}[{i}]", 10
    if fn == "slice":
        (seq, level), *ends = operands
        return f"{paren(seq, level, 10)}[{':'.join('' if e == 'null' else e for e, _ in ends)}]", 10
    if fn not in BUILTINS:
        raise NotSayable(f"the built-in function `{fn}`")
    return f"{fn}({', '.join(t for t, _ in operands)})", 10


def sampling_text(sampling: Sampling) -> str:
    """`@sample(...)` with what differs from the default, "" if nothing does."""
    plain = Sampling()
    parts = []
    for name in Sampling.__dataclass_fields__:
        value = getattr(sampling, name)
        if name == "extra" and value:
            raise NotSayable(f"options of an endpoint, {value}")
        if value != getattr(plain, name) and name != "firm":
            parts.append(f"{name}: {literals.show(list(value) if isinstance(value, tuple) else value)}")
    return f" @sample({', '.join(parts)})" if parts else ""


def layout_text(layout: str) -> str:
    """`@layout(...)`, "" for the default; its order stands in the signature."""
    layout = base_of(layout)
    if layout not in _ADAPTERS:
        raise NotSayable(f"the layout {layout!r}")
    return "" if layout == "compact" else f" @layout({layout})"


def record_text(names: Sequence[str], texts: Sequence[str]) -> str:
    """`(a: x, b: y)`."""
    return "(" + ", ".join(f"{identifier(n)}: {t}" for n, t in zip(names, texts, strict=True)) + ")"


def arm_text(part: Part) -> str:
    """One arm of a match: an expression if it is one."""
    if not part.lines and len(part.gives) == 1:
        return f"{part.gives[0]};"
    return block_text(part)


def block_text(part: Part) -> str:
    end = [f"yield {', '.join(part.gives)};"] if part.gives else []
    return "{ " + " ".join([*part.lines, *end]) + " }"


def if_text(test: str, then: Part, orelse: Part) -> str:
    """`if c then a else b` where both sides are expressions, else with blocks."""
    if not then.lines and not orelse.lines and len(then.gives) == len(orelse.gives) == 1:
        return f"if {test} then {then.gives[0]} else {orelse.gives[0]}"
    other = f" else {block_text(orelse)}" if orelse.lines or orelse.gives else ""
    return f"if {test} {block_text(then)}{other}"


def paren(text: str, level: int, least: int) -> str:
    """`text`, in parentheses if it holds together less tightly than `least`."""
    return f"({text})" if level < least else text
