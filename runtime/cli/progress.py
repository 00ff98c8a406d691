"""Progress bars: one line per piece of work, on a terminal; a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lampc.runtime.events import Event, EventBus

_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Shows `progress` and `note` events of a bus while it is entered. Writes to standard error only."""

    def __init__(self, bus: EventBus, *, quiet: bool = False) -> None:
        self.bus = bus
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._said: dict[str, float] = {}
        self._off: Any = None

    def __enter__(self) -> Self:
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bars.start()
        self._off = self.bus.subscribe(self.hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._off()
        if self._bars is not None:
            self._bars.stop()

    def hear(self, event: Event) -> None:
        """Take an event of the bus."""
        data = event.data
        if event.kind == "progress":
            note = data.get("note") or (f"best {data['best']:.1f}" if data.get("best") is not None else "")
            self.show(data["label"], data["done"], data["total"], note)
        elif event.kind == "note":
            self.say(data["text"])

    def say(self, text: str) -> None:
        """A line for a person."""
        if self.quiet:
            return
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def show(self, label: str, done: int, total: int | None, note: str = "") -> None:
        """How far a piece of work is; `total` is None where nobody knows."""
        if self._bars is not None:
            if label not in self._tasks:
                self._tasks[label] = self._bars.add_task(label, total=total, note=note)
            self._bars.update(self._tasks[label], completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if not self.quiet and (done == total or now - self._said.get(label, now - _EVERY) >= _EVERY):
            self._said[label] = now
            print(f"{label}: {done}{f'/{total}' if total else ''} {note}".rstrip(), file=sys.stderr, flush=True)
