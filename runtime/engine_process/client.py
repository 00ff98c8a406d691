"""The other end: starts an engine's process, hands it requests, and answers whoever waits with what it reports."""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
import subprocess
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lampc.backend.errors import EngineClosed, EngineFailed, RequestFailed, words_of
from lampc.backend.loop import Question, Ticket
from lampc.backend.python_process import command, environment
from lampc.backend.request import Completion, Handle
from lampc.backend.tokenizer import Tokenizer
from lampc.runtime.engine_process.messages import (
    NOT_FOR_IT,
    Abort,
    Ask,
    Failed,
    Load,
    News,
    Order,
    Ready,
    Reply,
    Report,
    Stop,
    Submit,
    Top,
    packed,
    receive,
    send,
)

logger = logging.getLogger(__name__)
CLOSE_S = 5.0
"""Seconds that the process has to end once it is told to: the step that it makes, and no more."""


class EngineProcess:
    """An engine in a process of its own: `lampc.backend.loop.EngineLoop` from elsewhere, so that neither waits for
    the other's Python. Tickets are answered, and tokens heard, in a thread of this object. Another one sends, so that
    nobody who asks for something waits for a process that does not read.

    `folder` is a checkpoint's, `options` are those of `load_engine` that can be pickled. The process ends with this
    one, however that ends. Raises what `load_engine` raises, and EngineFailed if the process ends before that.
    """

    def __init__(self, folder: Path | str, **options: Any) -> None:
        self._process, self._pipe = _start()
        self._lock = threading.Lock()
        # As in `EngineLoop`: it may be put to from a destructor, whatever that interrupts.
        self._orders: SimpleQueue[Order] = SimpleQueue()
        self._numbers = itertools.count()
        self._live: dict[int, _Live] = {}
        self._asked: dict[int, Future[Any]] = {}
        self._end: EngineClosed | None = None
        try:
            self._load(Load(str(folder), packed(options)))
            ready = self._ready()
            self.info, self.slack = ready.info, ready.slack
            self.tokenizer = Tokenizer.load(Path(folder))
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._pipe.close()
            raise
        self._sender = threading.Thread(target=self._deliver, name="lampc-engine-orders", daemon=True)
        self._sender.start()
        self._thread = threading.Thread(target=self._listen, name="lampc-engine-process", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Hands requests over, in order; their futures tell of them. Raises EngineClosed, and Unsupported for what
        cannot be sent to another process (a function that changes logits, for instance)."""
        packs = [(next(self._numbers), ticket, packed(ticket.request)) for ticket in tickets]
        with self._lock:
            self._check()
            fresh = [pack for pack in packs if pack[1].handle is None]  # others were aborted on their way here
            for number, ticket, _ in fresh:
                ticket.handle = Handle(number, ticket.request, ticket.on_token)
                self._live[number] = _Live(ticket)
            self._orders.put(Submit([(number, data, t.on_token is not None) for number, t, data in fresh]))

    def abort(self, tickets: Iterable[Ticket]) -> None:
        """Ends requests that are not done, soon; safe in destructors of what was submitted."""
        left = [t for t in tickets if not t.future.done()]
        if any(t.handle is None for t in left):
            self._abort_early(left)
        sent = [t.handle.id for t in left if t.handle is not None and not t.future.done()]
        if sent:
            self._orders.put(Abort(sent))

    def _abort_early(self, tickets: Sequence[Ticket]) -> None:
        with self._lock:
            early = [t for t in tickets if t.handle is None]
            for ticket in early:  # `submit` comes later, and leaves these out
                ticket.handle = Handle(-1, ticket.request)
        for ticket in early:
            ticket.future.set_result(Completion((), "", "abort", prompt_tokens=len(ticket.request.ids)))

    def asking(self, question: Question) -> Future[Any]:
        """What the engine will answer between two steps. Raises EngineClosed."""
        number, future = next(self._numbers), Future[Any]()
        future.set_running_or_notify_cancel()  # whoever gives up waiting cannot end it
        with self._lock:
            self._check()
            self._asked[number] = future
            self._orders.put(Ask(number, question))
        return future

    def close(self) -> None:
        """Ends all requests with "abort", the engine, and its process. Twice is fine."""
        with self._lock:
            self._end = self._end or EngineClosed("this engine is closed; load another one")
            self._orders.put(Stop())
        if threading.current_thread() is self._thread:
            return
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            logger.warning("the engine's process %d has not ended within %g s, and is killed", self.pid, CLOSE_S)
        self._process.kill()  # nothing, if it has ended
        self._thread.join()

    # -- inside ------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._end is not None:
            raise type(self._end)(str(self._end)) from self._end.__cause__

    def _load(self, order: Load) -> None:
        with contextlib.suppress(OSError):  # nobody is there: `_ready` says why
            send(self._pipe, order)

    def _ready(self) -> Ready:
        try:
            report = receive(self._pipe)
        except (EOFError, OSError):
            raise EngineFailed(f"the engine's process {self._fate()} while it loaded") from None
        if isinstance(report, Failed):
            raise report.error
        assert isinstance(report, Ready)
        return report

    def _fate(self) -> str:
        code = self._process.wait()
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"was killed by signal {-code}"

    # -- in the threads ----------------------------------------------------------------------------------

    def _deliver(self) -> None:
        """Sends orders; what cannot be sent any more, `_listen` answers."""
        order: Order | None = None
        with contextlib.suppress(OSError):
            while not isinstance(order, Stop):
                order = self._orders.get()
                send(self._pipe, order)

    def _listen(self) -> None:
        try:
            while True:
                self._take(receive(self._pipe))
        except (EOFError, OSError):
            pass
        except BaseException as error:  # nobody else would ever answer those who wait
            self._process.kill()
            with self._lock:
                self._end = self._end or EngineFailed(f"listening to the engine's process failed: {words_of(error)}")
        fate = self._fate()
        with self._lock:
            if self._end is None:
                self._end = EngineFailed(f"the engine's process {fate}")
                logger.error("%s", self._end)
            end = self._end
            live, self._live = list(self._live.values()), {}
            asked, self._asked = list(self._asked.values()), {}
        for one in live:
            one.end(end)
        for future in asked:
            future.set_exception(end)
        self._orders.put(Stop())
        self._sender.join()
        self._pipe.close()

    def _take(self, report: Report) -> None:
        match report:
            case News() as news:
                self._hear(news)
            case Reply(number, value, error):
                future = self._asked.pop(number)
                future.set_result(value) if error is None else future.set_exception(error)

    def _hear(self, news: News) -> None:
        self.slack = news.slack
        for number, token, logprobs, top in news.tokens:
            one = self._live.get(number)  # None: it could not be told of an earlier one
            if one is None:
                continue
            try:
                one.take(token, logprobs, top)
            except Exception as error:
                del self._live[number]
                self._orders.put(Abort([number]))
                one.end(RequestFailed(f"on_token failed: {type(error).__name__}: {error}"))
        for number, end in news.ended:
            ended = self._live.pop(number, None)
            if ended is not None:
                ended.end(end)


class _Live:
    """A request under way, as far as it was heard of."""

    __slots__ = ("_handle", "_logprobs", "_top", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        assert ticket.handle is not None
        self.ticket, self._handle = ticket, ticket.handle
        self._logprobs: list[float] = []
        self._top: list[Top] = []
        if ticket.request.logprobs or ticket.request.top_logprobs:
            self._handle.measured = lambda start: (self._logprobs[start:], self._top[start:])

    def take(self, token: int, logprobs: list[float], top: list[Top]) -> None:
        """One more token, and what was measured since the last."""
        self._logprobs += logprobs
        self._top += top
        self._handle.push(token)

    def end(self, end: Completion | BaseException) -> None:
        """It is over."""
        self._handle.measured = None  # it holds on to this, which holds on to the handle
        if isinstance(end, BaseException):
            self.ticket.future.set_exception(end)
            return
        self._handle.completion = end
        self.ticket.future.set_result(end)


def _start() -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
    ours, theirs = Pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_IT)  # which it inherits, until it can ignore them
    try:
        process = subprocess.Popen(
            command("lampc.runtime.engine_process", str(theirs.fileno())),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment(),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process, ours
