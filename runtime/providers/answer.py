"""A chat completion, read from what an endpoint sends."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lampc.runtime.providers.errors import BadAnswer


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """One answer. Token counts are the server's own, 0 where it does not say; `finish` is its `finish_reason`."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = "stop"
    model: str = ""
    cached_tokens: int = 0


def read_answer(body: bytes, url: str) -> ChatAnswer:
    """The first choice of a completion. Raises BadAnswer."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        kind = "a web page" if body.lstrip().startswith(b"<") else "not JSON"
        raise BadAnswer(f"{url}: the answer is {kind}; is this the URL of an OpenAI-compatible API?", 200) from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise BadAnswer(f"{url}: the answer has no `choices`; is this an OpenAI-compatible chat endpoint?", 200)
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadAnswer(f"{url}: the answer's first choice has no `message`", 200)
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return ChatAnswer(
        _text(message.get("content"), url),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        str(choice.get("finish_reason") or "stop"),
        str(data.get("model") or ""),
        _count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
    )


def _text(content: Any, url: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return _whole(content)
    if isinstance(content, list):  # parts; those that are no text have nothing to say here
        parts = [p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str)]
        return _whole("".join(parts))
    raise BadAnswer(f"{url}: the answer's content is {type(content).__name__}, not text", 200)


def _whole(text: str) -> str:
    """Text that can be written: half of a surrogate pair, left where a server cut an answer, is shown as U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
