"""Which field of a body an error of the engine is about: the engine has names of its own for what a body asks for."""

from __future__ import annotations

import re

from lampc.backend.errors import ContextTooLong
from lampc.backend.grammar.compiled import schema_refused
from lampc.backend.options import OPTIONS
from lampc.runtime.serve.bodies import ChatBody, CompletionBody, Generating, ToolChoice
from lampc.runtime.serve.problems import Problem, problem_of

KEPT = ("json_schema", "regex", "choice", "grammar")
"""Options of the engine of which one says what a text may be."""
_NAMES = {"stop_ids": "stop_token_ids", "allowed_ids": "allowed_token_ids", "bad_ids": "bad_words", "adapter": "model"}
_PLACE = re.compile(r"([a-z_]+)(?:\[(\d+)\])?")


def prompt_field(body: Generating, index: int = 0) -> str:
    """Where a body has its prompt, or the one of this index."""
    if not isinstance(body, CompletionBody):
        return "messages"
    several = isinstance(body.prompt, list) and body.prompt and not isinstance(body.prompt[0], int)
    return f"prompt[{index}]" if several else "prompt"


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
    return _tool_field(body)


def _tool_field(body: ChatBody) -> str | None:
    """The parameters that a forced call's arguments are kept to; `tools` if it cannot be said of which function."""
    choice, tools = body.tool_choice, body.tools or []
    if isinstance(choice, ToolChoice):
        places = [i for i, t in enumerate(tools) if t.function.name == choice.function.name]
    elif choice == "required":
        places = list(range(len(tools)))
    else:
        return None
    if len(places) > 1:
        places = [i for i in places if schema_refused(tools[i].function.parameters or {})]
    return f"tools[{places[0]}].function.parameters" if places else "tools"


def engine_problem(error: Exception, body: Generating, prompt: int = 0) -> Problem:
    """What an error of the engine about a body's options, or about its prompt of this index, is to whoever asked. The
    engine's messages begin with the name of what they are about. Raises what is a bug of ours."""
    if isinstance(error, ContextTooLong):
        return problem_of(error, prompt_field(body, prompt))
    found = _PLACE.match(str(error))
    name, index = ("", None) if found is None else found.groups()
    field = _field(name, body, prompt)
    problem = problem_of(error, field)
    if found is None or field is None:
        return problem
    if name == "logit_bias" and index is not None:
        where = f'{field}["{sorted(map(int, body.logit_bias or ()))[int(index)]}"]'
    else:
        where = field if index is None else f"{field}[{index}]"
    return Problem(problem.status, where + str(error)[found.end() :], code=problem.code, param=where)


def _field(name: str, body: Generating, prompt: int) -> str | None:
    if name in KEPT:
        return kept_field(body)
    if name == "prompt":
        return prompt_field(body, prompt)
    name = _NAMES.get(name, name) if name in OPTIONS else ""
    if name == "max_tokens" and isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        name = "max_completion_tokens"
    return name if name in type(body).model_fields else None
