"""One thread that drives an engine for all others: it steps while there is work, and blocks while there is none.

Engines are not thread-safe; only this thread touches one. Others put orders into its inbox.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol, TypeVar

from lampc.backend.api import EngineInfo, TokenEngine
from lampc.backend.errors import EngineClosed, EngineFailed, QueueFull, words_of
from lampc.backend.request import Completion, Handle, Request
from lampc.backend.tokenizer import TextTokenizer

T = TypeVar("T")
Question = Literal["idle", "stats", "metrics", "check", "reset_cache"]
"""What an engine may be asked between two steps: the property or method of `TokenEngine` of that name."""


class Ticket:
    """A request handed to the loop. `future` gives its completion, or what `submit` raised.

    `on_token` is called in the loop's thread.
    """

    __slots__ = ("future", "handle", "on_token", "request")

    def __init__(self, request: Request, on_token: Callable[[Handle, int], None] | None = None) -> None:
        self.request = request
        self.on_token = on_token
        self.future: Future[Completion] = Future()
        self.future.set_running_or_notify_cancel()  # whoever waits cannot end it, only `abort` can
        self.handle: Handle | None = None


@dataclass(frozen=True, slots=True)
class _Submit:
    tickets: Sequence[Ticket]


@dataclass(frozen=True, slots=True)
class _Abort:
    tickets: Sequence[Ticket]


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[TokenEngine], Any]
    future: Future[Any]


class _Stop:
    pass


_Order = _Submit | _Abort | _Call | _Stop


class Driver(Protocol):
    """What drives an engine for others: `EngineLoop`, or something that does so from another process."""

    @property
    def info(self) -> EngineInfo:
        """Facts about the model and the numerics."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        ...

    @property
    def slack(self) -> float:
        """The share of the engine's places that is free, as of a moment ago."""
        ...

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Hands requests over, in order; their futures tell of them. Raises EngineClosed."""
        ...

    def abort(self, tickets: Iterable[Ticket]) -> None:
        """Ends requests that are not done, soon."""
        ...

    def asking(self, question: Question) -> Future[Any]:
        """What the engine will answer between two steps. Raises EngineClosed."""
        ...

    def close(self) -> None:
        """Ends all requests with "abort", and the engine. Twice is fine."""
        ...


class EngineLoop:
    """Owns an engine. The thread starts with the first order and ends with `close`.

    `after_step` is called in it when something may have become of requests: of a step, or of orders.
    """

    def __init__(self, engine: TokenEngine, after_step: Callable[[], None] = lambda: None) -> None:
        self.info, self.tokenizer = engine.info, engine.tokenizer
        self._engine: TokenEngine | None = engine
        self._after_step = after_step
        # A SimpleQueue may be put to from a destructor, in whatever state the thread is that runs it.
        self._inbox: SimpleQueue[_Order] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._end: EngineClosed | None = None
        self._live: dict[int, Ticket] = {}
        self._backlog: deque[Ticket] = deque()

    @property
    def slack(self) -> float:
        """The share of the engine's places that is free, 0 if it has no such thing; from any thread, as of a moment
        ago."""
        return 0.0 if self._backlog else float(getattr(self._engine, "slack", 0.0))

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Hands requests over, in order; their futures tell of them. Raises EngineClosed."""
        self._order(_Submit(tickets))

    def abort(self, tickets: Iterable[Ticket]) -> None:
        """Ends requests that are not done, soon; safe in destructors."""
        left = [t for t in tickets if not t.future.done()]
        if left:
            self._inbox.put(_Abort(left))

    def call(self, work: Callable[[TokenEngine], T]) -> T:
        """What `work` gives, or raises, when called with the engine between two steps."""
        if threading.current_thread() is self._thread:
            assert self._engine is not None
            return work(self._engine)
        future: Future[T] = Future()
        self._order(_Call(work, future))
        return future.result()

    def asking(self, question: Question) -> Future[Any]:
        """What the engine will answer between two steps. Raises EngineClosed."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # whoever gives up waiting cannot end it
        self._order(_Call(partial(_answer, question), future))
        return future

    def close(self) -> None:
        """Ends all requests with "abort", the thread, and the engine. Twice is fine."""
        with self._lock:
            self._end = self._end or EngineClosed("this engine is closed; load another one")
            thread, engine = self._thread, self._engine
            self._inbox.put(_Stop())
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if engine is not None:
            self._engine = None
            engine.close()
            self._settle(self._end)

    def _order(self, order: _Order) -> None:
        with self._lock:
            if self._end is not None:
                raise type(self._end)(str(self._end)) from self._end.__cause__
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lampc-engine", daemon=True)
                self._thread.start()
            self._inbox.put(order)

    # -- in the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._engine is not None
        try:
            while self._take_orders(self._engine):
                self._refill(self._engine)
                self._step(self._engine)
                self._after_step()
        except BaseException as error:  # nobody else would ever tell those who wait
            with self._lock:
                self._end = EngineFailed(f"the engine's loop failed: {words_of(error)}")
                self._end.__cause__ = error
            self._settle(self._end)

    def _take_orders(self, engine: TokenEngine) -> bool:
        """Carries out what is in the inbox, waiting if there is nothing else to do; False to end."""
        idle = not self._backlog and engine.idle
        while True:
            try:
                order = self._inbox.get(block=idle)
            except Empty:
                return True
            idle = False
            match order:
                case _Stop():
                    return False
                case _Submit(tickets):
                    self._backlog += tickets
                case _Abort(tickets):
                    self._abort(engine, tickets)
                case _Call(work, future):
                    try:
                        future.set_result(work(engine))
                    except BaseException as error:  # belongs to the caller, whatever it is
                        future.set_exception(error)

    def _refill(self, engine: TokenEngine) -> None:
        """Submits what waits here; a full queue is tried again after the next step."""
        while self._backlog:
            ticket = self._backlog[0]
            if ticket.future.done():  # it was aborted on its way here
                self._backlog.popleft()
                continue
            try:
                handle = engine.submit(ticket.request)
            except QueueFull:
                return
            except Exception as error:  # belongs to who asked: the engine refuses it, or a hook of theirs does
                self._backlog.popleft()
                ticket.future.set_exception(error)
                continue
            self._backlog.popleft()
            ticket.handle = handle
            handle.on_token = ticket.on_token
            self._live[handle.id] = ticket

    def _step(self, engine: TokenEngine) -> None:
        if not engine.idle:  # also for requests that a hook submitted
            for handle in engine.step():
                ticket = self._live.pop(handle.id, None)
                if ticket is not None and handle.completion is not None:
                    ticket.future.set_result(handle.completion)

    def _abort(self, engine: TokenEngine, tickets: Sequence[Ticket]) -> None:
        gone = {id(t) for t in tickets if t.handle is None and not t.future.done()}
        if gone:
            self._backlog = deque(t for t in self._backlog if id(t) not in gone)
        for ticket in tickets:
            if ticket.handle is not None:
                engine.abort(ticket.handle)
            elif not ticket.future.done():
                ticket.future.set_result(Completion((), "", "abort", prompt_tokens=len(ticket.request.ids)))

    def _settle(self, end: EngineClosed) -> None:
        """Answers everybody who still waits."""
        waiting = [*self._live.values(), *self._backlog]
        calls: list[Future[Any]] = []
        while not self._inbox.empty():
            match self._inbox.get():
                case _Submit(tickets):
                    waiting += tickets
                case _Call(_, future):
                    calls.append(future)
        self._live.clear()
        self._backlog.clear()
        for ticket in waiting:
            if not ticket.future.done():
                completion = ticket.handle.completion if ticket.handle is not None else None
                if completion is not None:
                    ticket.future.set_result(completion)
                else:
                    ticket.future.set_exception(end)
        for call in calls:
            call.set_exception(end)
        self._after_step()


def _answer(question: Question, engine: TokenEngine) -> Any:
    found = getattr(engine, question)
    return found() if callable(found) else found
