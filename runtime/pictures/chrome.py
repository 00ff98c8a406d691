"""A run as a trace in Chrome's JSON trace event format, which Perfetto (ui.perfetto.dev, `trace_processor`) opens.

Processes are the run, the program (rows with the calls of their predictors) and each model (what was sent to it,
requests, steps of its engine, counters). What is computed of a prompt before it is asked for has slices of its own,
with an arrow to the request that found it. Flow arrows lead from a call to the request that answered it, from there to
the step that began with its prompt and to the one that finished it. Two slices of a track never overlap without one
being inside of the other.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from lampc.runtime.pictures.timeline import Call, Prefill, Request, Span, Step, Timeline

RUN, PROGRAM, MODELS = 1, 2, 3
"""Numbers of processes: of the run, the program, the first model."""
STEPS, REQUESTS = 1, 10
"""Tracks of a model: its steps, the first of its requests."""
_EARLY = 50_000
"""The first track of what is computed before it is asked for."""
_BESIDE = 100_000
"""The first of further tracks."""

Entry = dict[str, Any]
_S = TypeVar("_S", bound=Span)


def write(run: Timeline) -> str:
    """The trace as JSON, one event a line."""
    lines = ",\n".join(json.dumps(e, separators=(",", ":"), ensure_ascii=False) for e in entries(run))
    head = json.dumps({"run": run.name, "made_by": "lampc"}, ensure_ascii=False)
    return f'{{"displayTimeUnit":"ms","otherData":{head},"traceEvents":[\n{lines}\n]}}\n'


def entries(run: Timeline) -> list[Entry]:
    """The events of the trace: names of tracks first, then all others by time, outer slices before inner ones."""
    maker = _Maker(run)
    maker.make()
    maker.out.sort(key=lambda e: (e["ts"], _RANK[e["ph"]], -e.get("dur", 0)))
    return maker.names + maker.out


_RANK = {"X": 0, "s": 1, "t": 2, "f": 3, "C": 4}


class _Maker:
    def __init__(self, run: Timeline) -> None:
        self.run = run
        self.names: list[Entry] = []
        self.out: list[Entry] = []
        models = [*(m for m, _ in run.plans), *(r.model for r in run.requests.values()), *(s.model for s in run.steps)]
        self.models = {model: MODELS + i for i, model in enumerate(dict.fromkeys(models))}
        self.places: dict[int, tuple[int, int, int]] = {}  # request -> process, track, end
        self.named: set[tuple[int, int]] = set()
        self.counted: dict[tuple[int, str], dict[str, float]] = {}
        self.steps: dict[int, list[tuple[int, int, int]]] = {}  # request -> process, begin, end of its steps

    def make(self) -> None:
        self._process(RUN, f"run {self.run.name}".strip())
        for track, span in _lanes(self.run.runs, 1):
            self._slice(RUN, track, span, "run")
        self._tracks(RUN, 10, "jobs", self.run.jobs, "job")
        self._process(PROGRAM, "program: rows and calls")
        for model, process in self.models.items():
            self._process(process, f"model {model}")
            self._model(model, process)
        self._program()

    # -- the program ----------------------------------------------------------------------------------

    def _program(self) -> None:
        """Rows on tracks of their own; calls of a row inside of it, or beside it if they overlap."""
        homes: dict[int, tuple[int, Span]] = {}
        for track, row in _lanes(self.run.rows, 1):
            self._name(PROGRAM, track, f"rows {track}")
            self._slice(PROGRAM, track, row, "row", f"row {row.name}")
            if row.cell:
                homes[row.cell] = track, row
        beside: list[Call] = []
        busy: dict[int, int] = {}  # where the last call of a track ends
        for call in sorted(self.run.calls, key=lambda c: (c.begin, c.number)):
            track, home = homes.get(call.cell, (0, call))
            if track and busy.get(track, 0) <= call.begin and call.begin + 1 < _end(home):
                call.end = min(_end(call), _end(home))
                busy[track] = call.end
                self._call(track, call)
            else:
                beside.append(call)
        for track, call in _lanes(beside, _BESIDE):
            self._name(PROGRAM, track, f"calls beside {track - _BESIDE + 1}")
            self._call(track, call)

    def _call(self, track: int, call: Call) -> None:
        self._slice(PROGRAM, track, call, "call", args={"row": call.row, **call.args})
        if call.request in self.places:
            self._flow(track, call)

    def _flow(self, track: int, call: Call) -> None:
        """call -> request -> the step that took its prompt up -> the step that finished it."""
        process, lane, end = self.places[call.request]
        request = self.run.requests[call.request]
        at = max(call.begin, request.begin)
        if at >= end or at >= _end(call):
            return
        points = [(PROGRAM, track, call.begin), (process, lane, at)]
        steps = [s for s in self.steps.get(call.request, ()) if s[1] >= at]
        points += [(p, STEPS, begin) for p, begin, _ in (steps[:1] + steps[-1:] if len(steps) > 1 else steps)]
        for i, (p, t, ts) in enumerate(points):
            kind = "s" if i == 0 else "f" if i == len(points) - 1 else "t"
            made: Entry = {"ph": kind, "cat": "flow", "name": "call", "id": call.number, "pid": p, "tid": t, "ts": ts}
            self.out.append(made | ({"bp": "e"} if kind == "f" else {}))

    # -- models ---------------------------------------------------------------------------------------

    def _model(self, model: str, process: int) -> None:
        plans = [p for m, p in self.run.plans if m == model]
        self._tracks(process, _BESIDE, "sent together", plans, "plan")
        steps = [s for s in self.run.steps if s.model == model]
        if steps:
            self._name(process, STEPS, "engine steps")
            self._steps(process, steps)
        requests = [r for r in self.run.requests.values() if r.model == model]
        for track, request in _lanes(requests, REQUESTS):
            self._name(process, track, f"requests {track - REQUESTS + 1}")
            self._request(process, track, request)
        early = [p for p in self.run.prefills.values() if p.model == model]
        for track, prefill in _lanes(early, _EARLY):
            self._name(process, track, f"begun early {track - _EARLY + 1}")
            self._slice(process, track, prefill, "prefill", args={**prefill.args, "used": bool(prefill.by)})
            self._phases(process, track, prefill)
            self._found(process, track, prefill)

    def _found(self, process: int, track: int, prefill: Prefill) -> None:
        """What was begun early -> the request that found it."""
        if prefill.by not in self.places:
            return
        home, lane, end = self.places[prefill.by]
        at = max(self.run.requests[prefill.by].begin, prefill.begin)
        if at < end:
            arrow: Entry = {"cat": "early", "name": "begun early", "id": prefill.number}
            self.out.append({"ph": "s", **arrow, "pid": process, "tid": track, "ts": prefill.begin})
            self.out.append({"ph": "f", **arrow, "pid": home, "tid": lane, "ts": at, "bp": "e"})

    def _request(self, process: int, track: int, request: Request) -> None:
        self.places[request.number] = process, track, _end(request)
        self._slice(process, track, request, "request")
        self._phases(process, track, request)

    def _phases(self, process: int, track: int, request: Request) -> None:
        for name, begin, end in request.phases():
            self._slice(process, track, Span(name, begin, min(end, _end(request))), "phase")

    def _steps(self, process: int, steps: Sequence[Step]) -> None:
        last, computed, cached = 0, 0, 0
        for step in steps:
            begin = max(step.begin, last)  # a step that was begun before the one before it ended
            last = max(step.end, begin + 1)
            for number in step.requests:
                self.steps.setdefault(number, []).append((process, begin, last))
            shown = Span(step.name, begin, last, step.args | {"requests": len(step.requests)})
            self._slice(process, STEPS, shown, "step")
            a = step.args
            computed, cached = computed + a["computed"], cached + a["cached"]
            self._counter(process, last, "KV pages", used=a["used_blocks"])
            self._counter(process, last, "batch size", requests=len(step.requests))
            self._counter(process, last, "tokens in step", prompt=a["computed"], generated=a["tokens"] - a["computed"])
            self._counter(process, last, "waiting requests", requests=a["waiting"])
            self._counter(process, last, "prompt tokens", computed=computed, cached=cached)
            rate = 100 * cached / (cached + computed) if cached + computed else 0.0
            self._counter(process, last, "hit rate", percent=round(rate, 2))

    # -- entries --------------------------------------------------------------------------------------

    def _process(self, process: int, name: str) -> None:
        for kind, args in (("process_name", {"name": name}), ("process_sort_index", {"sort_index": process})):
            self.names.append({"ph": "M", "name": kind, "pid": process, "tid": 0, "args": args})

    def _name(self, process: int, track: int, name: str) -> None:
        if (process, track) in self.named:
            return
        self.named.add((process, track))
        for kind, args in (("thread_name", {"name": name}), ("thread_sort_index", {"sort_index": track})):
            self.names.append({"ph": "M", "name": kind, "pid": process, "tid": track, "args": args})

    def _tracks(self, process: int, first: int, name: str, spans: Sequence[Span], kind: str) -> None:
        for track, span in _lanes(spans, first):
            self._name(process, track, f"{name} {track - first + 1}")
            self._slice(process, track, span, kind)

    def _slice(
        self, process: int, track: int, span: Span, kind: str, name: str = "", args: Entry | None = None
    ) -> None:
        made: Entry = {"ph": "X", "cat": kind, "name": name or span.name, "pid": process, "tid": track}
        made |= {"ts": span.begin, "dur": _end(span) - span.begin}
        shown = span.args if args is None else args
        self.out.append(made | ({"args": shown} if shown else {}))

    def _counter(self, process: int, at: int, name: str, **values: float) -> None:
        if self.counted.get((process, name)) != values:
            self.counted[process, name] = values
            self.out.append({"ph": "C", "name": name, "pid": process, "tid": 0, "ts": at, "args": values})


def _end(span: Span) -> int:
    """Where a slice ends: an arrow needs one that is not empty."""
    return max(span.end, span.begin + 1)


def _lanes(spans: Iterable[_S], first: int) -> Iterator[tuple[int, _S]]:
    """Spans with the track of each, such that those of one track follow one another; as few tracks as can be."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    tracks = first
    for span in sorted(spans, key=lambda s: (s.begin, s.end)):
        while busy and busy[0][0] <= span.begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            track = heapq.heappop(free)
        else:
            track, tracks = tracks, tracks + 1
        heapq.heappush(busy, (_end(span), track))
        yield track, span
