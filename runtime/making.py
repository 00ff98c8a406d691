"""Calls of models that are Python code: one after another by who asked, beside each other where the code waits.

Code that only computes gains nothing from threads. Whether it waits for the outside (a client of an endpoint of the
user's own) is seen from its first calls.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lampc.ir.runner import current_runner
from lampc.ir.settings import settings

if TYPE_CHECKING:
    from lampc.runtime.client import Client
    from lampc.runtime.driving import Driving
    from lampc.runtime.models import ModelCall, PythonModel

T = TypeVar("T")
inside: contextvars.ContextVar[bool] = contextvars.ContextVar("lampc_inside_model", default=False)
"""Whether the code of a model is under way here: somebody waits for it, who must not be waited for."""
TIMED = 8
CALLS, SECONDS = 2, 0.005
"""A model waits if that many calls in a row took so long each, most of it without computing. The first `TIMED` are
timed, then one of so many, until one waited."""


@dataclass(frozen=True, slots=True, eq=False)
class Awaiter:
    """Who awaits a call: the event loop, and the context there, with the settings that hold."""

    loop: asyncio.AbstractEventLoop
    context: contextvars.Context

    @staticmethod
    def here(loop: asyncio.AbstractEventLoop | None = None) -> Awaiter:
        """This task; of plain code that suspends one, the task in `loop`."""
        context = contextvars.copy_context()
        context.run(current_runner.set, None)
        return Awaiter(loop or asyncio.get_running_loop(), context)

    @property
    def there(self) -> bool:
        """Whether the loop still runs."""
        return self.loop.is_running()

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run a coroutine there, from any thread."""
        return self.context.copy().run(asyncio.run_coroutine_threadsafe, work, self.loop)


class Pace:
    """What is known of how some code spends its time."""

    def __init__(self) -> None:
        self._waited = self._calls = 0

    @property
    def waits(self) -> bool:
        return self._waited >= CALLS

    @property
    def due(self) -> bool:
        """Whether the next call is to be timed."""
        return self._calls < TIMED or self._calls % TIMED == TIMED - 1 or bool(self._waited)

    def waited(self) -> None:
        """A call was seen to wait where that took nobody's time: one is enough."""
        self._calls, self._waited = self._calls + 1, CALLS

    def computed(self) -> None:
        """A call was seen to compute, or took no time."""
        self._calls, self._waited = self._calls + 1, 0

    def run(self, code: Callable[[], T]) -> T:
        """A call of a model's code."""
        token = inside.set(True)
        try:
            return self.timed(code)
        finally:
            inside.reset(token)

    def timed(self, code: Callable[[], T]) -> T:
        """A call of the code. Where it has not waited yet, only some of its calls are timed."""
        due = self.due
        self._calls += 1
        if not due:
            return code()
        wall, computing = time.perf_counter(), time.thread_time()
        try:
            return code()
        finally:
            wall, computing = time.perf_counter() - wall, time.thread_time() - computing
            self._waited = self._waited + 1 if wall > SECONDS and computing < wall / 2 else 0


def take(desk: Driving, client: Client) -> tuple[PythonModel, list[ModelCall]] | None:
    """The next call of the client that it is to make itself, if nobody makes it yet, with its other draws."""
    if client.asked:
        told: dict[PythonModel, list[ModelCall]] = {}
        for model, call in client.asked:
            if not call.told:
                call.told = True
                told.setdefault(model, []).append(call)
        client.own += client.asked
        client.asked = []
        for model, calls in told.items():
            desk.batches[len(calls)] += 1
            model.submit(calls)
            desk._submitted(model, calls)
    while client.own:
        model, call = client.own.popleft()
        if not _unmade(desk, call):
            continue
        taken = [call]
        while client.own and client.own[0][1].is_draw_of(call) and _unmade(desk, client.own[0][1]):
            taken.append(client.own.popleft()[1])
        for c in taken:
            c.maker = threading.get_ident()
        return model, taken
    return None


def _unmade(desk: Driving, call: ModelCall) -> bool:
    """Whether a call is open and nobody makes it yet."""
    return not call.maker and call.name in desk._open and desk._open[call.name][1] is call


def make(desk: Driving, model: PythonModel, calls: list[ModelCall]) -> None:
    """Makes calls that were taken: draws of one. Raises what no call can catch, and they are to be made again."""
    try:
        answers = model.make_draws(calls)
    except BaseException:
        with desk._lock:  # whoever waits for it too makes it
            for call in calls:
                call.maker = 0
                for waiting in call.waiting:
                    waiting.client.asked.append((model, call))
            desk._turn.notify_all()
        raise
    for call, answer in zip(calls, answers, strict=True):
        desk._answered(model, call, answer)


def help_with(desk: Driving, client: Client) -> None:
    """Threads that make further calls of a client, as many as `num_threads` of the settings allows beside this one."""
    with desk._lock:
        wanted = min(int(settings.num_threads or 1) - 1, len(client.own)) - client.helpers
        client.helpers += max(wanted, 0)
    for _ in range(wanted):
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(_help, desk, client), name="lampc-model", daemon=True).start()


def _help(desk: Driving, client: Client) -> None:
    while True:
        with desk._lock:
            own = take(desk, client)
            if own is None:
                client.helpers -= 1
                return
        try:
            make(desk, *own)
        except BaseException:  # the call is the client's again, whose thread meets what happened
            with desk._lock:
                client.helpers -= 1
            return
