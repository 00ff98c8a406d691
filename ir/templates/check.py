"""What a piece of a template may say: a list of allowed nodes, names, filters and tests. All else is a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from lampc.ir.templates.codes import Findings
from lampc.ir.templates.scan import Part, Token
from lampc.ir.types import ANY, ListOf, Maybe, Record, Type

if TYPE_CHECKING:
    from jinja2 import nodes


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILTERS = _words(
    "abs batch capitalize center count d default dictsort e escape first float forceescape format groupby indent int "
    "items join last length list lower map max min pprint reject rejectattr replace reverse round select selectattr "
    "slice sort string striptags sum title tojson trim truncate unique upper urlencode wordcount wordwrap"
)
TESTS = _words(
    "boolean defined divisibleby eq equalto even false filter float ge gt greaterthan in integer iterable le lower lt "
    "lessthan mapping ne none number odd sameas sequence string test true undefined upper == != > >= < <="
)
LARGEST = 10_000
"""Whole numbers in a template: a width or length beyond it would only fill the memory."""
_NAMED = {"map": FILTERS, "select": TESTS, "reject": TESTS, "selectattr": TESTS, "rejectattr": TESTS}
_SAME_ITEMS = ("sort", "list", "unique", "reverse", "select", "selectattr", "reject", "rejectattr")
_WORDS = {
    "Call": "a call",
    "Mul": "`*`",
    "Div": "`/`",
    "FloorDiv": "`//`",
    "Pow": "`**`",
    "Include": "`{% include %}`",
    "Import": "`{% import %}`",
    "FromImport": "`{% from %}`",
    "Assign": "`{% set %}`",
    "AssignBlock": "`{% set %}`",
    "Macro": "`{% macro %}`",
    "CallBlock": "`{% call %}`",
    "FilterBlock": "`{% filter %}`",
    "With": "`{% with %}`",
    "Block": "`{% block %}`",
    "Scope": "`{% with %}`",
    "ScopedEvalContextModifier": "`{% autoescape %}`",
}
_ALLOWED = _words(
    "Output TemplateData Name Const Getattr Getitem Filter Test Compare Operand And Or Not Concat Add Sub Mod Neg Pos "
    "If For CondExpr List Tuple Slice Keyword Pair Dict"
)
_OPERATORS = {"Mul": "*", "Div": "/", "FloorDiv": "//", "Pow": "**"}


class Check:
    """Walks the tree of one piece. `names` are what a template sees, with their types."""

    def __init__(self, part: Part, names: Mapping[str, Type], outputs: Iterable[str], findings: Findings) -> None:
        self.part, self.names, self.outputs, self.findings = part, names, frozenset(outputs), findings
        self.used: set[str] = set()
        self._line0 = findings.source.text.count("\n", 0, part.at)
        self._told: set[int] = set()

    def walk(self, node: nodes.Node, scope: Mapping[str, Type]) -> Type:
        """Check a node and all below it; gives the type of an expression as far as it is known."""
        kind = type(node).__name__
        if kind not in _ALLOWED:
            self._refuse(node, kind)
            return ANY
        match kind:
            case "Name":
                return self._name(node, scope)
            case "Const":
                self._const(node)
                return ANY
            case "Getattr" | "Getitem":
                return self._member(node, kind, scope)
            case "Filter" | "Test":
                return self._applied(node, kind, scope)
            case "For":
                self._loop(node, scope)
                return ANY
        for child in node.iter_child_nodes():
            self.walk(child, scope)
        return ANY

    def _name(self, node: Any, scope: Mapping[str, Type]) -> Type:
        name = str(node.name)
        if name in scope:
            return scope[name]
        if name in self.names:
            self.used.add(name)
            return self.names[name]
        if name in self.findings.refused:
            return ANY
        at = self._place(name, node.lineno)
        if name in self.outputs:
            why = f"`{name}` is an output: it is known only once the model has answered"
            self.findings.add("L0954", why, at, len(name), "a template may show inputs, `instruction` and `demos`")
            return ANY
        known = [*scope, *self.names]
        near = get_close_matches(name, known, 1)
        help_ = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"
        self.findings.add("L0954", f"there is no `{name}`", at, len(name), help_)
        return ANY

    def _const(self, node: Any) -> None:
        if isinstance(node.value, int) and not isinstance(node.value, bool) and abs(node.value) > LARGEST:
            at = self._place(str(abs(node.value)), node.lineno)
            self.findings.add(
                "L0953",
                f"{node.value} is larger than {LARGEST:,}",
                at,
                len(str(node.value)),
                "widths and lengths are small",
            )

    def _member(self, node: Any, kind: str, scope: Mapping[str, Type]) -> Type:
        found = _some(self.walk(node.node, scope))
        if kind == "Getattr":
            key: Any = node.attr
        else:
            self.walk(node.arg, scope)
            key = getattr(node.arg, "value", None)
        if isinstance(key, str) and key.startswith("_"):
            self.findings.add("L0953", f"`{key}` is private", self._place(key, node.lineno), len(key))
        elif isinstance(found, Record) and found.fields and isinstance(key, str):
            fields = dict(found.fields)
            if key not in fields:
                near = get_close_matches(key, fields, 1)
                help_ = f"did you mean `{near[0]}`?" if near else f"its fields are {', '.join(fields)}"
                self.findings.add("L0954", f"there is no field `{key}`", self._place(key, node.lineno), len(key), help_)
            return fields.get(key, ANY)
        elif isinstance(found, ListOf) and not isinstance(key, str):
            return found if type(node.arg).__name__ == "Slice" else found.item
        return ANY

    def _applied(self, node: Any, kind: str, scope: Mapping[str, Type]) -> Type:
        known, what = (FILTERS, "filter") if kind == "Filter" else (TESTS, "test")
        if node.name not in known:
            self._unknown(str(node.name), what, known, node.lineno)
        if node.name in _NAMED and node.args:
            first = node.args[1 if node.name in ("selectattr", "rejectattr") and len(node.args) > 1 else 0]
            name = getattr(first, "value", None)
            if not (node.name in ("selectattr", "rejectattr") and len(node.args) < 2) and name not in _NAMED[node.name]:
                self._unknown(str(name), "filter" if node.name == "map" else "test", _NAMED[node.name], node.lineno)
        if node.node is None:
            return ANY
        found = self.walk(node.node, scope)
        for child in (*node.args, *node.kwargs):
            self.walk(child, scope)
        if node.name in _SAME_ITEMS:
            return found
        inner = _some(found)
        return inner.item if node.name in ("first", "last") and isinstance(inner, ListOf) else ANY

    def _unknown(self, name: str, what: str, known: Iterable[str], line: int) -> None:
        from lampc.ir.templates.scan import environment

        theirs = environment().filters if what == "filter" else environment().tests
        near = get_close_matches(name, known, 1)
        if name in theirs:
            message, help_ = (
                f"{what} `{name}` has no translation",
                "a prompt is text that follows from the row alone",
            )
        else:
            message, help_ = f"there is no {what} `{name}`", f"did you mean `{near[0]}`?" if near else ""
        self.findings.add("L0955", message, self._place(name, line), len(name), help_)

    def _loop(self, node: Any, scope: Mapping[str, Type]) -> None:
        if node.recursive:
            at = self._place("recursive", node.lineno)
            self.findings.add("L0953", "a recursive loop has no translation", at, len("recursive"))
        found = _some(self.walk(node.iter, scope))
        item = found.item if isinstance(found, ListOf) else ANY
        inner = {**scope, **_targets(node.target, item), "loop": ANY}
        if node.test is not None:
            self.walk(node.test, inner)
        for child in node.body:
            self.walk(child, inner)
        for child in node.else_:
            self.walk(child, scope)

    def _refuse(self, node: Any, kind: str) -> None:
        what = _WORDS.get(kind, f"`{kind}`")
        if kind == "Call":
            name = getattr(node.node, "attr", None) or getattr(node.node, "name", None) or "("
            at, help_ = self._place(str(name), node.lineno, "("), ""
            if getattr(node.node, "attr", None) in FILTERS:
                help_ = f"use the filter: {{{{ ... | {name} }}}}"
            self.findings.add("L0953", f"a call of `{name}` has no translation", at, len(str(name)), help_)
        elif kind in _OPERATORS:
            self.findings.add("L0953", f"{what} has no translation", self._place(_OPERATORS[kind], node.lineno), 1)
        else:
            word = what.strip("`{}% ")
            self.findings.refused |= {str(n.name) for n in node.find_all(_name_class())}
            self.findings.add("L0952", f"{what} has no translation", self._place(word, node.lineno), len(word))

    def _place(self, text: str, line: int, after: str = "") -> int:
        """Offset of the first token of that text on or after a line of the piece, not told of before."""
        stream = [t for t in self.part.tokens if t.kind != "whitespace"]
        source = self.findings.source.text
        wanted = self._line0 + line
        for i, token in enumerate(stream):
            if token.text.strip("\"'") != text or token.at in self._told:
                continue
            if after and (i + 1 == len(stream) or stream[i + 1].text != after):
                continue
            if source.count("\n", 0, token.at) + 1 >= wanted:
                self._told.add(token.at)
                return token.at
        return self._first_on(stream, wanted)

    def _first_on(self, stream: list[Token], line: int) -> int:
        source = self.findings.source.text
        return next((t.at for t in stream if source.count("\n", 0, t.at) + 1 >= line), self.part.at)


def _name_class() -> type[nodes.Name]:
    from jinja2.nodes import Name

    return Name


def _some(found: Type) -> Type:
    return found.item if isinstance(found, Maybe) else found


def _targets(node: Any, item: Type) -> dict[str, Type]:
    if type(node).__name__ == "Name":
        return {str(node.name): item}
    return {n: t for child in node.items for n, t in _targets(child, ANY).items()}
