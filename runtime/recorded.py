"""Everything that is recorded of a run, for pictures: its record, events with all details, and its prefix trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lampc.runtime.prefix_record import keep_prefixes
from lampc.runtime.records import Recording, RunRecord

if TYPE_CHECKING:
    from lampc.runtime.calls import CallDesk
    from lampc.runtime.types import Usage


@contextmanager
def recorded(
    folder: Path | None,
    desk: CallDesk,
    *,
    usage: Callable[[], Usage] | None = None,
    program: str = "",
    model: str = "",
    seed: int = 0,
) -> Iterator[RunRecord | None]:
    """Record what a desk does meanwhile in a folder; nothing, and None, without a folder.

    `usage` says at the end what was used, by default what the desk counted.
    """
    if folder is None:
        yield None
        return
    with Recording(folder, folder.name, desk.bus, program=program, model=model, seed=seed, details=True) as kept:
        try:
            yield kept
        finally:
            bound = desk.books.bound()
            kept.account(desk.books.usage if usage is None else usage(), desk.books.by_node, bound=bound)
            keep_prefixes(folder, desk)
