"""Answers whose form is slightly off, read as they are meant.

First whatever reads the layout's own form strictly; then, field by field, each form that models are known to fall
into: the layout's markers misspelled, one JSON object, elements, `name: value` lines, and, of a signature with a single
output, the whole text. A field's text may hold its value inside a fence or behind a few words. What is still no value
of the field is a ParseFailure that names the field and says what was expected.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lampc.ir.adapters.base import ParseFailure
from lampc.ir.adapters.lax import Unfit, resolved
from lampc.ir.adapters.meant import WRAPPINGS, denies, folded
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
        found: dict[str, Any] | None = strict(signature, text)
    except ParseFailure:
        if len(text) > _MOST:
            raise
        found = None
    if found is None:
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
    refused: str | None = None
    for candidate in _candidates(field, signature, text):
        try:
            return value_in(candidate, field)
        except Unfit as e:
            refused = str(e) if refused is None else refused
    raise Unfit(refused) if refused is not None else LookupError(field.name)


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
            (k for k in holder if folded(str(k)) == folded(field.name)), None
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
        name = next(n for n in spelt if folded(n) == folded(head.group(1)))
        out.setdefault(name, text[head.end() : end].strip())
    return out


def _spellings(name: str) -> list[str]:
    """Patterns of a name: with spaces or hyphens where it has underscores."""
    return [re.escape(name).replace("_", r"[_\-\s]?")]


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
        refused = str(e)
    schema = json_schema(field)
    for form in _forms(candidate, schema):
        made = _mended(form, field, schema)
        if made is not None:
            return made[0]
    raise Unfit(refused)


def _mended(form: Any, field: Field, schema: Mapping[str, Any]) -> tuple[Any] | None:
    """The value that a reading mends to, if it does."""
    try:
        made = settled(mend(form, schema), field.type)
    except ValueError:  # Unfit, or what the user's class says
        return None
    return (made,) if unwritable(made, field.name) is None else None


def _forms(candidate: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Readings of a candidate. A text that is data, or holds some where data is wanted, is nothing else; other texts
    are read whole, then without what stands around a value."""
    if not isinstance(candidate, str):
        yield candidate
        return
    inside = {m.strip() for m in _FENCE.findall(candidate)[:4]}
    text = inside.pop() if len(inside) == 1 else candidate.strip()
    data = data_in(text, schema)
    if data is not None:
        yield data
        return
    yield text
    if _kinds(schema) & {"array", "object"}:
        return
    bare = text.strip("`*_\"' \n")
    yield bare
    lead = _LEAD.match(bare)
    if lead and not denies(lead.group()) and not re.search(r"\d", lead.group()):
        yield bare[lead.end() :]
    first, *others = [line.strip(WRAPPINGS) for line in bare.splitlines() if line.strip()] or [""]
    if others and len(first) < 60 and not any(_alone(line, schema) for line in others) and _alone(first, schema):
        yield first


def data_in(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON that a text is, or holds if a list or an object is wanted; a quoted text is that text; else None."""
    wanted = _kinds(schema) & {"array", "object"}
    several = _several(text)
    if several is not None and "array" in wanted:
        return several
    if text[:1] in ('"', "'") and len(text) > 1 and text[-1] == text[0] and text[0] not in text[1:-1]:
        return text[1:-1]
    if text[:1] in ("[", "{") or wanted:
        made = repaired(text)
        if isinstance(made, list | dict):
            return made
    return None


def _several(text: str) -> list[Any] | None:
    """JSON values that stand one after another; None if there are fewer than two, or something else."""
    decoder, out, at = json.JSONDecoder(), [], 0
    if text[:1] not in ("{", "[", '"') or len(text) > _MOST:
        return None
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            out.append(value)
            at = len(text) - len(text[at:].lstrip(", \t\n"))
    except (ValueError, RecursionError):
        return None
    return out if len(out) > 1 else None


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a schema takes."""
    defs = schema.get("$defs", {})
    made = resolved(schema, defs)
    return {str(resolved(c, defs).get("type")) for c in made.get("anyOf") or made.get("oneOf") or [made]}


def _alone(line: str, schema: Mapping[str, Any]) -> bool:
    """Whether a line is a value and nothing else."""
    schema = resolved(schema, schema.get("$defs", {}))
    options = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if options:
        return folded(line) in {folded(str(o)) for o in options}
    if schema.get("type") == "boolean":
        return line.lower() in ("true", "false", "yes", "no")
    return re.fullmatch(r"[-+$€£]?[\d,_]*\.?\d+", line) is not None
