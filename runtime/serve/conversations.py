"""Messages of a request as the turns of a chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from lampc.runtime.serve.bodies import Message
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.tools import Toolbox, written


def ids_of(engine: ServedEngine, messages: Sequence[Message], tools: Toolbox | None = None) -> list[int]:
    """Token ids of a conversation, ready for the answer; special tokens in its texts are broken up. A chat template
    that knows tools is given them; for another they stand in the system message. A checkpoint without a template gets
    paragraphs, `Role: text`. Raises Problem, or ValueError with the template's own complaint."""
    tokenizer, quote = engine.tokenizer, engine.prompts.quote
    template = tokenizer.chat_template
    if template is not None and re.search(r"\btools\b", template):
        given = _quoted([f.model_dump(exclude_none=True) for f in tools.functions], quote) if tools else []
        functions = [{"type": "function", "function": f} for f in given]
        return tokenizer.encode(tokenizer.render_chat(_quoted(_native(messages), quote), True, functions or None))
    turns = plain_turns(messages, tools)
    if template is not None:
        return engine.prompts.chat(turns)
    text = "".join(f"{t['role'].capitalize()}: {quote(t['content'])}\n\n" for t in turns)
    return tokenizer.encode_prompt(text + "Assistant:")


def plain_turns(messages: Sequence[Message], tools: Toolbox | None = None) -> list[dict[str, str]]:
    """Roles and texts. Calls of tools stand in the text as the model writes them, their results are turns of the user,
    and the tools that there are stand in the system message: so any chat template will do. Raises Problem."""
    turns: list[dict[str, str]] = []
    names: dict[str, str] = {}
    for i, message in enumerate(messages):
        text = _text(message, i)
        if message.role == "tool":
            name = message.name or names.get(message.tool_call_id or "", "the function")
            turns.append({"role": "user", "content": f"Result of {name}:\n{text}"})
            continue
        for call in message.tool_calls or ():
            names[call.id] = call.function.name
            text += ("\n" if text else "") + written(call.function.name, call.function.arguments)
        turns.append({"role": _role(message), "content": text})
    if tools:
        if turns[0]["role"] == "system":
            turns[0]["content"] += "\n\n" + tools.told
        else:
            turns.insert(0, {"role": "system", "content": tools.told})
    return turns


def _native(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns with calls and results of tools as templates that know them have them: arguments are objects."""
    turns: list[dict[str, Any]] = []
    for i, message in enumerate(messages):
        turn: dict[str, Any] = {"role": _role(message), "content": _text(message, i)}
        turn |= {n: v for n in ("name", "tool_call_id") if (v := getattr(message, n)) is not None}
        if message.tool_calls:
            turn["tool_calls"] = [c.model_dump() for c in message.tool_calls]
            for call in turn["tool_calls"]:
                call["function"]["arguments"] = _object(call["function"]["arguments"])
        turns.append(turn)
    return turns


def _object(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def _quoted(value: Any, quote: Callable[[str], str]) -> Any:
    """The same with special tokens broken up in every text."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return [_quoted(v, quote) for v in value]
    if isinstance(value, dict):
        return {quote(k): _quoted(v, quote) for k, v in value.items()}
    return value


def _role(message: Message) -> str:
    return "system" if message.role == "developer" else message.role


def _text(message: Message, place: int) -> str:
    if message.content is None and not message.tool_calls:
        where = f"messages[{place}].content"
        raise Problem(400, f"{where} is missing; give a text", param=where)
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "".join(part.text for part in message.content)
