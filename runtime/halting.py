"""Long work awaited: it runs in a thread of its own, and ends early, with nothing lost, when the task is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from lampc.runtime.calling_off import RunControl

if TYPE_CHECKING:
    from lampc.ir import Unit
    from lampc.runtime.optimized import OptimizeResult
    from lampc.runtime.session import Session

P = ParamSpec("P")
T = TypeVar("T")


async def awaited(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives or raises, from a thread that sees the settings of this task; the loop goes on meanwhile.

    If the task is cancelled, the work is called off (`lampc.runtime.calling_off`) and waited for, and the cancellation
    goes on.
    """
    control = RunControl()

    def run() -> T:
        with control.running():
            return work(*args, **kwargs)

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    context = copy_context()

    def body() -> None:
        try:
            made = context.run(run)
        except BaseException as e:
            loop.call_soon_threadsafe(_fail, ended, e)
        else:
            loop.call_soon_threadsafe(_give, ended, made)

    threading.Thread(target=body, name="lampc-awaited", daemon=True).start()
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        control.cancel()
        await asyncio.wait([ended])
        ended.exception()  # asked for, so that nobody warns of it
        raise


async def aoptimize(unit: Unit, session: Session, **options: Any) -> OptimizeResult:
    """`lampc.runtime.driver.optimize`, awaited. A run that is called off ends as one whose budget is spent."""
    from lampc.runtime.driver import optimize

    return await awaited(optimize, unit, session, **options)


def _give(ended: asyncio.Future[T], made: T) -> None:
    if not ended.done():
        ended.set_result(made)


def _fail(ended: asyncio.Future[T], error: BaseException) -> None:
    if not ended.done():
        # neither may pass through a future: they would end the loop, or be taken for the loop's own
        wrapped = isinstance(error, (KeyboardInterrupt, SystemExit, StopIteration))
        ended.set_exception(RuntimeError(f"{type(error).__name__}: {error}") if wrapped else error)


__all__ = ["aoptimize", "awaited"]
