"""Messages put together out of an adapter's own methods, so that a subclass may change any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.signature import ensure_signature
from lampc.frontend.python.values.plain import plain
from lampc.ir.adapters.dialogue import RESULTS, without_results
from lampc.ir.adapters.schema import is_history
from lampc.ir.adapters.wording import INCOMPLETE, MISSING
from lampc.ir.media import split

Message = dict[str, Any]
_MISSING_IN_TURN = "Not supplied for this conversation history message. "


def messages_of(adapter: Any, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[Message]:
    """System, demos, history and the request."""
    made, given = ensure_signature(signature), dict(inputs)
    history = next((f.name for f in made.ir().inputs if is_history(f)), "")
    rest = made.delete(history) if history else made
    turns = adapter.format_conversation_history(rest, history, given) if history else []
    system = {"role": "system", "content": adapter.format_system_message(made)}
    said = adapter.format_user_message_content(rest, given, main_request=True)
    request = [{"role": "user", "content": said}] if said else []
    return [expanded(m) for m in [system, *adapter.format_demos(made, demos), *turns, *request]]


def expanded(message: Mapping[str, Any]) -> Message:
    """A message with the content parts that are marked in its text."""
    content = message.get("content")
    return {**message, "content": split(content)} if isinstance(content, str) else dict(message)


def system_of(adapter: Any, signature: Any) -> str:
    return "\n".join(
        (
            adapter.format_field_description(signature),
            adapter.format_field_structure(signature),
            adapter.format_task_description(signature),
        )
    )


def demos_of(adapter: Any, signature: Any, demos: Sequence[Any]) -> list[Message]:
    """Incomplete demos first; those without an input or an output are dropped."""
    made = ensure_signature(signature)
    out: list[Message] = []
    held = [d.toDict() if isinstance(d, Example) else dict(d) for d in demos]
    whole = [all(d.get(n) is not None for n in made.fields) for d in held]
    for complete in (False, True):
        for demo in (d for d, w in zip(held, whole, strict=True) if w == complete):
            if not (demo.keys() & made.input_fields.keys() and demo.keys() & made.output_fields.keys()):
                continue
            asked = adapter.format_user_message_content(made, demo, prefix="" if complete else INCOMPLETE)
            missing = _MISSING_IN_TURN if complete else MISSING
            said = adapter.format_assistant_message_content(made, demo, missing_field_message=missing)
            out += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return out


def history_of(adapter: Any, signature: Any, name: str, inputs: Mapping[str, Any]) -> list[Message]:
    """The turns of a conversation so far; requests end with the reminder that they had."""
    value = inputs.get(name)
    given = value.get("messages", ()) if isinstance(value, Mapping) else getattr(value, "messages", ())
    out: list[Message] = []
    for message in given:
        known = any(n in message for n in signature.input_fields)
        if asked := adapter.format_user_message_content(signature, message, main_request=known):
            out.append({"role": "user", "content": asked})
        values, results = without_results(plain(message)) if _has_calls(message) else (message, None)
        if said := adapter.format_assistant_message_content(signature, values):
            out.append({"role": "assistant", "content": said})
        if results is not None:
            shown = {"tool_call_results": results}
            out.append({"role": "user", "content": adapter.format_user_message_content(RESULTS, shown)})
    return out


def _has_calls(message: Mapping[str, Any]) -> bool:
    return any(hasattr(v, "tool_calls") or (isinstance(v, Mapping) and "tool_calls" in v) for v in message.values())
