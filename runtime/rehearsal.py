"""A local model whose answers come from a script: the engine does its work, or only counts it, and control flow is
known beforehand.

For benchmarks (the same answers under every schedule), for `lampc explain` (what a run would cost), and for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from lampc.runtime.local import LocalModel
from lampc.runtime.models import Answer, ModelCall

if TYPE_CHECKING:
    from lampc.backend import Handle, TokenEngine


class Answers(Protocol):
    """Says what a model answers."""

    def tokens(self, call: ModelCall) -> Sequence[int]:
        """The ids that a call generates; the end of sequence follows by itself."""
        ...

    def score(self, call: ModelCall) -> float:
        """What a scoring call finds, in nats."""
        ...


class RehearsedModel(LocalModel):
    """An engine of ours that answers as `answers` says. `heard`, if given, is told of all calls, in their order.

    Raises Unsupported for an engine without a scheduler, or whose tokenizer has no end-of-sequence id.
    """

    def __init__(
        self,
        engine: TokenEngine,
        name: str,
        answers: Answers,
        heard: Callable[[Sequence[ModelCall]], None] | None = None,
    ) -> None:
        from lampc.backend.simulated import play

        super().__init__(engine, name, structured=False)  # the script says every token: a grammar would say some, too
        self.answers = answers
        self.script = play(engine)
        self._heard = heard

    def submit(self, calls: Sequence[ModelCall]) -> None:
        if self._heard is not None:
            self._heard(calls)
        super().submit(calls)

    def _submitted(self, handle: Handle, call: ModelCall) -> None:
        if not call.score:
            self.script.add(handle.id, self.answers.tokens(call))

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        done = super().advance()
        for call, answer in done:
            if call.score:
                answer.score = self.answers.score(call)
        return done
