"""Calls that nobody waits for any more, and calls that were made before it was known whether they are needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.calls import CallDesk
    from lampc.runtime.client import Client, Waiting
    from lampc.runtime.models import Model, ModelCall


def drop(desk: CallDesk, waiting: Waiting) -> Usage:
    """Wait no more for a call; what it cost, if nobody else waits either. A model that cannot stop a call finishes it,
    if it was sent: then its answer is kept, and counted when it comes (`settle`)."""
    with desk._lock:
        if waiting.call is None or waiting not in waiting.call[1].waiting:
            return Usage()
        model, call = waiting.call
        waiting.call = None
        found = desk._open.get(call.name)
        if found is None or found[1] is not call:
            return Usage()  # it has ended; another may have been asked for by the same name
        call.waiting.remove(waiting)
        waiting.client.open -= 1
        desk.bus.emit("node.end", node=waiting.node, call=waiting.number, request=call.number, error="dropped")
        queued = desk._queue.get(model, [])
        if call.waiting:
            return Usage()
        call.last = waiting
        if call in queued:
            queued.remove(call)
            del desk._open[call.name]
            return Usage()
        if hasattr(model, "drop"):
            del desk._open[call.name]
            return end(desk, model, call)
    recall(desk, model, [call])
    return Usage()


def end(desk: CallDesk, model: Model, call: ModelCall) -> Usage:
    """Stop a call at a model that can do that: what it cost so far, which is booked. For who holds the lock."""
    desk._leave(model, call)
    answer = model.drop(call)  # type: ignore[attr-defined]
    if answer is None:
        return Usage()
    desk.books.worked(model, call, answer)
    used = desk.books.spent(model, call, answer)
    desk.unwanted(call, answer, used)
    return used


def recall(desk: CallDesk, model: Model, calls: Sequence[ModelCall], client: Client | None = None) -> None:
    """Have calls that are not sent yet, and that nobody but a client waits for, stay so. For who does not hold the
    lock: answers may have to be told first."""
    again = []
    for call in model.recall(calls) if hasattr(model, "recall") else ():
        with desk._lock:
            found = desk._open.get(call.name)
            if found is None or found[1] is not call:
                continue
            if _of(client, call):
                del desk._open[call.name]
            else:  # somebody else has come to wait for it meanwhile
                again.append(call)
    if again:
        model.submit(again)


def _of(client: Client | None, call: ModelCall) -> bool:
    return all(w.client is client for w in call.waiting)


def settle(desk: CallDesk) -> None:
    """Wait for what an endpoint still works on though nobody wants it any more, so that it is counted and kept. Raises
    RuntimeError in the thread of an event loop in which a call is awaited: it would wait for itself."""
    with desk._lock:
        while (begun := _begun(desk)) or _ending(desk):
            if any(_awaited_here(call) for _, call in begun):
                raise RuntimeError(
                    "settle() waits for a call that is awaited in the event loop of this thread, which cannot go on "
                    "meanwhile; await asyncio.to_thread(session.settle)"
                )
            desk._turn.wait()


def see_out(desk: CallDesk, client: Client) -> None:
    """Nothing more is asked for a client: of what cannot be stopped, as an endpoint or Python code works on it, answers
    are waited for, booked and kept, and delivered to nobody. What is awaited in the event loop of this thread cannot
    end meanwhile: it is booked when it does."""
    with desk._lock:
        client.own.clear()
        client.asked, client.waits = [], True
        by_model: dict[Model, list[ModelCall]] = {}
        for model, call in _begun(desk, client):
            if _of(client, call):
                by_model.setdefault(model, []).append(call)
    for model, calls in by_model.items():
        recall(desk, model, calls, client)
    with desk._lock:
        while any(not _awaited_here(call) for _, call in _begun(desk, client)) or _ending(desk):
            desk._turn.wait()
        client.waits = False


def _awaited_here(call: ModelCall) -> bool:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    return call.awaiter is not None and call.awaiter.loop is loop


def _ending(desk: CallDesk) -> bool:
    """Whether another thread is keeping or booking an answer."""
    return bool(desk._ending.keys() - {threading.get_ident()})


def _begun(desk: CallDesk, client: Client | None = None) -> list[tuple[Model, ModelCall]]:
    """What is under way for a client, or for nobody any more, where it cannot be stopped."""
    queued = {id(call) for calls in desk._queue.values() for call in calls}

    def goes_on(model: Model, call: ModelCall) -> bool:
        if call.waiting and not any(w.client is client for w in call.waiting):
            return False
        sent = getattr(model, "pushes", False) and not hasattr(model, "drop") and id(call) not in queued
        return sent or (bool(call.maker) and bool(call.waiting))

    return [(model, call) for model, call in desk._open.values() if goes_on(model, call)]


def confirm(desk: CallDesk, waiting: Waiting) -> None:
    """A provisional call is needed after all: its answer is kept, now or when it comes."""
    with desk._lock:
        waiting.provisional = False
        found, answer = waiting.call, None
        if found is not None:
            call = found[1]
            call.provisional = False
            answer, call.answer = call.answer, None
            if answer is not None:
                waiting.call = None
    if found is not None and answer is not None:
        desk.books.keep(*found, answer)
    if waiting.held is not None:
        waiting.held.release()
