"""Bytes from files and URLs, as data URIs. Nothing is read or fetched unless a `from_...` function is called."""

from __future__ import annotations

import base64
import mimetypes
import ssl
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

MOST_BYTES = 100 * 2**20
"""Of one fetched file."""


def data_uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def is_url(text: str, schemes: tuple[str, ...] = ("http", "https")) -> bool:
    try:
        parts = urlparse(text)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc)


def read(path: str | Path) -> tuple[bytes, str | None]:
    """(content, media type by the name) of a file. Raises ValueError if there is none."""
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    return file.read_bytes(), mimetypes.guess_type(str(path))[0]


def fetch(url: str, verify: bool = True, timeout: float | None = 30.0) -> tuple[bytes, str | None]:
    """(content, media type) of what an HTTP(S) URL gives, at most `MOST_BYTES` of it.

    The URL is fetched as it is, redirects and private hosts included: check one that somebody else wrote.
    Raises ValueError for another kind of URL, for one that cannot be fetched, and for more bytes.
    """
    if not is_url(url):
        raise ValueError(f"an http:// or https:// URL is needed, not {url!r}")
    context = None if verify else ssl._create_unverified_context()
    try:
        with urlopen(Request(url), timeout=timeout, context=context) as response:
            content = response.read(MOST_BYTES + 1)
            mime = response.headers.get_content_type() if response.headers.get("Content-Type") else None
    except (URLError, OSError) as e:
        raise ValueError(f"{url} cannot be fetched: {e}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{url} gives more than {MOST_BYTES} bytes")
    return content, mime or mimetypes.guess_type(urlparse(url).path)[0]


def shortened(uri: str) -> str:
    """A data URI for people: its media type and how long it is."""
    head, _, data = uri.partition(",")
    return f"<{head.removeprefix('data:').split(';')[0]}, {len(data)} characters>"


def content_of(value: Any) -> str:
    """The name of a value's class, for messages."""
    return type(value).__name__
