"""The proposer of both sides: a scripted model that writes prose, whatever library asks it.

Instructions come from a task's pool, one after another, for each predictor by itself; all else that is asked for
(descriptions of data and program) is a sentence. Answers stand in the layout that the question asks for. What comes
next does not hang on which side asks, so both are given the same proposals, as far as they ask for as many.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

PROSE = "The rows hold short messages, and each asks for one word."
_WANTED = re.compile(r"(?:starting with|in the following order of) (?:the field|fields):? ((?:(?:, then )?`[^`]+`)+)")
_ABOUT = re.compile(
    r"\[\[ ## (?:basic_instruction|current_instruction|attempted_instructions) ## \]\]\n(.*?)(?=\n\[\[ ## |\Z)", re.S
)


class Script:
    """`pools` are the instructions by predictor, `starts` those of the program as found. `skip`: how many of a
    predictor's proposals the asking library throws away before it takes one."""

    def __init__(self, pools: Mapping[str, Sequence[str]], starts: Mapping[str, str], skip: int = 0) -> None:
        self._pools, self._skip = dict(pools), skip
        self._known = {name: (starts[name], *pool) for name, pool in pools.items()}
        self._told: Counter[str] = Counter()

    def instruction(self, predictor: str) -> str:
        """The next one."""
        pool, n = self._pools[predictor], self._told[predictor] - self._skip
        self._told[predictor] += 1
        return pool[n % len(pool)]

    def answer(self, messages: Sequence[Any]) -> str:
        """What is written to a conversation."""
        asked = str(messages[-1]["content"])
        wanted = _WANTED.search(asked)
        names = re.findall(r"\w+", "" if wanted is None else re.sub("then|##", "", wanted.group(1)))
        values = {name: self._value(name, asked) for name in names}
        if wanted is not None and wanted.group(0).startswith("in"):
            return json.dumps(values)
        told = [v if isinstance(v, str) else json.dumps(v) for v in values.values()]
        fields = [f"[[ ## {n} ## ]]\n{v}" for n, v in zip(values, told, strict=True)]
        return "\n\n".join([*fields, "[[ ## completed ## ]]"]) if fields else PROSE

    def _value(self, name: str, asked: str) -> Any:
        if name in ("proposed_instruction", "new_instruction"):
            return self.instruction(self._predictor(asked))
        if name in ("module_advice", "advice"):  # for all of them at once
            return {predictor: self.instruction(predictor) for predictor in self._pools}
        return "Answer:" if name.startswith("proposed_prefix") else PROSE

    def _predictor(self, asked: str) -> str:
        """Whose instruction is to be better: that whose instructions are quoted."""
        found = _ABOUT.search(asked)
        quoted = asked if found is None else found.group(1)
        return max(self._known, key=lambda name: sum(quoted.count(text) for text in self._known[name]))


def proposer(d: Any, script: Script) -> Any:
    """The scripted model for library `d`."""

    class Proposer(d.BaseLM):  # type: ignore[misc]
        def copy(self, **kwargs: Any) -> Any:  # other draws of the same script
            return self

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            said = messages or [{"role": "user", "content": prompt}]
            choices = [
                SimpleNamespace(message=SimpleNamespace(content=script.answer(said)), finish_reason="stop")
                for _ in range(kwargs.get("n") or 1)
            ]
            return SimpleNamespace(choices=choices, usage={}, model="proposer")

    return Proposer("proposer", cache=False)
