"""What happens during a run, as events of one schema: behind progress bars, reports, traces and records.

`KINDS` is the whole list. Whoever does the work emits; whoever wants to know subscribes to the bus.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO

from lampc.runtime.types import Usage

Number = (int, float)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `time` is in seconds since the epoch, `run` the name of the run or empty."""

    kind: str
    time: float
    run: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kind:
    """Fields of one kind of event: those it must have, and those it may have (None where unknown)."""

    about: str
    must: Mapping[str, type | tuple[type, ...]]
    may: Mapping[str, type | tuple[type, ...]] = field(default_factory=dict)


_USAGE: dict[str, type | tuple[type, ...]] = {
    "calls": int,
    "stored_calls": int,
    "prompt_tokens": int,
    "computed_tokens": int,
    "cached_tokens": int,
    "stored_tokens": int,
    "generated_tokens": int,
    "forced_tokens": int,
    "stored_generated": int,
    "cost": Number,
    "seconds": Number,
}

KINDS: dict[str, Kind] = {
    "run.start": Kind("a run begins", {"name": str}, {"program": str, "model": str, "rows": int, "total": int}),
    "run.end": Kind("a run ended", {"name": str}, {"errors": int, "score": Number, "error": str, **_USAGE}),
    "job.start": Kind("an optimizer's job begins", {"job": str}, {"label": str, "step": str, "rows": int}),
    "job.end": Kind(
        "an optimizer's job ended",
        {"job": str},
        {"label": str, "step": str, "score": Number, "errors": int, "stored": bool, **_USAGE},
    ),
    "row.start": Kind("a row of a run begins", {"row": str}, {"rollout": int, "cell": int}),
    "row.end": Kind(
        "a row ended, with a value or an error",
        {"row": str},
        {"rollout": int, "cell": int, "error": str, **_USAGE},
    ),
    "node.start": Kind("a predictor is about to be called", {"node": str}, {"row": str, "cell": int, "call": int}),
    "node.end": Kind(
        "a predictor's call is finished",
        {"node": str},
        {"row": str, "call": int, "request": int, "error": str, **_USAGE},
    ),
    "branch": Kind(
        "it is known whether an arm that was begun ahead is taken; `tokens` were computed and generated for it by then",
        {"taken": bool},
        {"row": str, "cell": int, "arm": int, "tokens": int},
    ),
    "request.submit": Kind(
        "calls went to a model, in this order; of each, who asks and how many tokens it shares with one beside it",
        {"count": int, "model": str},
        {"requests": list, "nodes": list, "shared": list},
    ),
    "request.move": Kind(
        "an engine took a request up, put it down, or is past its prompt; `ago` seconds before it was told",
        {"request": int, "to": str},
        {"ago": Number},
    ),
    "request.done": Kind(
        "a model finished a call",
        {"node": str, "finish": str, "generated": int},
        {
            "prompt": int,
            "computed": int,
            "cached": int,
            "seconds": Number,
            "error": str,
            "model": str,
            "request": int,
        },
    ),
    "prefill.start": Kind(
        "a beginning of a prompt is computed before it is asked for, as a request of its own",
        {"request": int, "model": str, "tokens": int},
        {"node": str},
    ),
    "prefill.end": Kind(
        "it is computed, or was stopped; so many of its tokens went through the model",
        {"request": int, "computed": int},
        {"stopped": bool},
    ),
    "prefill.use": Kind("the call that it was for found it: request `by`", {"request": int, "by": int}),
    "step": Kind(
        "an engine ran one batch",
        {"tokens": int},
        {
            "decode": int,
            "prefill": int,
            "running": int,
            "waiting": int,
            "used_blocks": int,
            "total_blocks": int,
            "computed": int,
            "cached": int,
            "seconds": Number,
            "ago": Number,
            "step": int,
            "model": str,
            "requests": list,
        },
    ),
    "note": Kind("something a person should read", {"text": str}, {"level": str, "where": str}),
    "progress": Kind(
        "how far a piece of work is",
        {"label": str, "done": int, "total": (int, type(None))},
        {"best": Number, "tokens": int, "errors": int, "note": str, "left": list},
    ),
}


def problems(event: Event) -> list[str]:
    """What is wrong with an event by `KINDS`; empty if nothing."""
    kind = KINDS.get(event.kind)
    if kind is None:
        return [f"there is no kind of event {event.kind!r}"]
    out = [f"{event.kind}: field {name!r} is missing" for name in kind.must if name not in event.data]
    for name, value in event.data.items():
        wanted = kind.must.get(name) or kind.may.get(name)
        if wanted is None:
            out.append(f"{event.kind}: field {name!r} is not declared")
        elif not isinstance(value, wanted) and not (value is None and name in kind.may):
            out.append(f"{event.kind}: field {name!r} is {type(value).__name__}")
    return out


Subscriber = Callable[[Event], None]
DETAILS = ("step", "request.submit", "request.move", "prefill.start", "prefill.end", "prefill.use")
"""Kinds that are many and that few want to keep."""


class EventBus:
    """Hands events to subscribers, at once and in the emitting thread. Costs next to nothing without any.

    A subscriber that raises is taken off, with a note to the others: watching must not stop the work.
    With `checked` every event is held against `KINDS`, and a wrong one raises ValueError. `clock` gives the times.
    """

    checked: ClassVar[bool] = False

    def __init__(self, run: str = "", clock: Callable[[], float] = time.time) -> None:
        self.run = run
        self.clock = clock
        self.detailed = False
        self._details: tuple[Subscriber, ...] = ()
        self._sources: tuple[Callable[[bool], None], ...] = ()
        self._subscribers: tuple[Subscriber, ...] = ()
        self._mutex = threading.Lock()

    def subscribe(self, subscriber: Subscriber, *, details: bool = False) -> Callable[[], None]:
        """Hear all events from now on; the function returned ends that.

        With `details` the bus is `detailed` meanwhile: emitters then also tell what costs them something to say, such
        as which requests each step of an engine was for.
        """
        with self._mutex:
            self._subscribers = (*self._subscribers, subscriber)
            if details:
                self._details = (*self._details, subscriber)
                self.detailed = True
            self._turn()
        return lambda: self._remove(subscriber)

    def source(self, turn: Callable[[bool], None]) -> Callable[[], None]:
        """Where events come from at a cost: `turn` is told now, and from now on, whether anybody hears. The function
        returned ends that."""
        with self._mutex:
            self._sources = (*self._sources, turn)
            turn(bool(self._subscribers))
        return lambda: self._end(turn)

    def _end(self, turn: Callable[[bool], None]) -> None:
        with self._mutex:
            if turn in self._sources:
                self._sources = tuple(t for t in self._sources if t is not turn)
                turn(False)

    def _turn(self) -> None:
        for turn in self._sources:
            turn(bool(self._subscribers))

    def _remove(self, subscriber: Subscriber) -> None:
        with self._mutex:
            self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)
            self._details = tuple(s for s in self._details if s is not subscriber)
            self.detailed = bool(self._details)
            self._turn()

    @property
    def heard(self) -> bool:
        """Whether anybody listens; worth asking before costly data are put together."""
        return bool(self._subscribers) or self.checked

    def emit(self, kind: str, /, **data: Any) -> None:
        """Tell everybody."""
        if not self._subscribers and not self.checked:
            return
        event = Event(kind, self.clock(), self.run, data)
        if self.checked and (wrong := problems(event)):
            raise ValueError("; ".join(wrong))
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception as e:
                self._remove(subscriber)
                name = getattr(subscriber, "__qualname__", type(subscriber).__name__)
                self.emit("note", level="warning", text=f"{name} failed and hears no more: {type(e).__name__}: {e}")


class JsonlSink:
    """A subscriber that writes events to a file, one JSON object per line. Kinds in `skip` are left out.

    Past `limit` bytes the rest is dropped, and counted in `dropped`. Buffered: at most half a second of events is
    lost if the process is killed.
    """

    def __init__(self, path: Path, *, skip: Collection[str] = DETAILS, limit: int = 256 << 20) -> None:
        self.path = path
        self.skip = frozenset(skip)
        self.limit = limit
        self.dropped = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO | None = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self._size = self._file.tell()
        self._flushed = time.monotonic()
        self._mutex = threading.Lock()

    def __call__(self, event: Event) -> None:
        if event.kind in self.skip:
            return
        record = {"kind": event.kind, "time": round(event.time, 6), "run": event.run, "data": dict(event.data)}
        line = json.dumps(record, separators=(",", ":"), default=str) + "\n"
        with self._mutex:
            if self._file is None:
                return
            if self._size + len(line) > self.limit:
                self.dropped += 1
                return
            self._file.write(line)
            self._size += len(line)
            now = time.monotonic()
            if now - self._flushed > 0.5:
                self._file.flush()
                self._flushed = now

    def close(self) -> None:
        """Write what is left; twice is fine."""
        with self._mutex:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> JsonlSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: Path) -> Iterator[Event]:
    """Events of a file, in order; a line that was cut off by a crash is passed over."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
                event = Event(record["kind"], record["time"], record["run"], record["data"])
            except (ValueError, KeyError, TypeError):
                continue
            yield event


__all__ = ["KINDS", "Event", "EventBus", "JsonlSink", "Kind", "Usage", "problems", "read_events"]
