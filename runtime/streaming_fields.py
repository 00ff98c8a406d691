"""One output field out of an answer that is still being written, for the layouts whose marks are known.

`partial` looks at the text so far and gives what is sure of the field's value: nothing that a mark still being
written could take back, no white space that the parser would strip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from lampc.ir.adapters.arranged import base_of

_HEADER_BEGINS = re.compile(r"\s*(\[(\[( (#(#( [^\n]*)?)?)?)?)?)?\Z")
_ESCAPE = re.compile(
    r"\\(u[0-9a-fA-F]{0,3})?\Z|[\ud800-\udbff]\Z|\\u[dD][89abAB][0-9a-fA-F]{2}(\\(u[0-9a-fA-F]{0,3})?)?\Z"
)
FAMILIES = {"chat": "chat", "json": "json", "baml": "json", "xml": "xml", "compact": "compact"}
"""Layouts whose fields can be streamed, by how their answers are marked."""


def family(layout: str) -> str | None:
    """How a layout marks fields, or None if it has no marks to look for; strict forms mark as their layout."""
    layout = base_of(layout)
    return next((f for name, f in FAMILIES.items() if layout == name or layout.startswith(f"{name}-")), None)


class FieldPieces:
    """Takes an answer piece by piece; gives the pieces of one field. Joined, they are its text."""

    def __init__(self, layout: str, field: str, outputs: Sequence[str]) -> None:
        kind = family(layout)
        if kind is None:
            raise ValueError(f"the layout `{layout}` has no marks by which a field could be streamed")
        self.kind, self.field, self.outputs = kind, field, tuple(outputs)
        self.text = ""
        self.shown = 0
        self.done = False

    def push(self, piece: str) -> str:
        """Text of the field that is sure now; `done` once it has ended."""
        self.text += piece
        return self._fresh(False)

    def end(self) -> str:
        """What is left when the answer is complete."""
        return self._fresh(True)

    def _fresh(self, whole: bool) -> str:
        if self.done:
            return ""
        value, self.done = partial(self.kind, self.text, self.field, self.outputs, whole)
        self.done = self.done or whole
        fresh, self.shown = value[self.shown :], max(self.shown, len(value))
        return fresh


def partial(kind: str, text: str, field: str, outputs: Sequence[str], whole: bool) -> tuple[str, bool]:
    """(value so far, whether it is complete) of a field in an answer, of which `whole` says if it is all there."""
    if kind == "chat":
        return _chat(text, field, whole)
    if kind == "xml":
        return _xml(text, field, whole)
    if kind == "json":
        return _json(text, field)
    return _compact(text, field, outputs, whole)


def _chat(text: str, field: str, whole: bool) -> tuple[str, bool]:
    begin = re.search(rf"^\[\[ ## {re.escape(field)} ## \]\]", text, re.M)
    if begin is None:
        return "", False
    rest = text[begin.end() :].lstrip()
    following = re.search(r"^\[\[ ## \w+ ## \]\]", rest, re.M)
    if following is not None:
        return rest[: following.start()].rstrip(), True
    return (rest.rstrip(), True) if whole else (_HEADER_BEGINS.sub("", rest), False)


def _xml(text: str, field: str, whole: bool) -> tuple[str, bool]:
    begin, close = text.find(f"<{field}>"), f"</{field}>"
    if begin < 0:
        return "", False
    rest = text[begin + len(field) + 2 :].lstrip()
    end = rest.find(close)
    if end >= 0 or whole:
        return _unescaped(rest[:end] if end >= 0 else rest).rstrip(), True
    for n in range(min(len(close), len(rest)), 0, -1):
        if rest.endswith(close[:n]):
            rest = rest[:-n]
            break
    return _unescaped(re.sub(r"&[a-z]{0,4}\Z", "", rest)).rstrip(), False


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _json(text: str, field: str) -> tuple[str, bool]:
    begin = re.search(rf'[{{,]\s*"{re.escape(field)}"\s*:\s*', text)
    if begin is None:
        return "", False
    rest = text[begin.end() :]
    if not rest.startswith('"'):
        return _json_value(rest)
    end = re.match(r'"(?:[^"\\]|\\.)*"', rest, re.S)
    inner = rest[1 : end.end() - 1] if end is not None else _ESCAPE.sub("", rest[1:])
    try:
        return str(json.loads(f'"{inner}"', strict=False)), end is not None
    except ValueError:
        return "", False


def _json_value(rest: str) -> tuple[str, bool]:
    """A number, list or object, raw: up to the comma or brace that ends it."""
    depth, quoted, escaped = 0, False, False
    for i, c in enumerate(rest):
        if quoted:
            quoted, escaped = escaped or c != '"', not escaped and c == "\\"
        elif c == '"':
            quoted = True
        elif c in "[{":
            depth += 1
        elif c in "]}" or c == ",":
            if depth == 0:
                return rest[:i].rstrip(), True
            depth -= c != ","
    return rest.rstrip(), False


def _compact(text: str, field: str, outputs: Sequence[str], whole: bool) -> tuple[str, bool]:
    begin = re.search(rf"^[ \t]*{re.escape(field)}:", text, re.M)
    mark = f"{field}:"
    if begin is None and (len(outputs) != 1 or (not whole and mark.startswith(text.lstrip()[: len(mark)]))):
        return "", False
    rest = text[begin.end() if begin is not None else 0 :].lstrip()  # the only field may stand without its name
    names = "|".join(re.escape(n) for n in outputs if n != field)
    following = re.search(rf"^(?:{names}):", rest, re.M) if names else None
    if following is not None:
        return rest[: following.start()].rstrip(), True
    if whole:
        return rest.rstrip(), True
    line = rest.rfind("\n")
    held = line if line >= 0 and any(f"{n}:".startswith(rest[line + 1 :]) for n in outputs if n != field) else len(rest)
    return rest[:held].rstrip(), False
