"""Calls that nobody waits for any more, and calls that were made before it was known whether they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.calls import CallDesk
    from lampc.runtime.client import Waiting


def drop(desk: CallDesk, waiting: Waiting) -> Usage:
    """Wait no more for a call; what it cost, if nobody else waits either. A model that cannot stop a call finishes it,
    and its answer is kept."""
    with desk._lock:
        if waiting.call is None or waiting not in waiting.call[1].waiting:
            return Usage()
        model, call = waiting.call
        if call.name not in desk._open:
            return Usage()
        call.waiting.remove(waiting)
        waiting.client.open -= 1
        desk.bus.emit("node.end", node=waiting.node, call=waiting.number, request=call.number, error="dropped")
        queued = desk._queue.get(model, [])
        if call.waiting or not (call in queued or hasattr(model, "drop")):
            return Usage()
        del desk._open[call.name]
        if call in queued:
            queued.remove(call)
            return Usage()
        desk._leave(model, call)
        answer = model.drop(call)  # type: ignore[attr-defined]
        if answer is None:
            return Usage()
        used = desk.books.spent(model, call, answer)
        desk.books.book(waiting.node, used)
        return used


def confirm(desk: CallDesk, waiting: Waiting) -> None:
    """A provisional call is needed after all: its answer is kept, now or when it comes."""
    waiting.provisional = False
    if waiting.held is not None:
        waiting.held.release()
    if waiting.call is None:
        return
    call = waiting.call[1]
    with desk._lock:
        call.provisional = False
        answer, call.answer = call.answer, None
    if answer is not None:
        desk.books.keep(*waiting.call, answer)
