"""A chat completion, read from what an endpoint sends: whole, or as a stream of events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lampc.ir.errors import LMStreamAssemblyError, LMUnexpectedError


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """One answer. Token counts are the server's own, 0 where it does not say; `finish` is its `finish_reason`.

    `tool_calls` stand as the endpoint sends them: `{"id", "type", "function": {"name", "arguments"}}`. `choices`
    holds all answers if more than one was asked for, this one first.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = "stop"
    model: str = ""
    cached_tokens: int = 0
    tool_calls: tuple[dict[str, Any], ...] = ()
    reasoning: str = ""
    choices: tuple[ChatAnswer, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def parse_json(body: bytes, url: str) -> Any:
    """The JSON of an answer. Raises LMUnexpectedError."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        kind = "a web page" if body.lstrip().startswith(b"<") else "not JSON"
        raise LMUnexpectedError(
            f"{url}: the answer is {kind}; is this the URL of an OpenAI-compatible API?", status=200
        ) from None


def read_answer(body: bytes, url: str) -> ChatAnswer:
    """The choices of a completion. Raises LMUnexpectedError."""
    return from_data(parse_json(body, url), url)


def from_data(data: Any, url: str) -> ChatAnswer:
    """The same, of parsed JSON."""
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise LMUnexpectedError(
            f"{url}: the answer has no `choices`; is this an OpenAI-compatible chat endpoint?", status=200
        )
    read = [_choice(c, data, url) for c in choices]
    if len(read) == 1:
        return read[0]
    first = read[0]
    return ChatAnswer(
        first.text,
        first.prompt_tokens,
        first.completion_tokens,
        first.finish,
        first.model,
        first.cached_tokens,
        first.tool_calls,
        first.reasoning,
        tuple(read),
        first.extra,
    )


def _choice(choice: Any, data: dict[str, Any], url: str) -> ChatAnswer:
    message = choice.get("message") if isinstance(choice, dict) else None
    if message is None and isinstance(choice, dict) and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}  # an endpoint of text completions
    if not isinstance(message, dict):
        raise LMUnexpectedError(f"{url}: the answer's first choice has no `message`", status=200)
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    calls = message.get("tool_calls")
    extra = {k: choice[k] for k in ("logprobs",) if choice.get(k)}
    if message.get("annotations"):
        extra["annotations"] = message["annotations"]
    return ChatAnswer(
        _text(message.get("content"), url),
        count(usage.get("prompt_tokens")),
        count(usage.get("completion_tokens")),
        str(choice.get("finish_reason") or "stop"),
        str(data.get("model") or ""),
        count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        tuple(c for c in calls if isinstance(c, dict)) if isinstance(calls, list) else (),
        str(message.get("reasoning_content") or message.get("reasoning") or ""),
        (),
        extra,
    )


class Assembly:
    """A stream of `chat.completion.chunk` events, put together; `add` gives the new text of each event."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}
        self._finish = ""
        self._model = ""

    def add(self, data: bytes) -> str:
        """Take one event's data. Raises LMStreamAssemblyError for an error, LMUnexpectedError for what is no event."""
        event = parse_json(data, self.url)
        if isinstance(event, dict) and event.get("error"):
            said = event["error"].get("message", "") if isinstance(event["error"], dict) else event["error"]
            raise LMStreamAssemblyError(f"{self.url}: the stream broke off ({said})", partial=self.text)
        if not isinstance(event, dict):
            raise LMUnexpectedError(f"{self.url}: an event of the stream is no object", status=200)
        self._model = str(event.get("model") or self._model)
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices = event.get("choices")
        if not isinstance(choices, list) or not choices:
            return ""
        self._finish = str(choices[0].get("finish_reason") or self._finish)
        delta = choices[0].get("delta") or {}
        if piece := delta.get("reasoning_content"):
            self._reasoning.append(str(piece))
        for call in delta.get("tool_calls") or ():
            self._call(call)
        piece = delta.get("content") or ""
        self._text.append(piece)
        return str(piece)

    def _call(self, piece: dict[str, Any]) -> None:
        known = self._calls.setdefault(
            count(piece.get("index")), {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        known["id"] = piece.get("id") or known["id"]
        said = piece.get("function") or {}
        known["function"]["name"] += said.get("name") or ""
        known["function"]["arguments"] += said.get("arguments") or ""

    @property
    def text(self) -> str:
        return whole("".join(self._text))

    def answer(self) -> ChatAnswer:
        """What the stream said. Raises LMStreamAssemblyError if it ended before its answer did."""
        if not self._finish:
            raise LMStreamAssemblyError(f"{self.url}: the stream ended before the answer did", partial=self.text)
        details = self._usage.get("prompt_tokens_details")
        return ChatAnswer(
            self.text,
            count(self._usage.get("prompt_tokens")),
            count(self._usage.get("completion_tokens")),
            self._finish,
            self._model,
            count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
            tuple(self._calls[i] for i in sorted(self._calls)),
            "".join(self._reasoning),
        )


def _text(content: Any, url: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return whole(content)
    if isinstance(content, list):  # parts; those that are no text have nothing to say here
        parts = [p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str)]
        return whole("".join(parts))
    raise LMUnexpectedError(f"{url}: the answer's content is {type(content).__name__}, not text", status=200)


_HALVES = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """Text that can be written: half of a surrogate pair, left where a server cut an answer, is shown as U+FFFD."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def count(value: Any) -> int:
    """A number of tokens, 0 for what is none."""
    return value if isinstance(value, int) and value >= 0 else 0
