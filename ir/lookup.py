"""What a retrieval asks for and what it finds: shared by frontends, which ask, and the runtime, which answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.ir.prog import DefRetriever


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found: its text, how well it fits (more is better), its place in the corpus (-1: unknown)."""

    text: str
    score: float = 0.0
    index: int = -1


@dataclass(frozen=True, slots=True)
class Lookup:
    """One retrieval: the `k` best passages of a retriever for a query. `store` is what an object brings to search in;
    `name` says under which name the session may have another one."""

    definition: DefRetriever
    query: str
    k: int
    store: Any = None
    name: str = ""


def as_record(hits: list[Hit]) -> dict[str, Any]:
    """Hits as the record that `prog.retrieve` with `detail` gives."""
    return {
        "passages": [h.text for h in hits],
        "indices": [h.index for h in hits],
        "scores": [h.score for h in hits],
    }


def as_hit(found: Any) -> Hit:
    """What a retriever gave for one passage: a hit, a text, or a record with `long_text` or `text`, perhaps `score`.

    Raises ValueError for anything else.
    """
    if isinstance(found, Hit):
        return found
    if isinstance(found, str):
        return Hit(found)
    get = found.get if hasattr(found, "get") else lambda name, default=None: getattr(found, name, default)
    text = get("long_text") or get("text")
    if not isinstance(text, str):
        raise ValueError(f"a retriever gives texts, or records with `long_text` or `text`, not {found!r:.200}")
    return Hit(text, float(get("score") or 0.0))


def several(found: Any) -> Iterable[Any]:
    """What a retriever gave for one query, as its passages."""
    passages = getattr(found, "passages", None)
    if passages is not None:
        return list(passages)
    return [found] if isinstance(found, str | dict) or not isinstance(found, Iterable) else found
