"""What a rank does when: where it computes, which exchanges are under way, and where it waits for one.

Times are those of the host, on the clock that processes of a machine share (`time.perf_counter`, which is monotonic on
Linux): on GPUs, where work is only handed over, a profiler of the device says more. Written in the format of Chrome's
trace events, which Perfetto shows as well; a rank is a process there.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["step", "compute", "exchange", "wait"]
MOST = 1 << 19  # events that a rank keeps
_TRACKS: dict[Kind, int] = {"step": 0, "compute": 1, "wait": 3, "exchange": 4}  # half 1 computes on 2


@dataclass(frozen=True, slots=True)
class Event:
    """Seconds `start` .. `end`. `place` is the half-batch; of an exchange, `nbytes` are those that this rank sends."""

    kind: Kind
    name: str
    start: float
    end: float
    place: int = 0
    nbytes: int = 0


class Trace:
    """Events of one rank, noted by its thread alone; past `MOST` none is kept."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.events: list[Event] = []
        self._since: float | None = None  # when the rank went on computing
        self._place = 0

    def note(self, event: Event) -> None:
        """Keeps an event."""
        if len(self.events) < MOST:
            self.events.append(event)

    @contextmanager
    def step(self, rows: int) -> Iterator[None]:
        """One step of so many rows."""
        start = time.perf_counter()
        yield
        self.note(Event("step", f"{rows} rows", start, time.perf_counter()))

    @contextmanager
    def computing(self, place: int) -> Iterator[None]:
        """A half-batch goes on until it has begun its next sum; where it waits, it does not compute."""
        self._since, self._place = time.perf_counter(), place
        try:
            yield
        finally:
            self._stop(time.perf_counter())

    def exchange(self, name: str, work: Any, nbytes: int) -> Callable[[], None]:
        """An exchange was begun; what is returned waits for it. Raises what waiting for it raises."""
        begun, place, done = time.perf_counter(), self._place, [float("inf")]
        with suppress(RuntimeError):  # what goes to one rank has no future: it counts as done when it was waited for
            work.get_future().add_done_callback(lambda _: done.__setitem__(0, time.perf_counter()))

        def wait() -> None:
            asked, computing = time.perf_counter(), self._since is not None
            self._stop(asked)
            work.wait()
            there = time.perf_counter()
            if computing:
                self._since = there
            self.note(Event("wait", name, asked, there, place))
            self.note(Event("exchange", name, begun, max(begun, min(done[0], there)), place, nbytes))

        return wait

    def _stop(self, now: float) -> None:
        if self._since is not None:
            self.note(Event("compute", f"half {self._place + 1}", self._since, now, self._place))
            self._since = None

    def write(self, folder: Path) -> None:
        """For `read`, by whoever brings the ranks' traces together."""
        text = json.dumps([asdict(event) for event in self.events])
        (folder / f"rank{self.rank}.json").write_text(text, encoding="utf-8")


def read(folder: Path, since: float = 0.0) -> list[list[Event]]:
    """What the ranks of an engine wrote: for each rank its events that began no earlier than `since`."""
    paths = sorted(folder.glob("rank*.json"), key=lambda path: int(path.stem.removeprefix("rank")))
    found = [[Event(**event) for event in json.loads(path.read_text(encoding="utf-8"))] for path in paths]
    return [[event for event in events if event.start >= since] for events in found]


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds of a rank: it computed, exchanges were under way (times that overlap count once), it waited for them."""

    compute: float
    under_way: float
    waited: float

    @property
    def hidden(self) -> float:
        """The share of communication behind which something was computed; 1 if there was none."""
        return 1 - self.waited / self.under_way if self.under_way else 1.0


def shares(events: Sequence[Event]) -> Shares:
    """Of one rank's events."""
    under_way, end = 0.0, float("-inf")
    for one in sorted((e for e in events if e.kind == "exchange"), key=lambda e: e.start):
        under_way += max(0.0, one.end - max(one.start, end))
        end = max(end, one.end)
    spent = {kind: sum(e.end - e.start for e in events if e.kind == kind) for kind in ("compute", "wait")}
    return Shares(spent["compute"], under_way, min(spent["wait"], under_way))


def chrome(ranks: Iterable[tuple[str, Sequence[Event]]]) -> dict[str, Any]:
    """One file of trace events: each name is a process, the earliest event of all stands at 0."""
    named = list(ranks)
    first = min((event.start for _, events in named for event in events), default=0.0)
    out: list[dict[str, Any]] = []
    for pid, (name, events) in enumerate(named):
        out.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}})
        tracks = ["steps", "compute", "compute, second half", "waits", "exchanges", "exchanges, second half"]
        for tid, track in enumerate(tracks):
            out.append({"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": track}})
        for event in events:
            tid = _TRACKS[event.kind] + (event.place if event.kind in ("compute", "exchange") else 0)
            shown: dict[str, Any] = {"name": event.name, "cat": event.kind, "ph": "X", "pid": pid, "tid": tid}
            shown |= {"ts": (event.start - first) * 1e6, "dur": (event.end - event.start) * 1e6}
            out.append(shown | ({"args": {"bytes": event.nbytes}} if event.kind == "exchange" else {}))
    return {"traceEvents": out, "displayTimeUnit": "ms"}
