"""`History`: the turns of a conversation, as an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pydantic

from lampc.frontend.python.values.plain import plain


class History(pydantic.BaseModel):
    """A conversation: one dict a turn, with the fields of the signature that it is given to.

    history = lampc.History(messages=[])
    answer = chat(question=question, history=history)
    history = history.with_turn(question=question, **answer)

    It never changes. The prompt of each turn begins with that of the turn before, so its KV is used again.
    `model_dump_json()` and `History.model_validate_json(text)` save and restore it.
    """

    __prompt_form__: ClassVar[str] = "history"
    messages: list[dict[str, Any]]

    model_config = pydantic.ConfigDict(frozen=True, str_strip_whitespace=True, extra="forbid")

    def with_turn(self, **fields: Any) -> History:
        """One turn longer."""
        return History(messages=[*self.messages, fields])

    def last(self, turns: int) -> History:
        """The last turns only."""
        return History(messages=self.messages[-turns:] if turns > 0 else [])

    def trimmed(self, max_tokens: int, count: Callable[[str], int]) -> History:
        """The last turns whose texts together have at most `max_tokens` tokens, as `count` counts those of a text."""
        kept: list[dict[str, Any]] = []
        left = max_tokens
        for turn in reversed(self.messages):
            left -= sum(count(str(plain(v))) for v in turn.values())
            if left < 0:
                break
            kept.insert(0, turn)
        return History(messages=kept)

    def __len__(self) -> int:
        return len(self.messages)
