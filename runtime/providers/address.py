"""Where an endpoint is: URLs in the forms people write them, and which key may go there."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from lampc.ir.errors import LMConfigurationError


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint. `url` is fit to be shown: no user, password or query in it."""

    url: str
    query: tuple[tuple[str, str], ...] = ()
    user: str = ""
    password: str = ""
    loopback: bool = False
    encrypted: bool = False


def read_address(text: str) -> Address:
    """Read a base URL. `/v1` may be left out where the URL has no path; `/chat/completions` may stand at its end.

    Raises LMConfigurationError for what is no http(s) URL.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in ("http", "https") or not host:
        shown = re.sub(r"//[^/@]*@", "//", text).partition("?")[0]
        raise LMConfigurationError(f"{shown!r} is no URL of an endpoint; write it like http://127.0.0.1:8000/v1")
    path = re.sub(r"/(chat/)?completions$", "", parts.path.rstrip("/")) or "/v1"
    shown_host = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown_host}{f':{port}' if port else ''}{path}"
    return Address(
        url,
        tuple(parse_qsl(parts.query, keep_blank_values=True)),
        parts.username or "",
        parts.password or "",
        _loopback(host),
        parts.scheme == "https",
    )


def _loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_key(address: Address, env: Mapping[str, str] | None = None) -> str:
    """The API key for an endpoint, or empty: LAMPC_API_KEY, else OPENAI_API_KEY.

    The latter is meant for one service; it is not sent unencrypted to other machines. Raises LMConfigurationError for a
    key that cannot be a header.
    """
    env = os.environ if env is None else env
    name = "LAMPC_API_KEY"
    key = env.get(name, "").strip()
    if not key and (address.encrypted or address.loopback):
        name = "OPENAI_API_KEY"
        key = env.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise LMConfigurationError(f"{name} holds characters that cannot be in a key; set it again")
    return key
