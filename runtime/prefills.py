"""Beginnings of prompts that are computed before anybody asks for the whole: the desk's part.

Whoever drives the engines starts and ends them; see `lampc.runtime.early` for who wants them, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.runtime.driving import Driving
    from lampc.runtime.models import Answer, Model, ModelCall


class Prefills:
    """Those of a desk. All but `want` and `forget` are for the thread that drives; who calls those holds the lock."""

    def __init__(self, desk: Driving) -> None:
        self._desk = desk
        self._wanted: list[tuple[Any, tuple[int, ...], str]] = []
        self._numbers: dict[tuple[Any, tuple[int, ...]], int] = {}  # of those under way
        self._running: dict[Any, int] = {}
        self._forget = False
        self.ended = False  # whether some have ended since somebody looked

    def __bool__(self) -> bool:
        """Whether any is to be started, or under way."""
        return bool(self._wanted or self._running)

    @property
    def due(self) -> bool:
        """Whether some are to be started or dropped, or have ended."""
        return bool(self._wanted or self._forget or self.ended)

    def want(self, model: Model, ids: tuple[int, ...], node: str) -> bool:
        """Have a model compute the beginning of a predictor's prompt; False if it has enough to do."""
        desk = self._desk
        queued = len(desk._queue.get(model, ())) + len(self._wanted)
        if not model.spare(queued):  # type: ignore[attr-defined]  # LocalModel's
            return False
        self._wanted.append((model, ids, node))
        desk._stepped[model] += 1
        return True

    def start(self) -> None:
        """Hand over what is wanted."""
        if self._forget:
            self._drop()
        while self._wanted:
            model, ids, node = self._wanted.pop(0)
            shared = self._desk._shared[model]
            number = next(self._desk.requests)
            if not self._asked(model, ids) and shared.hold(ids, number) and model.prefill(ids, number):
                self._running[model] = self._running.get(model, 0) + 1
                self._numbers[model, ids] = number
                told = {"request": number, "node": node, "tokens": len(ids)}
                self._desk.bus.emit("prefill.start", model=model.target.info.name, **told)
            else:
                self._desk._unstep(model)
                self.ended = True

    def _asked(self, model: Any, ids: tuple[int, ...]) -> bool:
        """Whether a call has come meanwhile that computes a prefix itself."""
        with self._desk._lock:
            return any(m is model and c.ids[: len(ids)] == ids for m, c in self._desk._open.values())

    def end(self, model: Any) -> None:
        """A model has worked: some may be computed."""
        if model not in self._running:
            return
        for ids, computed in model.prefilled():
            self._desk._shared[model].was_computed(ids, computed)
            self._desk.bus.emit("prefill.end", request=self._numbers.pop((model, ids), 0), computed=computed)
            self._less(model, 1)

    def count(self, model: Model, call: ModelCall, answer: Answer) -> None:
        """A call has ended: what was computed for it before it came was computed for it."""
        shared = self._desk._shared.get(model)
        early = shared.early(call.ids) if shared is not None else None
        if early is not None:
            self._desk.bus.emit("prefill.use", request=early.number, by=call.number)
            computed = min(early.computed, answer.cached_tokens)
            answer.computed_tokens += computed
            answer.cached_tokens -= computed

    def forget(self) -> None:
        """A run is over: nothing more is asked for. Where somebody drives it is done by who does."""
        self._forget = True
        if not self._desk._driver:
            self._drop()

    def clear(self) -> None:
        """All models drop all they do."""
        self._wanted.clear()
        self._running.clear()
        self._stopped()

    def _drop(self) -> None:
        self._forget = False
        for model, *_ in self._wanted:
            self._desk._unstep(model)
        self._wanted.clear()
        for model in list(self._running):
            model.stop_prefills()
            self._less(model, self._running[model])
        self._stopped()
        for shared in self._desk._shared.values():
            shared.forget()

    def _stopped(self) -> None:
        for number in self._numbers.values():
            self._desk.bus.emit("prefill.end", request=number, computed=0, stopped=True)
        self._numbers.clear()

    def _less(self, model: Any, count: int) -> None:
        self.ended = True
        self._running[model] -= count
        if not self._running[model]:
            del self._running[model]
        for _ in range(count):
            self._desk._unstep(model)
