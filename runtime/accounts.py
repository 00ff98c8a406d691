"""Who used what in a run: calls, rows, tokens, seconds of engines and K/V memory, by predictor.

The same books are kept of a run that was only simulated and of a real one, so that the two can stand side by side.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampc.runtime.local import LocalModel
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lampc.backend.steps import StepTaken
    from lampc.runtime.events import Event, EventBus
    from lampc.runtime.models import Model


@dataclass(frozen=True, slots=True)
class NodeAccount:
    """Of one predictor. `seconds` is its share of the steps of engines, by rows."""

    usage: Usage = Usage()
    rows: int = 0
    seconds: float = 0.0


class Accounts:
    """Listens to a bus and watches the steps of local models from when it is entered until it is left.

    `held` is the most tokens of K/V that requests and retained prefixes held at a time, `seconds` those of all steps.
    """

    def __init__(self, bus: EventBus, models: Iterable[Model]) -> None:
        self.seconds = 0.0
        self.steps = 0
        self.held = 0
        self.kv_bytes = 0
        self._bus = bus
        self._models = list({m.seats: m for m in models if isinstance(m, LocalModel)}.values())  # one of each engine
        self._rows: dict[str, set[str]] = {}
        self._spent: dict[str, float] = {}
        self._open = ExitStack()

    def __enter__(self) -> Accounts:
        from lampc.backend.errors import Unsupported
        from lampc.backend.steps import watch_steps

        self._open.callback(self._bus.subscribe(self._heard))
        for model in self._models:
            try:
                self._open.callback(watch_steps(model.engine, lambda step, m=model: self._took(m, step)))  # type: ignore[misc]
            except Unsupported:
                continue  # an engine without steps of its own
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def node(self, name: str, usage: Usage) -> NodeAccount:
        """The account of a predictor, with what the desk counted of it."""
        return NodeAccount(usage, len(self._rows.get(name, ())), self._spent.get(name, 0.0))

    def _heard(self, event: Event) -> None:
        if event.kind == "node.start":
            self._rows.setdefault(event.data["node"], set()).add(event.data.get("row") or "")

    def _took(self, model: LocalModel, step: StepTaken) -> None:
        self.seconds += step.seconds
        self.steps += 1
        if step.held > self.held:
            self.held, self.kv_bytes = step.held, step.held * model.target.info.kv_bytes_per_token
        share = step.seconds / max(step.shape.rows, 1)
        for handle, rows in step.rows:
            call = model.call_of(handle)
            if call is not None:
                self._spent[call.node] = self._spent.get(call.node, 0.0) + share * rows


__all__ = ["Accounts", "NodeAccount"]
