"""Steps of engines and moves of their requests, as events of a run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.backend import Request
    from lampc.backend.hooks import Event
    from lampc.runtime.events import EventBus
    from lampc.runtime.local import LocalModel

_MOVES = ("admitted", "running", "preempted", "finished")


def tell_steps(model: LocalModel, bus: EventBus) -> None:
    """Have the steps of a model's engine told on the bus while somebody hears it, until the engine is closed.

    An engine that tells nobody of its steps is left alone.
    """
    from lampc.backend.errors import Unsupported
    from lampc.backend.hooks import watch

    teller = _Teller(model, bus)
    watching: list[Callable[[], None]] = []

    def turn(heard: bool) -> None:
        if heard and not watching:
            with contextlib.suppress(Unsupported):
                watching.append(watch(model.engine, teller))
        elif watching and not heard:
            watching.pop()()

    model.seats.at_close.append(bus.source(turn))


class _Teller:
    """A hook. It says little unless somebody hears details."""

    def __init__(self, model: LocalModel, bus: EventBus) -> None:
        from lampc.backend.hooks import StepEvent

        info = model.engine.info
        self._model, self._bus, self._step = model, bus, StepEvent
        self._clock: Callable[[], float] = getattr(model.engine, "_clock", time.monotonic)
        self._blocks = info.kv_tokens // info.block_size if info.block_size else 0

    def on_submit(self, request: Request) -> Request:
        return request

    def on_event(self, event: Event) -> None:
        bus = self._bus
        if isinstance(event, self._step):
            told: dict[str, Any] = {}
            if bus.detailed:
                told = {
                    "step": event.step,
                    "seconds": round(event.seconds, 7),
                    "ago": self._ago(event),
                    "computed": event.computed,
                    "cached": event.cached,
                    "total_blocks": self._blocks,
                    "model": self._model.target.info.name,
                    "requests": [number for h in event.handles if (number := self._model.number_of(h))],
                }
            bus.emit(
                "step",
                tokens=event.rows,
                running=event.running,
                waiting=event.waiting,
                used_blocks=event.used_blocks,
                **told,
            )
        elif bus.detailed and event.kind in _MOVES and (number := self._model.number_of(event.handle)):
            bus.emit("request.move", request=number, to=event.kind, ago=self._ago(event))

    def _ago(self, event: Event) -> float:
        """Seconds since it happened: hooks hear of a step when it is over."""
        return round(self._clock() - event.time, 7)
