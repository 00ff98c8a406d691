"""Content of messages that is no text: images, audio and files, as values and inside of texts.

A value of type `media` is `{"$media": [part, ...]}`; a part is a content part of a chat message, as the endpoints
that accept it take it: `{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}`. A prompt is text,
so there the parts stand between two marks, encoded, until whoever sends the prompt calls `split`. The marks are
noncharacters of Unicode (U+FDD0, U+FDD1), which no text has that is meant for others: `unmarked` replaces them in
all text that the program did not write itself, so that no value can pass for media.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lampc.ir.types import is_media

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_SPAN = re.compile(f"{_OPEN}([A-Za-z0-9+/=]*){_CLOSE}")
_MARKS = str.maketrans({_OPEN: "\ufffd", _CLOSE: "\ufffd"})

Part = Mapping[str, Any]


class TextOnly(ValueError):
    """A prompt with media was to be read by a model that reads text alone."""

    def __init__(self, model: str, kinds: Sequence[str]) -> None:
        super().__init__(
            f"`{model}` reads text only, but the prompt holds {' and '.join(kinds)}; "
            "send this call to an endpoint whose model accepts such content, or pass the text of it"
        )


def media(parts: Sequence[Part]) -> dict[str, Any]:
    """The plain value that stands for content parts."""
    return {"$media": [dict(p) for p in parts]}


def mark(value: Mapping[str, Any]) -> str:
    """Text that stands for a media value within a prompt."""
    parts = json.dumps(value["$media"], ensure_ascii=False, separators=(",", ":"))
    return _OPEN + base64.b64encode(parts.encode()).decode("ascii") + _CLOSE


def marked(value: Any) -> Any:
    """A plain value with its media turned into marks and its texts free of marks: ready to be written as text."""
    if isinstance(value, str):
        return unmarked(value)
    if is_media(value):
        return mark(value)
    if isinstance(value, list | tuple):
        return [marked(v) for v in value]
    if isinstance(value, dict):
        return {marked(k): marked(v) for k, v in value.items()}
    return value


def unmarked(text: str) -> str:
    """The text without marks of its own."""
    return text.translate(_MARKS) if _OPEN in text or _CLOSE in text else text


def has_media(text: str) -> bool:
    """Whether a prompt's text holds media."""
    return _OPEN in text


def split(text: str) -> str | list[dict[str, Any]]:
    """The content of a message: the text itself, or text parts and media parts in order."""
    if not has_media(text):
        return text
    out: list[dict[str, Any]] = []
    for i, piece in enumerate(_SPAN.split(text)):
        if i % 2:
            out += json.loads(base64.b64decode(piece))
        elif piece:
            out.append({"type": "text", "text": piece})
    return out


def text_only(text: str, model: str) -> str:
    """The text, for a model that reads nothing else. Raises TextOnly, naming the kinds of media in it."""
    if has_media(text):
        parts = split(text)
        kinds = {str(p.get("type")) for p in parts if isinstance(p, dict)} - {"text"}
        raise TextOnly(model, sorted(f"content of type `{k}`" for k in kinds))
    return text
