"""A model object of DSPy as a model of ours."""

from __future__ import annotations

from typing import Any

from lampc.runtime.lm import BaseLM


class ForeignLM(BaseLM):
    """Asks the DSPy LM that a predictor was given. Its own options hold, its cache and history stay its own."""

    def __init__(self, given: Any) -> None:
        super().__init__(str(given.model), cache=False)
        self.given = given

    def forward(self, prompt: Any = None, messages: Any = None, **options: Any) -> Any:
        kept = {k: v for k, v in options.items() if v is not None and k not in self.given.kwargs}
        kept.pop("temperature", None) if not options.get("temperature") else None
        return [o if isinstance(o, str) else o.get("text", "") for o in self.given(messages=messages, **kept)]
