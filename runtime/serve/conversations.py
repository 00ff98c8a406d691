"""Messages of a request as the turns of a chat template."""

from __future__ import annotations

from collections.abc import Sequence

from lampc.runtime.serve.bodies import Message
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.tools import Toolbox, written


def turns_of(messages: Sequence[Message], tools: Toolbox | None = None) -> list[dict[str, str]]:
    """Roles and texts. Calls of tools stand in the text as the model writes them, their results are turns of the user,
    and the tools that there are stand in the system message: so any chat template will do. Raises Problem."""
    turns: list[dict[str, str]] = []
    names: dict[str, str] = {}
    for i, message in enumerate(messages):
        text = _text(message)
        if message.role == "tool":
            name = message.name or names.get(message.tool_call_id or "", "the function")
            turns.append({"role": "user", "content": f"Result of {name}:\n{text}"})
            continue
        for call in message.tool_calls or ():
            names[call.id] = call.function.name
            text += ("\n" if text else "") + written(call.function.name, call.function.arguments)
        if message.content is None and not message.tool_calls:
            raise Problem(400, f"messages.{i}.content is missing; give a text", param=f"messages.{i}.content")
        turns.append({"role": "system" if message.role == "developer" else message.role, "content": text})
    if tools:
        if turns[0]["role"] == "system":
            turns[0]["content"] += "\n\n" + tools.told
        else:
            turns.insert(0, {"role": "system", "content": tools.told})
    return turns


def ids_of(engine: ServedEngine, turns: list[dict[str, str]]) -> list[int]:
    """Token ids of a conversation, ready for the answer; special tokens in its texts are broken up. A checkpoint
    without a chat template gets paragraphs, `Role: text`."""
    if engine.tokenizer.chat_template is not None:
        return engine.prompts.chat(turns)
    quote = engine.prompts.quote
    text = "".join(f"{t['role'].capitalize()}: {quote(t['content'])}\n\n" for t in turns)
    return engine.tokenizer.encode_prompt(text + "Assistant:")


def _text(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "".join(part.text for part in message.content)
