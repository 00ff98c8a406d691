"""Adapters by name."""

from __future__ import annotations

from lampc.ir.adapters.base import Adapter
from lampc.ir.adapters.chat import Chat
from lampc.ir.adapters.compact import Compact

ADAPTERS: dict[str, Adapter] = {a.name: a for a in (Compact(), Chat())}


def adapter(name: str) -> Adapter:
    """The adapter called `name`. Raises ValueError listing the known ones."""
    try:
        return ADAPTERS[name]
    except KeyError:
        raise ValueError(f"there is no layout `{name}`; known: {', '.join(sorted(ADAPTERS))}") from None
