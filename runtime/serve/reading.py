"""Bodies of requests read: an error names the place in the body that is wrong, and what is wanted there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from lampc.runtime.serve.bodies import FUNCTION_NAME, TOKEN_KEY, Body, TextPart
from lampc.runtime.serve.problems import Problem

B = TypeVar("B", bound=Body)
SHOWN = 40
"""Characters of a key that an error shows."""
_MEANT = ("<text>", "<list>", "<object>", "<bool>", "<ids>", "<lists>")
"""Names that bodies give to types a value may be meant to be of."""
_WANTED = {
    TOKEN_KEY: "keys are token ids, texts of digits alone",
    FUNCTION_NAME: "give 1 to 64 letters, digits, '_', '.' or '-'",
}


def read_body(kind: type[B], text: bytes) -> B:
    """The body of a request. Raises Problem that names the field and what is wrong with it."""
    try:
        return kind.model_validate_json(text or b"null")
    except ValidationError as e:
        errors = e.errors(include_url=False, include_input=False)
    first = next((x for x in errors if x["type"] == "extra_forbidden"), errors[0])  # a misspelt field is missing, too
    loc = first["loc"]
    where = place(loc)
    if not where:
        raise Problem(400, f"the body is no JSON object as wanted: {first['msg']}", code="invalid_json")
    if first["type"] == "extra_forbidden":
        raise Problem(400, f"there is no field {where!r}; {_hint(kind, loc)}", param=where, code="unknown_field")
    said = "it is missing" if first["type"] == "missing" else first["msg"]
    wanted = _WANTED.get(first.get("ctx", {}).get("pattern", ""), said)
    raise Problem(400, f"{where}: {wanted}", param=where, code="invalid_value")


def place(loc: Sequence[int | str]) -> str:
    """A place in a body as programs write it: `messages[0].content[1].text`. What pydantic has between the names of a
    place, the type that a value was meant to be and that a key is wrong, is left out."""
    if len(loc) > 2 and loc[-1] == "[key]":
        loc = loc[:-1]
    out = ""
    for part in loc:
        if isinstance(part, int):
            out += f"[{part}]"
        elif part.isidentifier() and len(part) <= SHOWN:
            out += f".{part}" if out else part
        elif part not in _MEANT:
            short = part if len(part) <= SHOWN else f"{part[:SHOWN]}..."
            out += f"[{json.dumps(short)}]"
    return out


def _hint(kind: type[Body], loc: Sequence[int | str]) -> str:
    """What there is in the place of a field that there is not."""
    for part in loc[:-1]:
        field = next((f for n, f in kind.model_fields.items() if part == (f.alias or n)), None)
        kind = next(_bodies(field.annotation), kind) if field is not None else kind
    if kind is TextPart:
        return 'this model reads texts alone; give {"type": "text", "text": ...}'
    names = [f.alias or n for n, f in kind.model_fields.items()]
    close = get_close_matches(str(loc[-1]), names, 1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"


def _bodies(annotation: Any) -> Iterator[type[Body]]:
    """The bodies that a type is made of, the outermost first."""
    if isinstance(annotation, type) and issubclass(annotation, Body):
        yield annotation
    for inner in get_args(annotation):
        yield from _bodies(inner)
