"""Who drives the engines: one thread at a time, of those that wait for answers, for all of them."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from lampc.runtime.making import help_with, make, take
from lampc.runtime.plan import Plans
from lampc.runtime.prefills import Prefills

if TYPE_CHECKING:
    from lampc.runtime.client import Client
    from lampc.runtime.events import EventBus
    from lampc.runtime.models import Answer, Model, ModelCall


class Driving:
    """The part of a desk that hands calls to models and lets these work.

    Whoever waits for an answer of an engine drives it for all who wait, so calls of different threads are run together.
    `window` is how many seconds calls of other threads are waited for before an idle engine is given work; `batches`
    counts how many calls went to models together.
    """

    def __init__(self, bus: EventBus, window: float) -> None:
        self.bus, self.window = bus, window
        self.batches: Counter[int] = Counter()
        self.planning_s = 0.0  # seconds spent on the order of calls and on what they share
        self.requests = count(1)  # numbers of them, for events
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._dropped = 0  # how often everything was dropped
        self._driver = 0  # the thread that drives the engines just now
        self._stepping = False  # whether one of them works
        self._finished: deque[tuple[Model, ModelCall, Answer]] = deque()  # answers that nobody was told of yet
        self._queue: dict[Model, list[ModelCall]] = {}
        self._open: dict[str, tuple[Model, ModelCall]] = {}
        self._stepped: Counter[Model] = Counter()  # calls at models that must be driven
        self._shared = Plans()
        self.prefills = Prefills(self)

    @abstractmethod
    def _answered(self, model: Model, call: ModelCall, answer: Answer) -> None:
        """Tell who waits for a call of its answer."""

    def _waiting_for(self, client: Client) -> int:
        """How many answers a client waits for."""
        return sum(w.client is client for _, call in self._open.values() for w in call.waiting)

    def driven_for(self, client: Client) -> bool:
        """Whether a client waits for a model that must be driven."""
        with self._lock:
            return any(not _pushes(m) and any(w.client is client for w in c.waiting) for m, c in self._open.values())

    def serve(self, client: Client) -> None:
        """Work, or wait for others who do, until the client has an answer or nothing more to wait for."""
        self._send(pushes=True)
        while True:
            guarded = client.guard is not None
            if client.guard is not None and (client.own or client.asked) and not client.ready:
                client.guard()
            with self._lock:
                if client.dropped != self._dropped:
                    left = len(client.ready) + client.outside + self._waiting_for(client)
                    client.lost, client.open, client.dropped = client.open > left, left, self._dropped
                # with a budget what is answered goes on first, so that it is known what was spent
                own = None if guarded and client.ready else take(self, client)
                if own is None:
                    if client.ready or not client.open:
                        return
                    again = self._driver == threading.get_ident()  # code that is told of an answer asks in its turn
                    stuck = again and self._stepping
                    if stuck and self.driven_for(client):
                        raise RuntimeError("an engine is at work: who hears text of an answer cannot ask models then")
                    if (
                        stuck
                        or (self._driver and not again)
                        or not (self._stepped or any(not _pushes(m) for m in self._queue))
                    ):
                        self._turn.wait()
                        continue
                    self._driver = threading.get_ident()
            if own is not None:
                if client.own and own[0].waits:
                    help_with(self, client)
                make(self, *own)
                continue
            try:
                self._drive(client)
                if self.prefills.ended:  # there may be more of them
                    self.prefills.ended = False
                    return
            finally:
                if not again:
                    with self._lock:
                        self._driver = 0
                        self._turn.notify_all()

    def _tell(self) -> None:
        """Tell of finished calls: one by one, as who is told may ask and so come by here again."""
        while self._finished:
            self._answered(*self._finished.popleft())

    def _drive(self, client: Client) -> None:
        """Let models work until there is something to tell, to send, or for the client to do."""
        self._tell()
        if self.window and not self._stepped:
            self._gather()
        self._send(pushes=False)
        self.prefills.start()
        prefills, told = self.prefills, False
        while self._stepped and not told:
            for model in list(self._stepped):
                if not self._stepped[model]:
                    continue
                self._step(model)
                if self._finished:
                    told = True
                    self._tell()
            if self._queue or prefills.due or client.ready or not client.open or client.dropped != self._dropped:
                return

    def _step(self, model: Model) -> None:
        """Let a model work."""
        self._stepping = True
        try:
            self._finished += [(model, *done) for done in model.advance()]
        finally:
            self._stepping = False
        self.prefills.end(model)

    def drive_until(self, over: threading.Event) -> None:
        """Let engines work, if nobody else drives them, as long as beginnings of prompts are to be computed: on a
        thread beside one that cannot, since code of the user runs there. Raises what an engine raises."""
        with self._lock:
            if self._driver:
                return
            self._driver = threading.get_ident()
        try:
            while not over.is_set():
                self._tell()
                self._send(pushes=False)
                self.prefills.start()
                if not self.prefills:
                    return
                for model in list(self._stepped):
                    if self._stepped[model] and not over.is_set():
                        self._step(model)
        finally:
            with self._lock:
                self._driver = 0
                self._turn.notify_all()

    def _gather(self) -> None:
        """Wait a moment for calls of other threads, as long as more of them come."""
        known = -1
        while (waiting := sum(map(len, self._queue.values()))) > known:
            known = waiting
            time.sleep(self.window)

    def _send(self, pushes: bool) -> None:
        """Hand queued calls to models: to those that answer by themselves, or to those that are driven."""
        if not self._queue:
            return
        with self._lock:
            going = {m: calls for m, calls in self._queue.items() if _pushes(m) == pushes}
            for model, calls in going.items():
                del self._queue[model]
                if not pushes:
                    self._stepped[model] += len(calls)
        for model, calls in going.items():
            if model.target.local and not pushes:
                begun = time.perf_counter()
                calls = self._shared[model].plan(calls)
                self.planning_s += time.perf_counter() - begun
            if pushes:
                model.on_answer = self._answered  # type: ignore[attr-defined]
            self.batches[len(calls)] += 1
            self._submitted(model, calls)
            model.submit(calls)

    def _submitted(self, model: Model, calls: Sequence[ModelCall]) -> None:
        details = {}
        if self.bus.detailed:
            shared = self._shared.get(model)
            details = {
                "requests": [c.number for c in calls],
                "nodes": [c.node for c in calls],
                "shared": [shared.length(c) if shared is not None else 0 for c in calls],
            }
        self.bus.emit("request.submit", count=len(calls), model=model.target.info.name, **details)

    def _leave(self, model: Model, call: ModelCall) -> None:
        """A call is no longer under way."""
        self._unstep(model)
        if model in self._shared:
            self._shared[model].done(call)

    def _unstep(self, model: Model) -> None:
        if model in self._stepped:
            self._stepped[model] -= 1
            if not self._stepped[model]:
                del self._stepped[model]


def _pushes(model: Model) -> bool:
    """Whether answers of a model arrive by themselves."""
    return getattr(model, "pushes", False)


__all__ = ["Driving"]
