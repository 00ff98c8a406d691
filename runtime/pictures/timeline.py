"""What happened when in a run, put together from its events: rows, calls of predictors, requests, steps of engines.

Times are whole microseconds since the first event. What was not over when the events end, ends there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lampc.runtime.events import Event


@dataclass(slots=True)
class Span:
    """Something that took from `begin` to `end`; `open` if nobody told of its end."""

    name: str
    begin: int
    end: int = -1
    args: dict[str, Any] = field(default_factory=dict)
    open: bool = True

    def close(self, at: int) -> None:
        self.end, self.open = max(at, self.begin), False


@dataclass(slots=True)
class Row(Span):
    """A row that was run, perhaps one of several times: `cell` tells them apart."""

    cell: int = 0


@dataclass(slots=True)
class Call(Span):
    """A call of a predictor: its number, the row it is of, and the request that answered it (0: none was needed)."""

    number: int = 0
    row: str = ""
    cell: int = 0
    request: int = 0


@dataclass(slots=True)
class Request(Span):
    """A call on its way through a model. `moves` are (time, to) as the engine told them."""

    number: int = 0
    model: str = ""
    moves: list[tuple[int, str]] = field(default_factory=list)

    def phases(self) -> list[tuple[str, int, int]]:
        """(name, begin, end): `queued`, `prefill`, `decode`, and `preempted` in between; none if no engine told."""
        names = {"admitted": "prefill", "running": "decode", "preempted": "preempted"}
        found, name, at = [], "queued", self.begin
        for time, to in self.moves:
            if time > at:
                found.append((name, at, time))
            name, at = names.get(to, ""), time
            if not name:
                return found
        return [*found, (name, at, self.end)] if self.moves and self.end > at else found


@dataclass(slots=True)
class Prefill(Request):
    """A beginning of a prompt, computed before it was asked for; `by` is the request that found it (0: none)."""

    by: int = 0


@dataclass(slots=True)
class Step(Span):
    """A batch through an engine, and the numbers of the requests in it. `args` are its counts."""

    model: str = ""
    requests: tuple[int, ...] = ()


@dataclass(slots=True)
class Timeline:
    """A run. `plans` are what was sent to models at once, in the order of the prefix tree."""

    name: str = ""
    end: int = 0
    runs: list[Span] = field(default_factory=list)
    jobs: list[Span] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    requests: dict[int, Request] = field(default_factory=dict)
    prefills: dict[int, Prefill] = field(default_factory=dict)
    plans: list[tuple[str, Span]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def timeline(events: Iterable[Event]) -> Timeline:
    """The last run that events tell of: a resumed run writes on behind the one before."""
    kept: list[Event] = []
    for event in events:
        if event.kind == "run.start":
            kept.clear()
        kept.append(event)
    return _Reader(kept).read()


class _Reader:
    def __init__(self, events: list[Event]) -> None:
        self.events = events
        begins = (e.time - e.data.get("ago", 0.0) - (e.kind == "step") * e.data.get("seconds", 0.0) for e in events)
        self.start = min(begins, default=0.0)
        self.out = Timeline()
        self.jobs: dict[str, Span] = {}
        self.rows: dict[tuple[str, int, int], Row] = {}
        self.calls: dict[int, Call] = {}
        self.sent: dict[int, Span] = {}

    def read(self) -> Timeline:
        handlers = {
            "run.start": self._run,
            "run.end": self._run_end,
            "job.start": self._job,
            "job.end": self._job_end,
            "row.start": self._row,
            "row.end": self._row_end,
            "node.start": self._call,
            "node.end": self._call_end,
            "request.submit": self._submit,
            "request.move": self._move,
            "request.done": self._done,
            "prefill.start": self._prefill,
            "prefill.end": self._prefill_end,
            "prefill.use": self._prefill_use,
            "step": self._step,
        }
        for event in self.events:
            at = self._at(event.time - event.data.get("ago", 0.0))
            self.out.end = max(self.out.end, at)
            if event.kind in handlers:
                handlers[event.kind](event, at)
        out = self.out
        asked = (*out.requests.values(), *out.prefills.values(), *(s for _, s in out.plans))
        for span in (*out.runs, *out.jobs, *out.rows, *out.calls, *asked):
            if span.open:
                span.end = out.end
                span.args["unfinished"] = True
        return out

    def _at(self, time: float) -> int:
        return round((time - self.start) * 1e6)

    # -- the program ----------------------------------------------------------------------------------

    def _run(self, event: Event, at: int) -> None:
        data = event.data
        self.out.name = str(data["name"])
        self.out.runs.append(Span(self.out.name, at, args=_some(data, "program", "model")))

    def _run_end(self, event: Event, at: int) -> None:
        for span in self.out.runs:
            span.args |= _some(event.data, "errors", "score", "error")
            span.close(at)

    def _job(self, event: Event, at: int) -> None:
        job = str(event.data["job"])
        self.jobs[job] = Span(str(event.data.get("label") or job), at, args=_some(event.data, "step", "rows"))
        self.out.jobs.append(self.jobs[job])

    def _job_end(self, event: Event, at: int) -> None:
        span = self.jobs.pop(str(event.data["job"]), None)
        if span is not None:
            span.args |= _some(event.data, "score", "errors", "stored")
            span.close(at)

    def _row(self, event: Event, at: int) -> None:
        key = name, rollout, cell = _cell(event)
        self.rows[key] = Row(name, at, args={"rollout": rollout} if rollout else {}, cell=cell)
        self.out.rows.append(self.rows[key])

    def _row_end(self, event: Event, at: int) -> None:
        span = self.rows.pop(_cell(event), None)
        if span is not None:
            span.args |= _some(event.data, "error")
            span.close(at)

    def _call(self, event: Event, at: int) -> None:
        data = event.data
        number, cell = int(data.get("call") or 0), int(data.get("cell") or 0)
        call = Call(str(data["node"]) or "call", at, number=number, row=str(data.get("row") or ""), cell=cell)
        self.out.calls.append(call)
        if call.number:
            self.calls[call.number] = call

    def _call_end(self, event: Event, at: int) -> None:
        call = self.calls.pop(int(event.data.get("call") or 0), None)
        if call is None:
            return
        call.request = int(event.data.get("request") or 0)
        call.args |= _some(event.data, "error") | ({} if call.request else {"stored": True})
        call.close(at)

    # -- models ---------------------------------------------------------------------------------------

    def _submit(self, event: Event, at: int) -> None:
        data, model = event.data, str(event.data.get("model") or "model")
        numbers = data.get("requests") or ()
        plan = Span(f"{data['count']} calls", at, args={"calls": data["count"]})
        shared = data.get("shared") or [0] * len(numbers)
        for order, (number, node, some) in enumerate(zip(numbers, data.get("nodes") or (), shared, strict=False)):
            args = {"request": number, "place": order, "shared": some}
            self.out.requests[number] = Request(str(node) or "call", at, args=args, number=number, model=model)
            self.sent[number] = plan
        if numbers:
            plan.args |= {"open": len(numbers), "shared": sum(shared)}
            self.out.plans.append((model, plan))

    def _move(self, event: Event, at: int) -> None:
        number = int(event.data["request"])
        request = self.out.requests.get(number) or self.out.prefills.get(number)
        if request is not None:
            request.moves.append((at, str(event.data["to"])))

    def _done(self, event: Event, at: int) -> None:
        data = event.data
        number = int(data.get("request") or 0)
        request = self.out.requests.get(number)
        if request is None:
            return
        request.args |= _some(data, "finish", "prompt", "computed", "cached", "generated", "error")
        request.close(at)
        plan = self.sent.pop(number, None)
        if plan is not None:
            plan.args["open"] -= 1
            if not plan.args["open"]:
                del plan.args["open"]
                plan.close(at)

    def _prefill(self, event: Event, at: int) -> None:
        data, number = event.data, int(event.data["request"])
        made = Prefill(str(data.get("node") or "call"), at, args={"request": number, "tokens": data["tokens"]})
        made.number, made.model = number, str(data["model"])
        self.out.prefills[number] = made

    def _prefill_end(self, event: Event, at: int) -> None:
        made = self.out.prefills.get(int(event.data["request"]))
        if made is not None:
            made.args |= _some(event.data, "computed", "stopped")
            made.close(at)

    def _prefill_use(self, event: Event, at: int) -> None:
        made = self.out.prefills.get(int(event.data["request"]))
        if made is not None:
            made.by = int(event.data["by"])

    def _step(self, event: Event, at: int) -> None:
        data = event.data
        if "seconds" not in data:
            return  # told without details
        begin = self._at(event.time - data.get("ago", 0.0) - data["seconds"])
        names = ("tokens", "computed", "cached", "running", "waiting", "used_blocks", "total_blocks")
        step = Step(f"step {data['step']}", begin, args=_some(data, *names), model=str(data["model"]))
        step.requests = tuple(data.get("requests") or ())
        step.close(at)
        self.out.steps.append(step)


def _cell(event: Event) -> tuple[str, int, int]:
    data = event.data
    return str(data["row"]), int(data.get("rollout") or 0), int(data.get("cell") or 0)


def _some(data: Any, *names: str) -> dict[str, Any]:
    return {name: data[name] for name in names if data.get(name) is not None}
