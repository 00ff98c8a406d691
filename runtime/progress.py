"""Progress for a person who watches: bars on a terminal, a line now and then elsewhere, nothing if quiet.

All of it is fed by `progress` and `note` events; whoever works knows nothing of it. Writes to standard error only.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self
from weakref import WeakSet

from lampc.ir.settings import settings
from lampc.runtime.events import Event, EventBus


@dataclass(slots=True)
class _Piece:
    """One piece of work. `told` is when a line about it was last written; times in seconds."""

    started: float
    first: int
    told: float
    done: int = 0
    total: int | None = None
    bar: Any = None


class Progress:
    """See the module's text. Hears `bus` while it is entered.

    A label that begins again from a smaller count, or after it was complete, is a new piece of work. Where there is
    no terminal, `every` is the least number of seconds between two lines about one piece; its end is always told.
    """

    def __init__(
        self,
        bus: EventBus,
        *,
        quiet: bool = False,
        every: float = 10.0,
        file: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bus = bus
        self.quiet = quiet
        self.every = every
        self._file = file if file is not None else sys.stderr
        self._clock = clock
        self.live = self._file.isatty() and not quiet
        self._pieces: dict[str, _Piece] = {}
        self._bars: Any = None
        self._off: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        if self.live:
            self._bars = _bars(self._file)
            self._bars.start()
        if not self.quiet:
            self._off = self.bus.subscribe(self.hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._off()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def hear(self, event: Event) -> None:
        """Take an event of the bus; kinds other than `progress` and `note` are passed over."""
        data = event.data
        if event.kind == "progress":
            self.show(data["label"], data["done"], data["total"], remark(data))
        elif event.kind == "note":
            self.say(data["text"])

    def say(self, text: str) -> None:
        """A line for a person."""
        if self.quiet:
            return
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._file, flush=True)

    def show(self, label: str, done: int, total: int | None, note: str = "") -> None:
        """How far a piece of work is; `total` is None where nobody knows."""
        if self.quiet:
            return
        now = self._clock()
        piece = self._pieces.get(label)
        if piece is None or done < piece.done or piece.done == piece.total:
            piece = self._pieces[label] = _Piece(now, done, now)
            if self._bars is not None:
                piece.bar = self._bars.add_task(label, total=total, note=note, left="")
        piece.done, piece.total = done, total
        left = time_left(now - piece.started, done - piece.first, None if total is None else total - done)
        if self._bars is not None:
            self._bars.update(piece.bar, completed=done, total=total, note=note, left=left)
        elif done == total or now - piece.told >= self.every:
            piece.told = now
            parts = [f"{label}: {done}{'' if total is None else f'/{total}'}", note, left]
            print("  ".join(p for p in parts if p), file=self._file, flush=True)


@contextlib.contextmanager
def watching(bus: EventBus, verbose: bool = False, file: IO[str] | None = None) -> Iterator[None]:
    """Progress of the work inside, for calls that nobody asked for it: if `verbose`, or on a terminal. The setting
    `progress` (true or false) decides instead where it is set. Work inside of work that is watched adds nothing."""
    shown = file if file is not None else sys.stderr
    wanted = settings.get("progress")
    if wanted is None:
        wanted = verbose or shown.isatty()
    with _mutex:
        first = wanted and bus not in _watched
        if first:
            _watched.add(bus)
    if not first:
        yield
        return
    try:
        with Progress(bus, file=shown):
            yield
    finally:
        with _mutex:
            _watched.discard(bus)


_watched: WeakSet[EventBus] = WeakSet()
_mutex = threading.Lock()


def remark(data: Any) -> str:
    """What a `progress` event says beside its counts: its note, the best score, tokens, failed rows, and how much time
    is left of all the work that it is a part of."""
    parts = [data.get("note") or ""]
    if data.get("best") is not None:
        parts.append(f"best {data['best']:.1f}")
    if data.get("tokens"):
        parts.append(f"{data['tokens']:,} tokens")
    if data.get("errors"):
        parts.append(f"{data['errors']} failed")
    if data.get("left") and data["left"][1] >= 1:
        least, most = (_clock(s) for s in data["left"])
        parts.append(f"in all {most if least == most else f'{least} to {most}'} left")
    return "  ".join(p for p in parts if p)


def time_left(seconds: float, done: int, left: int | None) -> str:
    """`0:42 left`, if what is left goes on as what was done in `seconds`; empty while that says nothing."""
    if not left or done <= 0 or seconds < 1.0:
        return ""
    return _clock(seconds / done * left) + " left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bars(file: IO[str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(file=file),
    )
