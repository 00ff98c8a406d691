"""What can go wrong with an endpoint: one line each, with what, which URL, and how to mend it.

No message holds an API key: what a server says is shown with keys blotted out, and URLs without user, password
and query.
"""

from __future__ import annotations

import json
import re
from typing import Any

_KEY_LIKE = re.compile(r"\b(sk|pk|key|Bearer)[-_ ][\w*.\-]{6,}")
_CONTEXT = re.compile(
    r"context[ _-]?(length|window|size)|maximum context|too many (input )?tokens|prompt is too long|"
    r"(input|prompt) (length|tokens?) (exceeds|is longer)",
    re.IGNORECASE,
)

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Statuses after which the same request may well succeed."""


class ProviderError(Exception):
    """An endpoint did not answer as asked. `status` is the HTTP status, or 0 if there was none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(ProviderError):
    """No connection, no answer in time, or a server that stays busy, after all retries."""


class AccessError(ProviderError):
    """The key is missing, wrong, not allowed here, or has no credit left."""


class ContextError(ProviderError):
    """The prompt, with the answer asked for, is longer than the model's context."""


class RefusedError(ProviderError):
    """The endpoint does not know the path or the model, or refuses the request as it is."""


class BadAnswer(ProviderError):
    """The answer is not a chat completion."""


def server_message(body: bytes, key: str) -> str:
    """What the server said, as one short line, `key` and whatever looks like one blotted out."""
    text = body[:65536].decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except ValueError:
        found = "" if text.lstrip().startswith("<") else text  # a page for people says nothing here
    if isinstance(found, dict):
        found = found.get("error", found.get("detail", found.get("message", "")))
    if isinstance(found, dict):
        found = found.get("message", "")
    line = " ".join(str(found).split())
    return blot(line, key)[:300]


def blot(text: str, key: str) -> str:
    """The text without `key` and without what looks like an API key."""
    if key:
        text = text.replace(key, "***")
    return _KEY_LIKE.sub(r"\1-***", text)


def error_code(body: bytes) -> str:
    """The machine-readable code of an error body, or empty."""
    try:
        error = json.loads(body)["error"]
        return str(error.get("code") or error.get("type") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def from_status(status: int, body: bytes, url: str, model: str, key: str) -> ProviderError:
    """The error that an answer other than 200 stands for."""
    said, code = server_message(body, key), error_code(body)
    tail = f" ({said})" if said else ""
    if status == 401:
        how = "the key is not accepted" if key else "a key is needed"
        return AccessError(f"{url}: {how}; set LAMPC_API_KEY or OPENAI_API_KEY{tail}", status)
    if status in (402, 403) or code == "insufficient_quota":
        return AccessError(f"{url}: not allowed with this key, or no credit left{tail}", status)
    if status in (400, 413, 422) and (_CONTEXT.search(said) or code == "context_length_exceeded"):
        return ContextError(
            f"{url}: the prompt is too long for model {model!r}; shorten it, or lower max_tokens{tail}", status
        )
    if status == 404:
        return RefusedError(
            f"{url}: no such path, or no model {model!r}; check the URL (it usually ends in /v1) and the model{tail}",
            status,
        )
    if 300 <= status < 400:
        return RefusedError(f"{url}: redirects elsewhere (HTTP {status}); give the final URL", status)
    if status in BUSY:
        return UnreachableError(f"{url}: the server is busy or failing (HTTP {status}); try again later{tail}", status)
    return RefusedError(f"{url}: the request was refused (HTTP {status}){tail}", status)
