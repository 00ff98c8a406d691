"""What tools returned, kept: a resumed run does not call them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampc.ir import digest
from lampc.runtime.host_sources import tool_identity
from lampc.runtime.hosts import described, plain

if TYPE_CHECKING:
    from lampc.runtime.store import Store
    from lampc.runtime.types import Cell


@dataclass(frozen=True, slots=True)
class Entry:
    """One call of a tool: what it returned before, if `known`."""

    store: Store
    key: str
    known: bool
    value: Any = None
    unkept: Callable[[], object] = bool

    def keep(self, value: Any) -> Any:
        """Keep what the tool returned now; gives it as a later run will read it. What is no JSON is not kept, which
        `unkept` is told."""
        kept = as_json(value)
        if kept is None:
            self.unkept()
            return value
        self.store.put_first("tool", self.key, kept)
        return kept["value"]


class ToolJournal:
    """The tool calls of one row of a program; `parts` tell programs, candidates and rows apart (JSON values). `unkept`
    gathers the names of tools whose calls could not be kept."""

    def __init__(self, store: Store, parts: Sequence[Any], unkept: set[str] | None = None) -> None:
        self.store, self.parts = store, list(parts)
        self.unkept = unkept if unkept is not None else set()

    def entry(
        self, name: str, site: str, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Entry | None:
        """The entry of a call of the tool `name` at a site, or None where its arguments are not JSON."""
        given = as_json([list(args), dict(kwargs)])
        if given is None:
            self.unkept.add(name)
            return None
        text = json.dumps([*self.parts, site, tool_identity(run), given["value"]], sort_keys=True)
        key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        known = self.store.get("tool", key)
        if known is None:
            return Entry(self.store, key, False, unkept=lambda: self.unkept.add(name))
        return Entry(self.store, key, True, known["value"])


def journal_of(store: Store | None, program: str, seed: int, cell: Cell, unkept: set[str]) -> ToolJournal | None:
    """The journal of one row of a program; None for a run that cannot be resumed, which calls its tools."""
    if store is None or store.path is None:
        return None
    parts = [program, seed, digest(cell.assignment), cell.row.id, described(cell.row.inputs), cell.rollout]
    parts += [] if cell.temperature is None else [cell.temperature]
    return ToolJournal(store, parts, unkept)


def told_unkept(unkept: Collection[str]) -> str:
    """What is said of a run that can go on, of tools whose calls could not be kept; nothing if there are none."""
    if not unkept:
        return ""
    return f", but calls the tool {', '.join(sorted(unkept))} again, whose calls are not JSON"


def as_json(value: Any) -> dict[str, Any] | None:
    """`{"value": ...}` if a value survives being written as JSON, else None."""
    kept = plain(value)
    try:
        return {"value": kept} if json.loads(json.dumps(kept)) == kept else None
    except (TypeError, ValueError):
        return None
