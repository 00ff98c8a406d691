"""Tools: how they are told to the model, and how its calls are read out of what it writes.

A call is written as `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, the form that many open models are
trained on. Where a call must be made, a grammar keeps the answer to one such object, without the tags.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any

from lampc.ir.diag import there_are
from lampc.runtime.serve.bodies import ChatBody, FunctionDefinition, ToolChoice
from lampc.runtime.serve.problems import Problem

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_CALL = re.compile(rf"{OPEN}\s*(.*?)\s*(?:{CLOSE}|\Z)", re.S)
Call = tuple[str, str]
"""A function's name, and its arguments as JSON."""


class Toolbox:
    """The tools of one request. `forced`: the answer is one call, of any of `functions`."""

    def __init__(self, body: ChatBody) -> None:
        functions = [t.function for t in body.tools or ()]
        names = [f.name for f in functions]
        twice = next((i for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            where = f"tools[{twice}].function.name"
            raise Problem(400, f"{names[twice]!r} is another tool's name; calls could not be told apart", param=where)
        choice = body.tool_choice
        if choice is not None and choice not in ("none", "auto") and not functions:
            raise Problem(400, "tool_choice asks for a call, but there are no tools", param="tool_choice")
        self.forced = choice == "required" or isinstance(choice, ToolChoice)
        if isinstance(choice, ToolChoice):
            functions = [f for f in functions if f.name == choice.function.name]
            if not functions:
                why = f"there is no tool {choice.function.name!r}; {there_are(names)}"
                raise Problem(400, why, param="tool_choice.function.name")
        self.functions: list[FunctionDefinition] = [] if choice == "none" else functions
        self._places = {name: f"tools[{i}].function" for i, name in enumerate(names)}

    def __bool__(self) -> bool:
        return bool(self.functions)

    @property
    def schema(self) -> dict[str, Any] | None:
        """What the answer is kept to, if it must be a call. Raises Problem for parameters that are no object."""
        if not self.forced:
            return None
        several = len(self.functions) > 1
        forms = [
            {
                "type": "object",
                "properties": {"name": {"const": f.name}, "arguments": _moved(self._object(f), i if several else None)},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for i, f in enumerate(self.functions)
        ]
        return forms[0] if len(forms) == 1 else {"anyOf": forms}

    def _object(self, function: FunctionDefinition) -> dict[str, Any]:
        """The parameters as a schema of objects alone, which is what a call has. Raises Problem if that cannot be."""
        given = _parameters(function)
        kind = given.get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            why = f"the type is {kind!r:.80}; give 'object', which is what a call's arguments are"
            raise Problem(400, why, param=f"{self._places[function.name]}.parameters.type")
        return {**given, "type": "object"}

    @property
    def told(self) -> str:
        """What the model is told, for its system message."""
        lines = [
            json.dumps({"name": f.name, "description": f.description or "", "parameters": _parameters(f)})
            for f in self.functions
        ]
        how = (
            'Answer with one JSON object alone: {"name": the function, "arguments": an object}.'
            if self.forced
            else f'To call one, write {OPEN}{{"name": the function, "arguments": an object}}{CLOSE}.'
        )
        return "\n".join(["You can call these functions, given as JSON, one a line:", *lines, how])

    def read(self, text: str) -> tuple[str, list[Call]]:
        """(text beside the calls, calls) of an answer. What cannot be read as a call of these tools is text."""
        if not self.functions:
            return text, []
        whole = self._call(text.strip())
        if whole is not None:
            return "", [whole]
        found = [(m, self._call(m.group(1))) for m in _CALL.finditer(text)]
        calls = [call for _, call in found if call is not None]
        rest, end = "", 0
        for match, call in found:
            if call is not None:
                rest += text[end : match.start()]
                end = match.end()
        return (rest + text[end:]).strip() if calls else text, calls

    def _call(self, text: str) -> Call | None:
        try:
            found = json.loads(text)
            if not isinstance(found, dict) or found.get("name") not in [f.name for f in self.functions]:
                return None
            arguments = found.get("arguments")
            return (found["name"], json.dumps(arguments, allow_nan=False)) if isinstance(arguments, dict) else None
        except (ValueError, RecursionError):
            return None


class TextBeforeCalls:
    """Takes an answer piece by piece; gives the text that is surely no part of a call."""

    def __init__(self, tools: Toolbox) -> None:
        self._tools = tools
        self._held = ""
        self._begun = False

    def push(self, piece: str) -> str:
        """Text that is sure now."""
        self._held += piece
        if self._tools.forced or (not self._begun and self._held.lstrip()[:1] in ("", "{")):
            return ""
        at = self._held.find(OPEN)
        if at < 0:
            at = next((i for i in range(len(self._held)) if OPEN.startswith(self._held[i:])), len(self._held))
        sure, self._held = self._held[:at], self._held[at:]
        self._begun = self._begun or bool(sure)
        return sure

    def end(self) -> tuple[str, list[Call]]:
        """(what is left of the text, the calls)."""
        return self._tools.read(self._held)


def call_records(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Calls as an answer has them."""
    return [
        {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in calls
    ]


def written(name: str, arguments: str) -> str:
    """A call as the model would have written it."""
    try:
        given = json.loads(arguments or "{}")
    except ValueError:
        given = arguments
    return f"{OPEN}{json.dumps({'name': name, 'arguments': given})}{CLOSE}"


def _parameters(function: FunctionDefinition) -> dict[str, Any]:
    return function.parameters or {"type": "object", "properties": {}, "additionalProperties": False}


_VALUES = frozenset({"const", "enum", "default", "examples"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def _moved(schema: Any, place: int | None, named: bool = False) -> Any:
    """The parameters with their references leading to where they stand in the schema of all calls; `named` are schemas
    by name. Values stay, and so do schemas with an `$id`, which is what their references begin at."""
    if isinstance(schema, list):
        return [_moved(s, place) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if named:
        return {name: _moved(s, place) for name, s in schema.items()}
    if isinstance(schema.get("$id"), str):
        return schema
    root = "#/properties/arguments" if place is None else f"#/anyOf/{place}/properties/arguments"
    found = {k: v if k in _VALUES else _moved(v, place, k in _BY_NAME) for k, v in schema.items()}
    if isinstance(ref := schema.get("$ref"), str) and (ref == "#" or ref.startswith("#/")):
        found["$ref"] = root + ref[1:]
    return found
