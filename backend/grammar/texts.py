"""Grammars from what they mostly are: a JSON schema, a pattern, a few texts. All give the text of `Request.grammar`.

The terminal `LEAD` stands for what the tokenizer puts before a text, see `lampc.backend.grammar.vocabulary`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON in one way only, as `json.dumps` writes it: otherwise the model would have to decide about every space."""


def json_schema(schema: Mapping[str, Any] | bool | str) -> str:
    """JSON that a schema (or its text) takes, on one line, keys in the schema's order.

    Spaces are those of `json.dumps`, unless the schema says otherwise under "x-guidance", as llguidance reads it.
    Raises ValueError for what is no schema; what llguidance cannot do of one, `submit` says.
    """
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise ValueError(f"json_schema is not JSON: {error}") from None
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    if not isinstance(schema, Mapping):
        raise ValueError(f"json_schema is {schema!r:.80}; give a JSON schema, an object")
    try:
        text = json.dumps({"x-guidance": SPACES, **schema}, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"json_schema is not JSON: {error}") from None
    return f"start: LEAD %json {text}\n"


def regex(pattern: str) -> str:
    """Texts that a pattern takes as a whole, in the syntax of Rust's crate `regex`: no look-around, no references
    back, no flag x. Raises ValueError."""
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"regex is {pattern!r:.80}; give a pattern")
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", pattern, flags=re.DOTALL)  # no classes, nothing escaped
    if bare.endswith("\\"):
        raise ValueError(f"regex {pattern!r:.80} ends in a backslash that escapes nothing")
    if re.search(r"\(\?[a-zA-Z]*x", bare):
        raise ValueError(f"regex {pattern!r:.80} sets the flag x; write it without spaces and comments")
    from llguidance import regex_to_lark

    inner = regex_to_lark(pattern, use_ascii="").replace("\n", "\\n")
    return f"start: LEAD v\nv: /{inner}/\n"


def choice(options: Sequence[str]) -> str:
    """One of a few texts. Raises ValueError."""
    if isinstance(options, str) or not isinstance(options, Sequence) or not options:
        raise ValueError(f"choice is {options!r:.80}; give a list of texts")
    for i, option in enumerate(options):
        if not isinstance(option, str) or not option:
            raise ValueError(f"choice[{i}] is {option!r:.80}; give a text of at least one character")
    texts = " | ".join(json.dumps(o, ensure_ascii=False).replace("\x7f", r"\u007f") for o in dict.fromkeys(options))
    return f"start: LEAD ({texts})\n"
