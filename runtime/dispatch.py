"""Calls from outside of any run: by one piece of code, by several at once, by threads and by tasks of asyncio.

Threads that ask at the same time are answered together by the session's desk. Tasks of asyncio hand their calls to the
dispatcher's thread, those that wait at the same time as one order.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from lampc.ir import Key, Sampling
from lampc.ir.adapters import Bound
from lampc.ir.runner import Choose, Spoken
from lampc.runtime.eager import SessionCompleter
from lampc.runtime.eager_calls import EagerAnswer, EagerCall, awaiting_in, calls_of
from lampc.runtime.making import inside
from lampc.runtime.strands import Book, Strand, Threads, Weaver

if TYPE_CHECKING:
    from lampc.ir.lookup import Hit, Lookup
    from lampc.runtime.session import Session

_Order = tuple[Sequence[EagerCall], "Future[list[EagerAnswer]]"]
Window = list[tuple[Sequence[EagerCall], "asyncio.Future[list[EagerAnswer]]"]]


class Dispatcher:
    """Answers calls of many threads in common batches."""

    def __init__(self, session: Session) -> None:
        self.completer = SessionCompleter(session)
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        """Answers in order, worked out together with what other threads ask for (see `lampc.runtime.calls`)."""
        return self.completer.complete(calls)

    def submit(self, calls: Sequence[EagerCall]) -> Future[list[EagerAnswer]]:
        """The same without waiting."""
        future: Future[list[EagerAnswer]] = Future()
        if inside.get() or threading.current_thread() is self._thread:  # that thread may be waiting for this code
            threading.Thread(
                target=contextvars.copy_context().run, args=(_answer, [(calls, future)], self.completer), daemon=True
            ).start()
            return future
        self._orders.put((calls, future))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=_serve, args=(self._orders, self.completer))
                self._thread.name, self._thread.daemon = "lampc-dispatch", True
                self._thread.start()
        return future

    def close(self) -> None:
        """End the thread once all orders are answered."""
        with self._starting:
            if self._thread is not None:
                self._orders.put(None)
                if self._thread is not threading.current_thread():
                    self._thread.join(5)
                self._thread = None


def _serve(orders: queue.SimpleQueue[_Order | None], completer: SessionCompleter) -> None:
    """Take orders until None: all that have come, together."""
    going = True
    while going:
        batch = [orders.get()]
        while True:
            try:
                batch.append(orders.get_nowait())
            except queue.Empty:
                break
        going = None not in batch
        taken = [o for o in batch if o is not None and o[1].set_running_or_notify_cancel()]
        _answer(taken, completer)


def _answer(taken: Sequence[_Order], completer: SessionCompleter) -> None:
    try:
        found = iter(completer.complete([c for calls, _ in taken for c in calls]))
        answers = [[next(found) for _ in calls] for calls, _ in taken]
    except Exception as e:
        for _, future in taken:
            future.set_exception(e)
        return
    for (_, future), answer in zip(taken, answers, strict=True):
        future.set_result(answer)


class Together:
    """What a runner of a session answers calls with. Subclasses say which (`root`)."""

    _dispatcher: Dispatcher | None = None
    _book: Book | None = None
    _mutex: threading.Lock
    _windows: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Window]

    @property
    def root(self) -> Session:
        raise NotImplementedError

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._windows = weakref.WeakKeyDictionary()

    @property
    def dispatcher(self) -> Dispatcher:
        with self._mutex:
            if self._dispatcher is None:
                self._dispatcher = Dispatcher(self.root)
            return self._dispatcher

    def close_dispatcher(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.close()

    def _counted(self, what: str) -> tuple[Book, int]:
        """The book of all calls outside of runs, and how often `what` was asked before."""
        with self._mutex:
            if self._book is None:
                self._book = Book(self.root.seed)
            return self._book, self._book.count((), what)

    def count_tokens(self, text: str) -> int | None:
        """Tokens of a text for the model that is set; None if only an endpoint knows."""
        tokens = self.session.models.get("main").target.tokens
        return len(tokens.encode(text)) if tokens is not None else None

    @property
    def session(self) -> Session:
        raise NotImplementedError

    def predict(
        self, bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, key: Key
    ) -> tuple[dict[str, Any], str]:
        return self.predict_many(bound, inputs, sampling, key, 1)[0]

    def predict_many(
        self,
        bound: Bound,
        inputs: Mapping[str, Any],
        sampling: Sampling,
        key: Key,
        n: int,
        spoken: Spoken | None = None,
    ) -> list[tuple[dict[str, Any], str]]:
        """`n` draws of one call, asked for together."""
        from lampc.ir import Draw

        book, number = self._counted(key.path[-1])
        spot = Key((f"{key.path[-1]}#{number}",))
        draws = [Draw(book.seed, spot, (i,) if n > 1 else ()) for i in range(n)]
        answers = self.dispatcher.complete(calls_of(bound, inputs, sampling, draws, spoken))
        for a in answers:
            if a.error is not None:
                raise a.error
        return [(a.outputs if spoken is None else spoken.read(a.text), a.text) for a in answers]

    def gather(self, pieces: Sequence[Callable[[], Any]], choose: Choose | None = None) -> list[Any]:
        """Run pieces of plain code at once; what each gave, or the exception that ended it."""
        book, number = self._counted("gather")
        weaver = Weaver(_Dispatched(self.dispatcher))
        strands = [weaver.spawn(p, book, i, (f"gather#{number}/{i}",)) for i, p in enumerate(pieces)]
        weaver.run(lambda: False, lambda _: None)
        return [s.taken() for s in strands]

    async def awaiting(self, piece: Callable[[], Any]) -> Any:
        """Run plain code whose LM calls suspend this task; those of all tasks that wait go out together."""
        book, number = self._counted("task")
        threads = Threads()
        token = awaiting_in.set(asyncio.get_running_loop())
        try:
            strand = Strand(piece, book, _Dispatched(self.dispatcher), threads, (f"task#{number}",))
        finally:
            awaiting_in.reset(token)
        try:
            await self._drive(strand)
        finally:
            threads.close()
        if strand.error is not None:
            raise strand.taken()
        return strand.value

    async def _drive(self, strand: Strand) -> None:
        value: Any = None
        try:
            while True:
                strand.resume(value)
                value = None
                if strand.done:
                    return
                if strand.wanted is not None:
                    value = await asyncio.to_thread(self._looked_up, strand.wanted)
                elif strand.calls:
                    value = await self._windowed(strand.calls)
                elif strand.future is not None:
                    waiting = asyncio.wrap_future(strand.future)
                    await asyncio.wait([waiting])
                    if not waiting.cancelled():
                        waiting.exception()  # the strand is told of it; nobody else has to be
                else:
                    await asyncio.gather(*(self._drive(f) for f in strand.forks))
        finally:
            strand.kill()

    def _looked_up(self, ask: Lookup) -> list[Hit] | Exception:
        """What one task looks up, searched for with what other threads look up meanwhile."""
        try:
            return self.root.retrieval.one(ask)
        except Exception as e:
            return e

    def _windowed(self, calls: Sequence[EagerCall]) -> asyncio.Future[list[EagerAnswer]]:
        """Join what the other tasks of this loop ask for, until all that can run have run."""
        loop = asyncio.get_running_loop()
        window = self._windows.setdefault(loop, [])
        if not window:
            loop.call_soon(self._flush, loop)
        future: asyncio.Future[list[EagerAnswer]] = loop.create_future()
        window.append((calls, future))
        return future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        window = self._windows.pop(loop, [])
        order = self.dispatcher.submit([c for calls, _ in window for c in calls])

        def deliver() -> None:
            error = order.exception()
            found = iter(order.result() if error is None else ())
            for calls, future in window:
                answers = [a for _, a in zip(calls, found, strict=False)]
                if future.done():  # the task was cancelled
                    continue
                if error is None:
                    future.set_result(answers)
                else:
                    future.set_exception(error)

        def done(_: Future[list[EagerAnswer]]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver)

        order.add_done_callback(done)


class _Dispatched:
    """A completer for strands outside of runs: it has no model of its own, only the one that is set counts."""

    lm: Any = object()

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        return self.dispatcher.complete(calls)

    def lookup(self, asks: Sequence[Lookup]) -> list[list[Hit] | Exception]:
        return self.dispatcher.completer.lookup(asks)
