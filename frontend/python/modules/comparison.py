"""`MultiChainComparison`: several attempts at an answer, compared by one more call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.predict import Predict
from lampc.frontend.python.signature import ensure_signature


class MultiChainComparison(Module):
    """Give `M` completions of a signature (records or predictions with `rationale` or `reasoning`), get a better one.

    Texts are DSPy 3.4's: each attempt is one line of its reasoning and of its last output.
    """

    def __init__(self, signature: Any, M: int = 3, temperature: float = 0.7, **config: Any) -> None:
        super().__init__()
        self.M = M
        extended = ensure_signature(signature)
        self.last_key = list(extended.output_fields)[-1]
        for i in range(1, M + 1):
            extended = extended.append(f"reasoning_attempt_{i}", InputField(desc="${reasoning attempt}"))
        rationale = OutputField(desc="${corrected reasoning}")
        self.predict = Predict(extended.prepend("rationale", rationale), temperature=temperature, **config)

    def forward(self, completions: Sequence[Any], **kwargs: Any) -> Any:
        key = self.last_key
        attempts = [
            "«I'm trying to "
            + c.get("rationale", c.get("reasoning")).strip().split("\n")[0].strip()
            + " I'm not sure but my prediction is "
            + str(c[key]).strip().split("\n")[0].strip()
            + "»"
            for c in completions
        ]
        assert len(attempts) == self.M, f"{self.M} completions are compared; set M to another number for others"
        shown = {f"reasoning_attempt_{i + 1}": attempts[i] for i in range(self.M)}
        return self.predict(**shown, **kwargs)
