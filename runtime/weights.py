"""Engines that a pool of models has loaded, within one budget of bytes: one for all models that differ in their adapter
alone, so that what they have in common is loaded once and their calls are batched together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lampc.runtime.collector import settle
from lampc.runtime.models import ModelError
from lampc.runtime.seats import Seats

if TYPE_CHECKING:
    from lampc.runtime.local import LocalModel


class Engines:
    """`budget` bounds the bytes of weights, adapters among them. `gone` is told of models that are given back."""

    def __init__(self, budget: int, gone: Callable[[LocalModel], None]) -> None:
        self.budget, self._gone = budget, gone
        self._seats: dict[str, Seats] = {}
        self._models: dict[LocalModel, tuple[str, int]] = {}  # with the bytes of their adapters, longest unused first
        self.bytes = 0

    def model(
        self,
        folder: Path,
        kind: Literal["paged", "naive"],
        options: Mapping[str, Any],
        adapter: Path | None,
        make: Callable[[Seats, str | None], LocalModel],
    ) -> LocalModel:
        """What `make` makes of the engine for a checkpoint folder and of what it calls the adapter. Models that nobody
        is using are given back for it. Raises ModelError if the budget does not allow it or an option is wrong, and
        the engine's own errors."""
        from lampc.backend import Unsupported, load_engine

        if adapter is not None and (options.get("tensor_parallel") is not None or options.get("backend") == "triton"):
            raise Unsupported(
                f"{adapter}: adapters are for one rank, without Triton's kernels; leave these options out"
            )
        key = json.dumps([str(folder.resolve()), kind, sorted(options.items())], default=repr)
        seats, own = self._seats.get(key), 0 if adapter is None else _bytes(adapter)
        more = own + (_bytes(folder) if seats is None else 0)
        self._make_room(more, seats)
        if self.bytes + more > self.budget:
            raise ModelError(
                f"{folder}: {more >> 20} MiB of weights do not fit beside the {self.bytes >> 20} MiB loaded, "
                f"within {self.budget >> 20} MiB; use fewer models at once or raise the budget"
            )
        try:
            made = Seats(load_engine(folder, kind=kind, **options), _bytes(folder)) if seats is None else seats
        except ValueError as e:
            raise ModelError(f"{folder}: {e}") from e
        try:
            model = make(made, None if adapter is None else made.adapter(adapter))
        except Exception:
            if seats is None:
                made.engine.close()
            raise
        settle()
        self._seats[key], self._models[model] = made, (key, own)
        self.bytes += more  # only now: what failed to load takes no room
        return model

    def used(self, model: LocalModel) -> None:
        """Somebody asked for a model."""
        if model in self._models:
            self._models[model] = self._models.pop(model)

    def clear(self) -> None:
        """All models are closed by others."""
        self._seats, self._models, self.bytes = {}, {}, 0

    def _make_room(self, size: int, keep: Seats | None) -> None:
        """Give models back that nobody is using, as long as `size` bytes more do not fit; an engine stays."""
        for model, (key, own) in list(self._models.items()):
            if self.bytes + size <= self.budget:
                return
            seats, last = model.seats, len(model.seats.models) == 1
            if model.busy or (seats is keep and (last or not own)):
                continue
            del self._models[model]
            self.bytes -= own
            if last:
                self.bytes -= seats.size
                del self._seats[key]
            self._gone(model)
            model.close()


def _bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.safetensors"))
