"""Who asks the desk: one thread or run with the calls that it waits for."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from lampc.ir import Draw, Sampling
from lampc.ir.errors import LMTransportError
from lampc.runtime.budget import CANCELLED, BudgetSpent
from lampc.runtime.calling_off import control, guard
from lampc.runtime.dropping import confirm, drop, see_out
from lampc.runtime.held_text import HeldText
from lampc.runtime.making import Awaiter
from lampc.runtime.models import NOT_KNOWN, Answer, KvUse, Model, ModelCall
from lampc.runtime.modelview import ModelView, view_of
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.calls import CallDesk
    from lampc.runtime.events import EventBus

T = TypeVar("T")
Deliver = Callable[[Answer, Usage], None]
OnText = Callable[[str], None]


class Waiting:
    """Who waits for a call: a client, what it wants called with the answer, who watches its model, and who is given
    its text while it is written."""

    __slots__ = ("call", "client", "deliver", "held", "node", "number", "on_text", "provisional", "watch")

    def __init__(
        self, client: Client, deliver: Deliver, node: str, watch: Any, on_text: OnText | None = None, number: int = 0
    ) -> None:
        self.client, self.deliver, self.node, self.watch, self.on_text = client, deliver, node, watch, on_text
        self.number = number
        self.call: tuple[Model, ModelCall] | None = None  # what it waits for, if that was not known at once
        self.provisional = False  # whether nobody knows yet if the answer is needed
        self.held: HeldText | None = None  # what hears its text once that is known


class Client:
    """One thread's (or one run's) dealings with the desk: its answers are delivered to it, in its own thread."""

    __slots__ = (
        "asked",
        "control",
        "desk",
        "dropped",
        "guard",
        "helpers",
        "lost",
        "open",
        "outside",
        "own",
        "ready",
        "waits",
        "wake",
    )

    def __init__(self, desk: CallDesk) -> None:
        self.desk = desk
        self.control, self.guard = control(), guard()
        self.dropped = desk._dropped
        self.open = 0
        self.helpers = 0  # threads that make calls for it
        self.lost = False  # whether calls of it were dropped by others
        self.waits = False
        self.wake: Callable[[], object] | None = None  # told of every answer
        self.ready: list[Callable[[], object]] = []  # what is delivered next
        self.outside = 0  # of `open`, what is under way on other threads
        self.asked: list[tuple[Any, ModelCall]] = []  # of models that are Python code
        self.own: deque[tuple[Any, ModelCall]] = deque()  # the same, once the model was told of them

    def __enter__(self) -> Client:
        if self.control is not None:
            self.control.join(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None = None, *_: object) -> None:
        try:
            if isinstance(error, BudgetSpent) and error.limit != CANCELLED:
                see_out(self.desk, self)
        finally:
            if self.control is not None:
                self.control.leave(self)
            if kind is not None:
                self.abort()

    def call_off(self) -> None:
        """Drop everything, from another thread; whoever works for this client hears of it when it goes on."""
        with self.desk._lock:
            self.abort()
            self.desk._turn.notify_all()
        if self.wake is not None:
            self.wake()

    def abort(self) -> None:
        """Drop what this client still waits for. Calls that others wait for, too, go on."""
        with self.desk._lock:
            self.desk.forsake(self)
            self.open, self.outside, self.ready, self.asked = 0, 0, [], []
            self.own.clear()
            if not any(call.waiting for _, call in self.desk._open.values()):
                self.desk.abort()

    def finish(self) -> None:
        """Wait for everything asked for."""
        while not self.idle:
            self.advance()

    @property
    def bus(self) -> EventBus:
        return self.desk.bus

    @property
    def idle(self) -> bool:
        return not (self.open or self.ready or (self.control is not None and self.control.cancelled))

    def request(
        self,
        model: Model | ModelView,
        sampling: Sampling,
        draw: Draw,
        deliver: Deliver,
        *,
        ids: tuple[int, ...] = (),
        messages: tuple[tuple[str, str], ...] = (),
        score: tuple[int, ...] = (),
        node: str = "",
        awaiter: Awaiter | None = None,
        cell: int = 0,
        provisional: bool = False,
        depth: int = 0,
        use: KvUse = NOT_KNOWN,
        hears: OnText | None = None,
        unheard: list[HeldText] | None = None,
    ) -> Waiting:
        """Ask for a completion of `ids` (local) or `messages` (endpoint), or for the probability of `score`
        after `ids`; `deliver` is called from `advance`. `cell` is what events call the row that asks, `depth` how many
        calls follow one another from this one on, `use` what its plan knows of the K/V. The answer of a `provisional`
        call is not kept until it is confirmed. Who listens to `node` is told nothing before what is put into `unheard`
        is released. `hears` is given the answer's text while it is written, on whatever thread does."""
        if self.control is not None:
            self.control.check()
        number = next(self.desk.numbers)
        self.desk.bus.emit("node.start", node=node, row=draw.row, call=number, cell=cell)
        view = view_of(model)
        if sampling.extra:
            view = view.telling(sampling.extra)
        watch = None
        if view.watched:  # by what holds for who awaits it: its callbacks, its tracker of usage
            if awaiter is None:
                watch = view.begin(sampling, ids, messages)
            else:
                watch = awaiter.context.copy().run(view.begin, sampling, ids, messages)
        on_text = self.desk._heard.get(draw) if self.desk._heard else None
        if on_text is None and self.control is not None and self.control.on_text is not None:
            on_text = functools.partial(self.control.on_text, node, number)
        if unheard is not None and on_text is not None:
            on_text = HeldText(on_text)
            unheard.append(on_text)
        held = HeldText(on_text) if provisional and on_text is not None else None
        if held is not None:
            on_text = held
        if hears is not None:
            on_text = hears if on_text is None else both(on_text, hears)
        self.open += 1
        waiting = Waiting(self, deliver, node, watch, on_text, number)
        waiting.provisional, waiting.held = provisional, held
        self.desk.ask(self, view, sampling, draw, waiting, ids, messages, score, awaiter, depth, use)
        return waiting

    def drop(self, waiting: Waiting) -> Usage:
        """Wait no more for a call, whose answer is not delivered any more; what it cost if nobody else waits either."""
        return drop(self.desk, waiting)

    def confirm(self, waiting: Waiting) -> None:
        """A provisional call is needed: its answer is kept."""
        confirm(self.desk, waiting)

    def expect(self, future: Future[T], deliver: Callable[[Future[T]], object]) -> None:
        """Wait for work on another thread as for an answer: `deliver` is called with it, done, from `advance`."""
        with self.desk._lock:
            self.open, self.outside = self.open + 1, self.outside + 1

        def arrived(future: Future[T]) -> None:
            with self.desk._lock:
                if not self.outside:
                    return  # the client gave up meanwhile
                self.outside -= 1
                self.ready.append(functools.partial(deliver, future))
                self.desk._turn.notify_all()
            if self.wake is not None:
                self.wake()

        future.add_done_callback(arrived)

    def soon(self, deliver: Callable[[], object]) -> None:
        """Have something called from `advance`; from any thread."""
        with self.desk._lock:
            self.open += 1
            self.ready.append(deliver)
            self.desk._turn.notify_all()
        if self.wake is not None:
            self.wake()

    async def afinish(self) -> None:
        """`finish`, for `await`: the loop waits for what arrives by itself, a thread works for the rest."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        self.wake = lambda: loop.call_soon_threadsafe(arrived.set)
        self.desk._send(pushes=True)
        if self.desk.driven_for(self):
            await loop.run_in_executor(waiting_threads(), contextvars.copy_context().run, self.finish)
        while not self.idle:
            if self.ready or (self.control is not None and self.control.cancelled):
                self.advance()
                continue
            await arrived.wait()
            arrived.clear()

    def advance(self) -> None:
        """Hand queued calls to their models, let models work, deliver what is finished. Raises LMTransportError for
        calls that somebody else dropped."""
        if not self.ready:
            self.waits = True
            self.desk.serve(self)
            self.waits = False
        if self.control is not None:
            self.control.check()
        with self.desk._lock:
            ready, self.ready = self.ready, []
            self.open -= len(ready)
        for deliver in ready:
            deliver()
        if self.lost and not self.open:
            raise LMTransportError("the session was closed, or its calls dropped, while this call was under way")


def both(one: OnText, other: OnText) -> OnText:
    """Two listeners as one."""

    def hear(piece: str) -> None:
        one(piece)
        other(piece)

    return hear


@functools.cache
def waiting_threads() -> ThreadPoolExecutor:
    """Threads for asynchronous calls that wait for an engine: the usual pool is too small to fill a batch."""
    return ThreadPoolExecutor(128, thread_name_prefix="lampc-wait")
