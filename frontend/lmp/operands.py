"""What the operands of operators and built-in functions may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lampc.frontend.lmp.values import is_number, is_text
from lampc.ir import ANY, BOOL, NONE, Choice, ListOf, Maybe, Record, Type
from lampc.ir.builtins import BUILTINS
from lampc.ir.types import spelled

OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "**": "pow",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "in": "in", "and": "and", "or": "or",
}  # fmt: skip
"""Binary operators and the built-in functions that they are."""

_Test = Callable[[Type], bool]
_KINDS: dict[str, tuple[_Test, str]] = {
    "text": (is_text, "a text"),
    "number": (is_number, "a number"),
    "list": (lambda t: isinstance(t, ListOf), "a list"),
    "seq": (lambda t: isinstance(t, ListOf) or is_text(t), "a list or a text"),
    "sized": (lambda t: isinstance(t, ListOf | Record) or is_text(t), "a list or a text"),
    "record": (lambda t: isinstance(t, Record), "a record"),
    "truth": (lambda t: t == BOOL, "a truth value"),
    "place": (lambda t: is_number(t) or t == NONE, "a number"),
    "textual": (lambda t: is_text(t) or is_number(t), "a text or a number"),
}

_RULES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sub", "mul", "div", "mod", "floordiv", "pow"), ("number", "number")),
    **dict.fromkeys(("lower", "upper", "strip"), ("text",)),
    **dict.fromkeys(("startswith", "endswith", "split"), ("text", "text")),
    **dict.fromkeys(("sorted", "unique", "enumerate", "vote", "argmax"), ("list",)),
    **dict.fromkeys(("int", "float"), ("textual",)),
    "and": ("truth", "truth"), "or": ("truth", "truth"), "not": ("truth",), "neg": ("number",), "abs": ("number",),
    "index": ("seq", "number"), "slice": ("seq", "place", "place"), "len": ("sized",), "join": ("text", "list"),
    "replace": ("text", "text", "text"), "range": ("number", "number", "number"), "sum": ("list",),
    "reversed": ("seq",), "count": ("seq", ""), "round": ("number", "number"), "zip": ("list", "list"),
    "get": ("record", "text", ""),
}  # fmt: skip


def complaint(fn: str, types: Sequence[Type]) -> tuple[int, str] | None:
    """The first operand that `fn` cannot take, and why; None if all are fine. `any` fits everywhere."""
    for i, (kind, t) in enumerate(zip(_RULES.get(fn, ()), types, strict=False)):
        if kind and t != ANY and not _KINDS[kind][0](t):
            return i, f"expected {_KINDS[kind][1]}, got {spelled(t)}"
    if ANY in types:
        return None
    if fn == "add" and not (_all(types, is_number) or _all(types, is_text) or _all(types, _KINDS["list"][0])):
        return 1, f"{spelled(types[0])} and {spelled(types[1])} cannot be added"
    if fn in ("lt", "le", "gt", "ge") and not (_all(types, is_number) or _all(types, is_text)):
        return 1, f"{spelled(types[0])} and {spelled(types[1])} have no order"
    if fn == "in":
        return _membership(types)
    return None


def _all(types: Sequence[Type], test: _Test) -> bool:
    return all(test(t) for t in types)


def _membership(types: Sequence[Type]) -> tuple[int, str] | None:
    item, where = types
    if isinstance(where, ListOf):
        return None
    if not is_text(where):
        return 1, f"expected a list or a text, got {spelled(where)}"
    return None if is_text(item) else (0, f"expected a text, got {spelled(item)}")


def never_equal(a: Type, b: Type) -> bool:
    """Whether values of these types can never be equal."""
    if isinstance(a, Choice) and isinstance(b, Choice):
        return not set(a.options) & set(b.options)
    if ANY in (a, b) or isinstance(a, Maybe) or isinstance(b, Maybe) or NONE in (a, b):
        return False
    return is_text(a) != is_text(b) or is_number(a) != is_number(b)


def arity(fn: str) -> tuple[int, int]:
    """Least and most operands of a callable built-in."""
    return (1, 1) if fn in ("vote", "argmax") else BUILTINS[fn].arity
