"""Texts as tokens, each cut once as long as it is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lampc.runtime.modelview import ModelView

_TEXTS = 1 << 14
"""How many texts are remembered."""


class Encoded:
    """See the module's text; for one run."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], tuple[int, ...]] = {}

    def __call__(self, model: ModelView, text: str) -> tuple[int, ...]:
        spot = (model.target.info.digest, text)
        found = self._tokens.get(spot)
        if found is None:
            assert model.target.tokens is not None
            if len(self._tokens) >= _TEXTS:
                self._tokens.clear()  # what returns all the time is soon back
            found = self._tokens[spot] = tuple(model.target.tokens.encode(text))
        return found
