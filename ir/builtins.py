"""Built-in functions of `prog.apply`: one table of (arity, type rule, implementation).

Both frontends lower operators and library calls to these names; the interpreter, the executor and
constant folding run the same implementations, so a program means the same everywhere.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.ir.types import ANY, BOOL, FLOAT, INT, NONE, STR, Choice, ListOf, MapOf, Record, Type, join


class BuiltinError(Exception):
    """A built-in function was given values it cannot work on; the message says which."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """`arity` is (least, most); `rule` maps operand types to the result type."""

    name: str
    arity: tuple[int, int]
    rule: Callable[[Sequence[Type]], Type]
    run: Callable[..., Any]
    doc: str


BUILTINS: dict[str, Builtin] = {}


def _add(name: str, arity: int | tuple[int, int], rule: Any, run: Callable[..., Any], doc: str) -> None:
    bounds = (arity, arity) if isinstance(arity, int) else arity
    BUILTINS[name] = Builtin(name, bounds, rule if callable(rule) else lambda _: rule, run, doc)


def _numeric(types: Sequence[Type]) -> Type:
    return INT if all(t in (INT, BOOL) for t in types) else FLOAT if ANY not in types else ANY


def _plus(types: Sequence[Type]) -> Type:
    a, b = types
    if isinstance(a, ListOf) or isinstance(b, ListOf):
        return join([a, b])
    if any(t == STR or isinstance(t, Choice) for t in types):
        return STR
    return _numeric(types)


def _times(types: Sequence[Type]) -> Type:
    repeated = next((t for t in types if isinstance(t, ListOf | Choice) or t == STR), None)
    if repeated is None:
        return _numeric(types)
    return repeated if isinstance(repeated, ListOf) else STR


def _rounded(types: Sequence[Type]) -> Type:
    return INT if types[0] in (INT, FLOAT, BOOL) and all(t == NONE for t in types[1:]) else _numeric(types[:1])


def _in_order(types: Sequence[Type]) -> Type:
    t = types[0]
    return ListOf(STR) if t == STR or isinstance(t, Choice | Record | MapOf) else t


def _item(types: Sequence[Type]) -> Type:
    t = types[0]
    return t.item if isinstance(t, ListOf) else STR if t == STR else ANY


def _same(types: Sequence[Type]) -> Type:
    return types[0]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def _normalize(value: Any) -> str:
    kept = re.sub(r"[^\w\s]", "", _text(value).lower())
    return " ".join(w for w in kept.split() if w not in ("a", "an", "the"))


def _f1(gold: Any, pred: Any) -> float:
    a, b = _normalize(gold).split(), _normalize(pred).split()
    if not a or not b:
        return float(a == b)
    common = sum(min(a.count(w), b.count(w)) for w in set(a))
    return 2 * common / (len(a) + len(b))


def _index(seq: Any, i: Any) -> Any:
    return seq[i]


_MOST_BITS = 14_000
"""Of a whole number: about the 4,300 digits that Python writes."""
_MOST_ITEMS = 10_000_000


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and b > 0 and (a.bit_length() - 1) * b > _MOST_BITS:
        raise ValueError("the result is too large")
    value = operator.pow(a, b)
    if isinstance(value, complex):
        raise ValueError("a root of a negative number")
    return value


def _range(*bounds: Any) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > _MOST_ITEMS:
        raise ValueError("too many numbers")
    return list(numbers)


def _join(sep: str, items: Sequence[Any]) -> str:
    return sep.join(_text(i) for i in items)


def _numbered(records: Sequence[Any]) -> dict[str, Any]:
    return {f"{name}_{i}": value for i, record in enumerate(records) for name, value in record.items()}


def _blocks(record: Any, layout: str) -> str:
    from lampc.ir.adapters.blocks import blocks  # adapters stand above this file

    return blocks(record, layout)


def _best(rewards: Sequence[Any], bound: Any) -> int:
    """Null rewards are those of attempts that failed."""
    there = [i for i, r in enumerate(rewards) if r is not None]
    if not there:
        raise ValueError("every attempt failed")
    reached = (i for i in there if bound is not None and rewards[i] >= bound)
    return next(reached, max(there, key=lambda i: (rewards[i], -i)))


_add("add", 2, _plus, operator.add, "sum; concatenation of strings and of lists")
_add("sub", 2, _numeric, operator.sub, "difference")
_add("mul", 2, _times, operator.mul, "product")
_add("div", 2, FLOAT, operator.truediv, "quotient, a float")
_add("mod", 2, _numeric, operator.mod, "remainder, with the sign of the divisor")
_add("floordiv", 2, _numeric, operator.floordiv, "quotient rounded down")
_add("pow", 2, _numeric, _power, "power")
_add("neg", 1, _numeric, operator.neg, "negation")
_add("eq", 2, BOOL, operator.eq, "equality")
_add("ne", 2, BOOL, operator.ne, "inequality")
_add("lt", 2, BOOL, operator.lt, "less than")
_add("le", 2, BOOL, operator.le, "less than or equal")
_add("gt", 2, BOOL, operator.gt, "greater than")
_add("ge", 2, BOOL, operator.ge, "greater than or equal")
_add("and", 2, BOOL, lambda a, b: bool(a) and bool(b), "both (no short cut: operands are values)")
_add("or", 2, BOOL, lambda a, b: bool(a) or bool(b), "either")
_add("not", 1, BOOL, operator.not_, "negation of a truth value")
_add("in", 2, BOOL, lambda a, b: a in b, "whether an item is in a list or a string in a string")
_add("index", 2, _item, _index, "item of a list or character of a string, from 0; negative from the end")
_add("slice", 3, _same, lambda s, a, b: s[a:b], "part of a list or string")
_add("len", 1, INT, len, "length")
_add("str", 1, STR, _text, "text of a value")
_add("int", 1, INT, int, "whole number of a text or number")
_add("float", 1, FLOAT, float, "number of a text or number")
_add("bool", 1, BOOL, bool, "truth value")
_add("lower", 1, STR, lambda s: s.lower(), "lower case")
_add("upper", 1, STR, lambda s: s.upper(), "upper case")
_add("strip", 1, STR, lambda s: s.strip(), "without white space at the ends")
_add("split", (1, 2), ListOf(STR), lambda s, *sep: s.split(*sep), "parts of a text")
_add("join", 2, STR, _join, "texts of a list, joined: join(separator, items)")
_add("concat", (0, 99), STR, lambda *a: "".join(_text(x) for x in a), "texts of all operands, joined")
_add("replace", 3, STR, lambda s, a, b: s.replace(a, b), "text with one part replaced by another")
_add("startswith", 2, BOOL, lambda s, p: s.startswith(p), "whether a text begins so")
_add("endswith", 2, BOOL, lambda s, p: s.endswith(p), "whether a text ends so")
_add("range", (1, 3), ListOf(INT), _range, "whole numbers from a start to an end")
_add("sum", 1, lambda t: _numeric([_item(t)]), sum, "sum of a list")
_add("min", (1, 9), _item, min, "least item")
_add("max", (1, 9), _item, max, "greatest item")
_add("sorted", 1, _in_order, sorted, "list in ascending order")
_add("reversed", 1, _same, lambda s: s[::-1], "list or string in reverse order")
_add("unique", 1, _same, lambda s: [x for i, x in enumerate(s) if x not in s[:i]], "list without repeats")
_add("count", 2, INT, lambda s, x: s.count(x), "how often an item is in a list")
_add("abs", 1, _numeric, abs, "absolute value")
_add("round", (1, 2), _rounded, round, "rounded number")
_add("pystr", 1, STR, str, "text of a value as Python's str() writes it")
_add("any", 1, BOOL, any, "whether some item is true")
_add("all", 1, BOOL, all, "whether every item is true")
_add("flatten", 1, lambda t: _item(t), lambda s: [x for part in s for x in part], "items of a list of lists")
_add("normalize", 1, STR, _normalize, "lower case, no punctuation, no articles, single spaces")
_add(
    "exact_match",
    2,
    FLOAT,
    lambda a, b: float(_normalize(a) == _normalize(b)),
    "1.0 if equal when normalized",
)
_add("f1", 2, FLOAT, _f1, "overlap of words: exact_match's softer relative (SQuAD's F1)")
_add("get", 3, lambda t: ANY, lambda d, k, default: d.get(k, default), "field of a record, or a default")
_add("coalesce", 2, lambda t: t[1], lambda a, b: b if a is None else a, "first value unless it is null")
_add(
    "zip",
    2,
    lambda t: ListOf(ANY),
    lambda a, b: [list(p) for p in zip(a, b, strict=False)],
    "pairs of two lists",
)
_add(
    "enumerate",
    1,
    lambda t: ListOf(ANY),
    lambda a: [[i, x] for i, x in enumerate(a)],
    "pairs of index and item",
)
_add("keys", 1, ListOf(STR), list, "names of the fields of a record, in order")
_add("values", 1, lambda t: ListOf(t[0].item if isinstance(t[0], MapOf) else ANY), lambda d: list(d.values()), "fields")
_add("items", 1, ListOf(ANY), lambda d: [[k, v] for k, v in d.items()], "pairs of name and field of a record")
_add("numbered", 1, lambda t: ANY, _numbered, "fields of records in one record, numbered: `a_0`, `b_0`, `a_1`, ...")
_add("blocks", 2, STR, _blocks, "fields of a record as a layout shows them to a model: blocks(record, layout)")
_add("best", 2, INT, _best, "index of the first reward that reaches a bound, else of the highest: best(rewards, bound)")


def result_type(name: str, types: Sequence[Type]) -> Type:
    """Type of `name` applied to operands of `types`; `any` for an unknown name (the verifier reports it)."""
    builtin = BUILTINS.get(name)
    if builtin is None or not builtin.arity[0] <= len(types) <= builtin.arity[1]:
        return ANY
    if any(isinstance(t, Record) for t in types) and name in ("add", "sub", "mul", "div", "neg"):
        return ANY
    return builtin.rule(types)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:60]
    except (ValueError, RecursionError):  # a number of too many digits, lists within lists
        return f"a large {type(value).__name__}"


def _holds_infinite(args: Sequence[Any]) -> bool:
    """Whether an operand or an item of one is infinite or no number: the user's Python may have made it."""
    parts = [x for a in args for x in (a if isinstance(a, list) else a.values() if isinstance(a, dict) else (a,))]
    return any(isinstance(x, float) and not math.isfinite(x) for x in parts)


def apply(name: str, args: Sequence[Any]) -> Any:
    """Run a built-in. Raises BuiltinError, naming the function and the values, if it cannot: also where Python's
    result would be infinite or no number, which data, inputs and outputs cannot hold."""
    try:
        value = BUILTINS[name].run(*args)
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise OverflowError
        if isinstance(value, float) and not math.isfinite(value) and not _holds_infinite(args):
            raise OverflowError if math.isinf(value) else ValueError("the result is not a number")
        return value
    except OverflowError:  # Python says it in a dozen ways
        shown = ", ".join(_shown(a) for a in args)
        raise BuiltinError(f"{name}({shown}): the result is too large") from None
    except KeyError as e:
        raise BuiltinError(f"{name}: no key {e}" if name in BUILTINS else f"no built-in function `{name}`") from None
    except Exception as e:
        shown = ", ".join(_shown(a) for a in args)
        raise BuiltinError(f"{name}({shown}): {e}") from e
