"""Tables of docs/language.md that are made from the declarations themselves."""

from __future__ import annotations

from lampc.frontend.lmp.attributes import ATTRIBUTES
from lampc.frontend.lmp.codes import CODES
from lampc.frontend.lmp.operands import OPERATORS
from lampc.ir.builtins import BUILTINS

_UNARY = {"not": "not x", "neg": "-x", "index": "x[i]", "slice": "x[a:b]"}
_OWN = {
    "vote": "most frequent item of a list; the earliest of those that tie",
    "argmax": "index of the largest item of a list; the earliest of those that tie",
}


def builtins_table() -> str:
    """Operators and built-in functions: how they are written, how many arguments they take, what they give."""
    signs = {fn: sign for sign, fn in OPERATORS.items()}
    rows = ["| written | arguments | gives |", "| --- | --- | --- |"]
    for name, builtin in BUILTINS.items():
        least, most = builtin.arity
        count = str(least) if least == most else f"{least} to {most}"
        written = f"`a {signs[name]} b`" if name in signs else f"`{_UNARY[name]}`" if name in _UNARY else f"`{name}`"
        rows.append(f"| {written} | {count} | {builtin.doc.replace('|', chr(92) + '|')} |")
    rows += [f"| `{name}` | 1 | {doc} |" for name, doc in _OWN.items()]
    return "\n".join(rows)


def attributes_table() -> str:
    """Attributes, where they may stand, and what they say."""
    rows = ["| attribute | stands behind | says |", "| --- | --- | --- |"]
    for name, (places, doc) in ATTRIBUTES.items():
        written, _, says = doc.partition("`: ") if doc.startswith("`") else (f"`@{name}", "", doc)
        rows.append(f"| {written}` | {', '.join(places)} | {says} |")
    return "\n".join(rows)


def codes_table() -> str:
    """Diagnostic codes and their titles."""
    rows = ["| code | means |", "| --- | --- |"]
    rows += [f"| {code} | {text.partition(chr(10))[0]} |" for code, text in CODES.items()]
    return "\n".join(rows)


TABLES = {"builtins": builtins_table, "attributes": attributes_table, "codes": codes_table}
"""Tables by the name in their `<!-- table: name -->` marks."""


def filled(text: str) -> str:
    """A document whose marked tables are made anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- table: {name} -->\n", f"<!-- end: {name} -->"
        head, _, rest = text.partition(start)
        _, _, tail = rest.partition(end)
        text = f"{head}{start}{table()}\n{end}{tail}"
    return text
