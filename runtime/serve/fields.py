"""Which field of a body an error of the engine is about: the engine has names of its own for what a body asks for."""

from __future__ import annotations

import re

from lampc.backend.options import OPTIONS
from lampc.runtime.serve.bodies import ChatBody, Generating, ToolChoice

KEPT = ("json_schema", "regex", "choice", "grammar")
"""Options of the engine of which one says what a text may be."""
_NAMES = {"stop_ids": "stop_token_ids", "allowed_ids": "allowed_token_ids", "bad_ids": "bad_words", "adapter": "model"}
_FIRST = re.compile(r"[a-z_]+")


def prompt_field(body: Generating) -> str:
    """Where a body has its prompt."""
    return "messages" if isinstance(body, ChatBody) else "prompt"


def kept_field(body: Generating) -> str | None:
    """The field that says what an answer's text may be; None if none does."""
    form = body.structured_outputs
    if form is not None:
        given = [name for name in KEPT if getattr(form, name) is not None]
        return f"structured_outputs.{'json' if given[0] == 'json_schema' else given[0]}" if given else None
    if not isinstance(body, ChatBody):
        return None
    answer = body.response_format
    if answer is not None and answer.type != "text":
        return "response_format.json_schema.schema" if answer.type == "json_schema" else "response_format"
    return "tools" if body.tool_choice == "required" or isinstance(body.tool_choice, ToolChoice) else None


def field_of(error: Exception, body: Generating) -> str | None:
    """The field that an error is about. The engine's messages about options begin with the option's name."""
    found = _FIRST.match(str(error))
    name = "" if found is None else found.group()
    if name in KEPT:
        return kept_field(body)
    if name == "prompt":
        return prompt_field(body)
    name = _NAMES.get(name, name) if name in OPTIONS else ""
    if name == "max_tokens" and isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        name = "max_completion_tokens"
    return name if name in type(body).model_fields else None
