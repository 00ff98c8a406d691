"""What tools returned, kept: a resumed run does not call them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampc.runtime.host_sources import host_identity
from lampc.runtime.hosts import plain

if TYPE_CHECKING:
    from lampc.runtime.store import Store


@dataclass(frozen=True, slots=True)
class Entry:
    """One call of a tool: what it returned before, if `known`."""

    store: Store
    key: str
    known: bool
    value: Any = None

    def keep(self, value: Any) -> Any:
        """Keep what the tool returned now; gives it as a later run will read it."""
        kept = as_json(value)
        if kept is None:
            return value
        self.store.put("tool", self.key, kept)
        return kept["value"]


class ToolJournal:
    """The tool calls of one row of a program; `parts` tell programs, candidates and rows apart (JSON values)."""

    def __init__(self, store: Store, parts: Sequence[Any]) -> None:
        self.store, self.parts = store, list(parts)

    def entry(self, site: str, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Entry | None:
        """The entry of a call, or None where its arguments are not JSON."""
        given = as_json([list(args), dict(kwargs)])
        if given is None:
            return None
        text = json.dumps([*self.parts, site, host_identity(run), given["value"]], sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        known = self.store.get("tool", key)
        return Entry(self.store, key, False) if known is None else Entry(self.store, key, True, known["value"])


def as_json(value: Any) -> dict[str, Any] | None:
    """`{"value": ...}` if a value survives being written as JSON, else None."""
    kept = plain(value)
    try:
        return {"value": kept} if json.loads(json.dumps(kept)) == kept else None
    except (TypeError, ValueError):
        return None
