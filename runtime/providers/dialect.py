"""Bodies of chat requests, in the words that a server knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
_OPTIONAL = ("seed", "temperature", "stream_options", "top_p", "prompt_cache_key")
"""Fields that some models refuse; a call without them still means the same, or nearly."""


class Dialect:
    """What a server was found to know: some models know `max_tokens` by its other name, and some refuse a field."""

    def __init__(self) -> None:
        self._renamed = False
        self._without: set[str] = set()

    def spoken(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request as this server wants it."""
        if not (self._renamed or self._without):
            return body
        body = {k: v for k, v in body.items() if k not in self._without}
        if self._renamed and "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        return body

    def learn(self, complaint: str, body: Mapping[str, Any]) -> bool:
        """Whether a refusal names a field that can be said otherwise or left out; it is remembered."""
        if "max_completion_tokens" in complaint and "max_tokens" in body and not self._renamed:
            self._renamed = True
            return True
        for name in _OPTIONAL:
            if name in body and name not in self._without and re.search(rf"\b{name}\b", complaint):
                self._without.add(name)
                return True
        return False


def request_body(model: str, messages: Sequence[Message], options: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a chat request: options that say nothing are left out."""
    body: dict[str, Any] = {"model": model, "messages": list(messages)}
    for name, value in options.items():
        if value is None or (name == "max_tokens" and value == 0) or (name == "top_p" and value == 1.0):
            continue
        if name == "stop":
            value = [value] if isinstance(value, str) else list(value)
            if not value:
                continue
        body[name] = value
    return body
