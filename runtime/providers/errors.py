"""What can go wrong with an endpoint, as DSPy's errors: one line each, with what, which URL, and how to mend it.

No message holds an API key: what a server says is shown with keys blotted out, and URLs without user, password
and query.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lampc.ir.errors import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMError,
    LMInvalidRequestError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMUnsupportedModelError,
)

_KEY_LIKE = re.compile(r"\b(sk|pk|key|Bearer)[-_ ][\w*.\-]{6,}")
_CONTEXT = re.compile(
    r"context[ _-]?(length|window|size)|maximum context|too many (input )?tokens|prompt is too long|"
    r"(input|prompt) (length|tokens?) (exceeds|is longer)",
    re.IGNORECASE,
)

_LATE = frozenset({408, 504, 522, 524})
_FAILING = frozenset({409, 425, 500, 502, 503, 520, 529})


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


def from_status(
    status: int, body: bytes, url: str, model: str, key: str, *, request_id: str = "", retry_after: float | None = None
) -> LMError:
    """The error that an answer other than 200 stands for."""
    said, code = server_message(body, key), error_code(body)
    tail = f" ({said})" if said else ""
    kind: type[LMError]
    if status == 401:
        how = "the key is not accepted" if key else "a key is needed"
        kind, what = LMAuthError, f"{how}; set LAMPC_API_KEY or OPENAI_API_KEY"
    elif status == 402 or code == "insufficient_quota":
        kind, what = LMBillingError, "no credit left"
    elif status == 403:
        kind, what = LMAuthError, "not allowed with this key"
    elif status in (400, 413, 422) and (_CONTEXT.search(said) or code == "context_length_exceeded"):
        kind = ContextWindowExceededError
        what = f"the prompt is too long for model {model!r}; shorten it, or lower max_tokens"
    elif status == 404:
        kind = LMUnsupportedModelError
        what = f"no such path, or no model {model!r}; check the URL (it usually ends in /v1) and the model"
    elif 300 <= status < 400:
        kind, what = LMInvalidRequestError, f"redirects elsewhere (HTTP {status}); give the final URL"
    elif status == 429:
        kind, what = LMRateLimitError, "the server is busy or failing (HTTP 429); try again later"
    elif status in _LATE | _FAILING:
        kind = LMTimeoutError if status in _LATE else LMServerError
        what = f"the server is busy or failing (HTTP {status}); try again later"
    else:
        kind, what = LMInvalidRequestError, f"the request was refused (HTTP {status})"
    return kind(
        f"{url}: {what}{tail}",
        model=model or None,
        provider="openai",
        provider_code=code or None,
        status=status,
        request_id=request_id or None,
        retry_after=retry_after,
    )
