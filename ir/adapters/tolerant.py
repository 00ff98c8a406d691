"""Answers whose form is slightly off, read as they are meant.

First whatever reads the layout's own form strictly; then, field by field, each form that models are known to fall
into: the layout's markers misspelled, one JSON object, elements, `name: value` lines, and, of a signature with a single
output, the whole text. A field's text may hold its value inside a fence or behind a few words. What is still no value
of the field is a ParseFailure that names the field and says what was expected.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.lax import Unfit
from lampc.ir.adapters.mend import mend
from lampc.ir.adapters.schema import json_schema
from lampc.ir.adapters.strict import accept, clean, embedded_object, finish, repaired
from lampc.ir.adapters.values import unwritable
from lampc.ir.adapters.xml_values import elements, value_of
from lampc.ir.content import Field, Signature
from lampc.ir.hostvalues import settled
from lampc.ir.types import STR, Maybe

Accept = Callable[[Signature, str], dict[str, Any]]
_NOTHING = ("None", "none", "null", "N/A")
_FENCE = re.compile(r"```[\w+-]*[^\S\n]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_LEAD = re.compile(r"\A[^:\n]{1,60}:\s+(?=\S)")
_MOST = 200_000
"""Characters of an answer that are searched for forms other than its own."""


def read_tolerantly(strict: Accept, signature: Signature, text: str) -> dict[str, Any]:
    """All outputs. Raises ParseFailure, with what could be read."""
    try:
        found = strict(signature, text)
        failure: ParseFailure | None = None
    except ParseFailure as e:
        found, failure = dict(e.partial), e
        if len(text) > _MOST:
            raise
    if failure is not None:
        found = {}
        for f in signature.outputs:
            try:
                found[f.name] = _field(f, signature, text)
            except Unfit as e:
                raise ParseFailure(f"output `{f.name}`: {e}", text, found) from None
            except LookupError:
                continue
        found = finish(signature, found, text)
    return _checked(signature, found, text)


def _checked(signature: Signature, found: dict[str, Any], text: str) -> dict[str, Any]:
    """Values that can be written, within the limits of their fields."""
    out: dict[str, Any] = {}
    for f in signature.outputs:
        value = clean(found[f.name])
        if value in _NOTHING and f.shape is None and f.type == Maybe(STR):
            value = None
        if f.limits and (why := f.misfit(value)):
            raise ParseFailure(f"output `{f.name}`: {why}", text, out)
        out[f.name] = value
    return out


def _field(field: Field, signature: Signature, text: str) -> Any:
    """The value of one output. Raises Unfit if none of its candidates is one, LookupError if there is none."""
    refused: Unfit | None = None
    for candidate in _candidates(field, signature, text):
        try:
            return value_in(candidate, field)
        except Unfit as e:
            refused = refused or e
    raise refused if refused is not None else LookupError(field.name)


def _candidates(field: Field, signature: Signature, text: str) -> Iterator[Any]:
    """What may stand for the field, the likeliest first: texts, or values of JSON."""
    marked = _parts(signature, text, _MARKER)
    if field.name in marked:
        yield marked[field.name]
    inner = _inside(field.name, text)
    if inner is not None:
        yield from _element_values(field, inner)
        yield inner.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    for holder in _objects(text):
        key = next((k for k in holder if k == field.name), None) or next(
            (k for k in holder if _folded(str(k)) == _folded(field.name)), None
        )
        if key is not None:
            yield holder[key]
    lines = _parts(signature, text, _LINE)
    if field.name in lines:
        yield lines[field.name]
    if len(signature.outputs) == 1 and not marked and inner is None and not lines:
        yield text


_MARKER = (
    r"^[^\S\n]*(?:[#*>-]+[^\S\n]*)?\[{{1,2}}[^\S\n]*#{{0,3}}[^\S\n]*({names})[^\S\n]*#{{0,3}}[^\S\n]*\]{{1,2}}[*:]*"
)
_LINE = (
    r"^[^\S\n]*(?:[#>-]+[^\S\n]+)?(?:\*\*|__|[\"'`])?({names})(?:\*\*|__|[\"'`])?[^\S\n]*(?::(?:\*\*|__)?|(?<=\*\*)$)"
)


def _parts(signature: Signature, text: str, pattern: str) -> dict[str, str]:
    """What stands under each output's head, up to the next head; the first of a name counts."""
    known = [f.name for f in (*signature.outputs, *signature.inputs)]
    spelt = {n: _spellings(n) for n in [*known, "completed"]}
    names = "|".join(sorted({s for all_ in spelt.values() for s in all_}, key=lambda s: (-len(s), s)))
    heads = list(re.finditer(pattern.format(names=names), text, re.MULTILINE | re.IGNORECASE))
    if not heads:
        return {}
    ends = [*(h.start() for h in heads[1:]), len(text)]
    out: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=True):
        name = next(n for n in spelt if _folded(n) == _folded(head.group(1)))
        out.setdefault(name, text[head.end() : end].strip())
    return out


def _spellings(name: str) -> list[str]:
    """Patterns of a name: with spaces or hyphens where it has underscores."""
    return [re.escape(name).replace("_", r"[_\-\s]?")]


def _folded(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _inside(name: str, text: str) -> str | None:
    """The inside of an element called `name`, closed or not."""
    start = re.search(rf"<{re.escape(name)}\s*>", text, re.IGNORECASE)
    if start is None:
        return None
    end = re.compile(rf"</{re.escape(name)}\s*>", re.IGNORECASE).search(text, start.end())
    return text[start.end() : end.start() if end else len(text)].strip()


def _element_values(field: Field, inner: str) -> Iterator[Any]:
    """What elements within an element say, by the schema of the field."""
    schema = json_schema(field)
    if "<" in inner or not inner:
        with contextlib.suppress(ValueError):
            found = elements(f"<value>{inner}</value>")["value"]
            yield value_of(found, schema, schema.get("$defs", {}))


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """JSON objects that the text may be or hold."""
    for piece in (text, *_FENCE.findall(text)[:4], embedded_object(text)):
        if piece is not None and "{" in piece:
            made = repaired(piece)
            if isinstance(made, list) and len(made) == 1:
                made = made[0]
            if isinstance(made, Mapping):
                yield made


# -- one value ----------------------------------------------------------------------------------------------


def value_in(candidate: Any, field: Field) -> Any:
    """A field's value out of its text or out of JSON. Raises Unfit."""
    try:
        return accept(candidate, field)
    except Unfit as e:
        refused = e
    schema = json_schema(field)
    for form in _forms(candidate):
        try:
            made = settled(mend(form, schema), field.type)
        except ValueError:  # Unfit, or what the user's class says
            continue
        if unwritable(made, field.name) is None:
            return made
    raise refused


def _forms(candidate: Any) -> Iterator[Any]:
    """Readings of a candidate, from the whole to what stands in a fence or behind a few words."""
    yield candidate
    if not isinstance(candidate, str):
        return
    inside = [m.strip() for m in _FENCE.findall(candidate)[:4]]
    for piece in (candidate, *inside):
        made = repaired(piece)
        if made != "":
            yield made
    yield from inside
    bare = candidate.strip().strip("`*_\"' \n")
    yield bare
    lead = _LEAD.match(bare)
    if lead:
        yield bare[lead.end() :]
    first, _, rest = bare.partition("\n")
    if rest.strip():
        yield first.strip("`*_\"' .")
