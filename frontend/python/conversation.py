"""Conversations: a program asked turn by turn, whose predictors see what was said without being handed it.

talk = lampc.Conversation(program, max_tokens=2000)
talk(question="Who wrote Hamlet?")
talk(question="When?")          # predictors with a `History` input see the first turn
talk.save("talk.json")
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.frontend.python.values.plain import plain
from lampc.ir.runner import find_runner
from lampc.ir.settings import settings

if TYPE_CHECKING:
    from lampc.frontend.python.types.history import History

KEEP = 0.5
"""How much of the budget is kept when it is exceeded. Each cut changes how prompts begin, so that nothing of them can
be used again: few large cuts cost less than many small ones."""


@contextmanager
def conversing(history: History) -> Iterator[None]:
    """Predictors with a `History` input that are called without one inside of the block, also by nested modules, are
    given this one."""
    with settings.context(conversation=history):
        yield


class Conversation:
    """A program and the turns so far, a value that every turn replaces by a longer one.

    A turn holds the program's inputs and outputs, by name; `leave_out` names outputs that are not remembered. With
    `max_tokens` the oldest turns are dropped once the history is longer, as `count` counts the tokens of a text: by
    default the session's model does, or, for an endpoint, four characters are taken for one.
    """

    def __init__(
        self,
        program: Module,
        history: History | None = None,
        *,
        max_tokens: int | None = None,
        leave_out: Sequence[str] = ("reasoning", "rationale", "trajectory"),
        count: Callable[[str], int] | None = None,
    ) -> None:
        from lampc.frontend.python.types.history import History

        self.program = program
        self.history = history if history is not None else History(messages=[])
        self.max_tokens = max_tokens
        self.leave_out = frozenset(leave_out)
        self.count = count

    def __call__(self, **inputs: Any) -> Any:
        """One turn: the program's result. A turn that raises is none."""
        with conversing(self.history):
            made = self.program(**inputs)
        self._grow(inputs, made)
        return made

    async def acall(self, **inputs: Any) -> Any:
        """As calling, for `await`."""
        with conversing(self.history):
            made = await self.program.acall(**inputs)
        self._grow(inputs, made)
        return made

    def _grow(self, inputs: Mapping[str, Any], made: Any) -> None:
        outputs = made.toDict() if isinstance(made, Example) else dict(made) if isinstance(made, dict) else {}
        kept = {n: v for n, v in outputs.items() if n not in self.leave_out}
        self.history = self.history.with_turn(**{**plain(dict(inputs)), **plain(kept)})
        if self.max_tokens is not None and self.tokens(self.history) > self.max_tokens:
            short = self.history.trimmed(int(self.max_tokens * KEEP), self.count or token_count)
            self.history = short if len(short) else self.history.last(1)

    def tokens(self, history: History) -> int:
        """Tokens of the values of its turns."""
        count = self.count or token_count
        return sum(count(str(plain(v))) for turn in history.messages for v in turn.values())

    # -- kept and used ------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the turns as JSON. Raises ValueError for a value that JSON cannot hold."""
        target = Path(path)
        try:
            text = json.dumps({"messages": plain(self.history.messages)}, ensure_ascii=False, indent=2, allow_nan=False)
        except (TypeError, ValueError) as e:
            raise ValueError(f"{target}: the conversation cannot be written as JSON: {e}") from None
        temporary = target.with_name(target.name + ".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, target)

    def load(self, path: str | Path) -> None:
        """Take the turns that `save` wrote. Raises ValueError, naming the file, if it is none."""
        from lampc.frontend.python.types.history import History

        try:
            self.history = History.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        except ValueError as e:
            raise ValueError(f"{path}: not a saved conversation: {e}") from None

    def examples(self, history: str = "history") -> list[Example]:
        """One row of data for each turn: the inputs that the program takes, the turns before it under the name
        `history`, and the outputs as labels. For optimizers and evaluation of a program with such an input."""
        from lampc.frontend.python.types.history import History

        takes = inputs_taken(self.program)
        out = []
        for i, turn in enumerate(self.history.messages):
            names = [n for n in turn if n in takes] if takes else list(turn)[:1]
            row = Example({history: History(messages=self.history.messages[:i]), **turn})
            out.append(row.with_inputs(history, *names))
        return out

    def __len__(self) -> int:
        return len(self.history)

    def __repr__(self) -> str:
        return f"Conversation({type(self.program).__name__}, {len(self)} turns)"


def inputs_taken(program: Module) -> set[str]:
    """The names of a program's inputs, as far as they are known."""
    import inspect

    from lampc.frontend.python.entry import inputs_of

    known = inputs_of(program)
    if known is not None:
        return set(known)
    kinds = inspect.Parameter
    given = list(inspect.signature(type(program).forward).parameters.values())[1:]
    return {p.name for p in given if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)}


def token_count(text: str) -> int:
    """Tokens of a text: as the session's model counts them, else one for four characters."""
    counted = getattr(find_runner(), "count_tokens", None)
    found = counted(text) if counted is not None else None
    return found if found is not None else -(-len(text) // 4)


__all__ = ["Conversation", "conversing", "inputs_taken", "token_count"]
