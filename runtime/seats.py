"""One engine of ours, and the models that it computes: they differ in their adapter alone.

Each of them submits and is told its own; a step is everybody's, whoever asks for it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lampc.backend import Handle, TokenEngine
    from lampc.runtime.local import LocalModel


class Seats:
    """See the module's text. The engine is closed when the last model leaves; `at_close` is called before that.

    `size` is how many bytes the weights take without adapters, for whoever keeps count.
    """

    def __init__(self, engine: TokenEngine, size: int = 0) -> None:
        self.engine, self.size = engine, size
        self.models: list[LocalModel] = []
        self.at_close: list[Callable[[], None]] = []
        self._ended: dict[LocalModel, list[Handle]] = {}
        self._adapters: Counter[str] = Counter()  # how many models take each

    def adapter(self, folder: Path) -> str:
        """What the engine calls the adapter in a folder, which is loaded if it was not: equal ones have one name,
        and no name is ever of two. Raises the engine's errors."""
        from lampc.backend.adapting import Adaptable, digest_of
        from lampc.backend.errors import Unsupported
        from lampc.backend.models.peft import contents_of

        if not isinstance(self.engine, Adaptable):
            raise Unsupported(f"{folder}: a {type(self.engine).__name__} takes no adapters")
        name = digest_of([contents_of(folder)])
        if name not in self.engine.info.adapters:
            self.engine.add_adapter(name, folder)
        return name

    def take(self, model: LocalModel) -> None:
        """One more model."""
        self.models.append(model)
        self._ended[model] = []
        if model.adapter is not None:
            self._adapters[model.adapter] += 1

    def step(self, model: LocalModel) -> list[Handle]:
        """Requests of a model that have ended: since others had the engine make a step, or in the one that it makes
        now."""
        if not self._ended[model]:
            for handle in self.engine.step():
                owner = next((m for m in self.models if m.has(handle)), None)
                if owner is not None:
                    self._ended[owner].append(handle)
        ended, self._ended[model] = self._ended[model], []
        return ended

    def leave(self, model: LocalModel) -> None:
        """A model that has nothing under way is needed no more. Twice is fine."""
        from lampc.backend.adapting import Adaptable
        from lampc.backend.errors import BackendError

        if model not in self.models:
            return
        self.models.remove(model)
        del self._ended[model]
        if not self.models:
            while self.at_close:
                self.at_close.pop()()
            self.engine.close()
        elif model.adapter is not None:
            self._adapters[model.adapter] -= 1
            if not self._adapters[model.adapter] and isinstance(self.engine, Adaptable):
                with contextlib.suppress(BackendError):  # one that was interrupted halfway is only good for closing
                    self.engine.drop_adapter(model.adapter)
