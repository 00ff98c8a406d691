"""A local model whose answers come from a script: the engine does its work, or only counts it, and control flow is
known beforehand.

For benchmarks (the same answers under every schedule), for `lampc explain` (what a run would cost), and for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lampc.runtime.local import LocalModel
from lampc.runtime.models import Answer, ModelCall

if TYPE_CHECKING:
    from lampc.backend import Handle, TokenEngine
    from lampc.runtime.seats import Seats


_SHORT = 64
"""Tokens of answers for which it is looked up whether their grammar takes them."""

Taken = dict[tuple[str, tuple[int, ...]], bool]
"""By the text of a grammar and the ids of an answer."""


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
    `structured` as of the model that it stands for: short answers that are in their grammar are then kept to it, so
    that what the grammar forces takes no step; `adapter` and `seats`, too. `taken` keeps whether a grammar takes an
    answer: models that share it look that up once.

    Raises Unsupported for an engine without a scheduler, or whose tokenizer has no end-of-sequence id.
    """

    def __init__(
        self,
        engine: TokenEngine,
        name: str,
        answers: Answers,
        heard: Callable[[Sequence[ModelCall]], None] | None = None,
        structured: bool = False,
        adapter: str | None = None,
        seats: Seats | None = None,
        taken: Taken | None = None,
    ) -> None:
        from lampc.backend.simulated import play

        super().__init__(engine, name, structured, adapter, seats)
        self.answers = answers
        self._said: dict[int, Sequence[int]] = {}
        self._taken = {} if taken is None else taken
        self.script = play(engine)
        self._heard = heard

    def submit(self, calls: Sequence[ModelCall]) -> None:
        if self._heard is not None:
            self._heard(calls)
        super().submit(calls)

    def _grammar_of(self, call: ModelCall) -> str | None:
        grammar = super()._grammar_of(call)
        if call.score:
            return grammar
        tokens = self._said[id(call)] = tuple(self.answers.tokens(call))
        if grammar is None or len(tokens) > _SHORT:
            return None
        spot = grammar, tokens
        if spot not in self._taken:
            self._taken[spot] = self._takes(grammar, tokens)
        return grammar if self._taken[spot] else None

    def _takes(self, grammar: str, tokens: Sequence[int]) -> bool:
        """Whether a grammar and a script say the same: the script all that the grammar forces, and no more."""
        from lampc.backend import BadGrammar, Unsupported

        engine: Any = self.engine  # one with a scheduler, see `play`
        try:
            matcher = engine._grammars.matcher(grammar)
        except (BadGrammar, Unsupported):
            return False
        at = 0
        while not matcher.ended and not matcher.failure:
            forced = matcher.forced()
            if tuple(forced) != tuple(tokens[at : at + len(forced)]):
                return False
            at += len(forced)
            if matcher.ended:
                break
            if at >= len(tokens) or not matcher.take(tokens[at]):
                return False
            at += 1
        return at == len(tokens) and not matcher.failure

    def _submitted(self, handle: Handle, call: ModelCall) -> None:
        if not call.score:
            self.script.add(handle.id, self._said.pop(id(call)))

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        done = super().advance()
        for call, answer in done:
            if call.score:
                answer.score = self.answers.score(call)
        return done
