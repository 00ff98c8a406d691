"""Pipelines as text: `inline{entry=main},cse,dce{definitions=true}`, read and written.

    pipeline = pass ("," pass)*             pass  = name ("{" (option ("," option)*)? "}")?
    option   = name "=" value               value = word | JSON string or number | "[" (value ("," value)*)? "]"

A word is `true`, `false`, `none` or a string without quotes. Which values an option takes is said by the
type of the pass's field.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

from lampc.ir.diag import CompileError, Diagnostic, Label, Source, explain
from lampc.ir.loc import Span
from lampc.passes.table import UnknownPass, load

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_OPTION = re.compile(r"[a-z_][a-z0-9_]*")
_WORD = re.compile(r"[A-Za-z_@][\w.@:/+-]*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?(?![\w.])")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CONSTANTS = {"true": True, "false": False, "none": None}

explain(
    {
        "L0921": "a pipeline does not parse\nA pipeline is a list of passes, each with its options in braces: "
        "`inline,cse,dce{definitions=true}`. The caret stands where the text stops making sense.",
        "L0922": "a pass or option is unknown, or its value is of the wrong type\nPasses and their options are listed "
        "by `lampc opt --list`. A string needs quotes if it holds other "
        "characters than letters, digits and `_.@:/+-`.",
    }
)


def read_pipeline(text: str) -> tuple[Any, ...]:
    """The passes that `text` names. Raises CompileError (L0921 syntax, L0922 unknown pass, option or value)."""
    return _Reader(text).pipeline()


def write_pass(item: Any) -> str:
    """Text of one pass; options equal to their default are left out."""
    shown = []
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if f.default is dataclasses.MISSING or value != f.default:
            shown.append(f"{f.name}={_write(value)}")
    return f"{item.name}{{{','.join(shown)}}}" if shown else f"{item.name}"


def options(cls: type) -> list[tuple[str, Any, Any]]:
    """(name, type, default) of each option of a pass."""
    hints = get_type_hints(cls)
    return [(f.name, hints[f.name], f.default) for f in dataclasses.fields(cls)]


def _write(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, str) and (not _WORD.fullmatch(value) or value in _CONSTANTS):
        return json.dumps(value, ensure_ascii=False)
    return str(value) if isinstance(value, str) else repr(value)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, code: str, message: str, start: int, end: int = 0, help: str = "") -> NoReturn:
        span = Span("<pipeline>", 1, start + 1, 1, max(end, start + 1) + 1)
        found = Diagnostic(code, message, Label(span), help=help)
        raise CompileError([found], [Source("<pipeline>", self.text.replace("\n", " "))])

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, pattern: re.Pattern[str]) -> str | None:
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def eat(self, char: str) -> bool:
        self.skip()
        if self.text[self.at : self.at + 1] != char:
            return False
        self.at += 1
        return True

    def want(self, char: str, where: str) -> None:
        if not self.eat(char):
            self.fail("L0921", f"expected `{char}` {where}", self.at)

    def pipeline(self) -> tuple[Any, ...]:
        out = []
        self.skip()
        while self.at < len(self.text):
            out.append(self.one())
            self.skip()
            if self.at < len(self.text):
                self.want(",", "between two passes")
        return tuple(out)

    def one(self) -> Any:
        self.skip()
        start = self.at
        name = self.take(_NAME)
        if name is None:
            self.fail("L0921", "expected the name of a pass", self.at)
        try:
            cls = load(name)
        except UnknownPass as e:
            self.fail("L0922", str(e), start, self.at)
        values: dict[str, Any] = {}
        if self.eat("{"):
            known = {n: t for n, t, _ in options(cls)}
            while not self.eat("}"):
                if values:
                    self.want(",", "between two options")
                self.option(name, known, values)
        return cls(**values)

    def option(self, name: str, known: Mapping[str, Any], values: dict[str, Any]) -> None:
        self.skip()
        start = self.at
        key = self.take(_OPTION)
        if key is None:
            self.fail("L0921", "expected the name of an option or `}`", start)
        if key not in known:
            near = get_close_matches(key, known, 1)
            listed = f"its options: {', '.join(known)}" if known else "it takes none"
            hint = f"did you mean `{near[0]}`?" if near else listed
            self.fail("L0922", f"`{name}` has no option `{key}`", start, self.at, hint)
        if key in values:
            self.fail("L0922", f"option `{key}` is given twice", start, self.at)
        self.want("=", f"after option `{key}`")
        self.skip()
        start = self.at
        value = self.value()
        if not _fits(value, known[key]):
            shown = self.text[start : self.at]
            self.fail("L0922", f"option `{key}` is {_typed(known[key])}, got `{shown}`", start, self.at)
        values[key] = float(value) if known[key] is float else value

    def value(self) -> Any:
        if self.eat("["):
            items: list[Any] = []
            while not self.eat("]"):
                if items:
                    self.want(",", "between two items")
                items.append(self.value())
            return tuple(items)
        if text := self.take(_STRING):
            try:
                return json.loads(text)
            except ValueError:
                self.fail("L0921", "this string is not valid", self.at - len(text), self.at)
        if text := self.take(_NUMBER):
            return float(text) if any(c in text for c in ".eE") else int(text)
        if text := self.take(_WORD):
            return _CONSTANTS.get(text, text)
        self.fail("L0921", "expected a value", self.at)


def _fits(value: Any, wanted: Any) -> bool:
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if args[-1] is Ellipsis:
            return all(_fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(_fits, value, args))
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in args)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)


def _typed(wanted: Any) -> str:
    """The type of an option in words."""
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is tuple and args[-1] is Ellipsis:
        return f"a list of {_typed(args[0])}"
    if origin is tuple:
        return "[" + ", ".join(map(_typed, args)) + "]"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_typed, args))
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}.get(wanted, "none")
