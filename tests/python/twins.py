"""One program under two libraries: the real DSPy and lampc, with one scripted model, and what each sent and got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.utils import DummyLM as TheirDummy

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.runtime.scripted import DummyLM, written

Script = Callable[[list[dict[str, str]]], Any]
"""An answer (outputs by name, or a text) to chat messages."""


class _Theirs(TheirDummy):  # type: ignore[misc]
    """DSPy's scripted model with a function for a script; it keeps what it was sent."""

    def __init__(self, script: Script, seen: list[Any], layout: str) -> None:
        super().__init__([], follow_examples=True)
        self.script, self.seen, self.layout = script, seen, layout

    def _use_example(self, messages: list[dict[str, Any]]) -> str:
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        self.seen.append(plain)
        found = self.script(plain)
        return found if isinstance(found, str) else written(self.layout, found)


@dataclass
class Side:
    """One library, set up: its module, and the prompts that were sent."""

    d: Any
    prompts: list[list[dict[str, str]]] = field(default_factory=list)


@contextmanager
def theirs(script: Script, adapter: Any = None, layout: str = "chat") -> Iterator[Side]:
    """The real DSPy."""
    side = Side(dspy)
    with dspy.context(lm=_Theirs(script, side.prompts, layout), adapter=adapter, trace=[]):
        yield side


@contextmanager
def ours(script: Script, layout: str = "chat", compat: str = "dspy-3.4") -> Iterator[Side]:
    """lampc; `compat` "" is our own order of attempts."""
    side = Side(lampc)
    model = DummyLM(script, adapter=layout)
    lampc.configure(lm=model)
    try:
        with settings.context(layout=layout, compat=compat):
            yield side
    finally:
        runner: Any = set_default_runner(None)
        if runner is not None:
            runner.close()
        side.prompts += model.prompts


def in_turn(*answers: Any) -> Script:
    """A script that gives answers one after another."""
    rest = iter(answers)
    return lambda messages: next(rest)


def last_user(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"]


def value_of(messages: list[dict[str, str]], name: str) -> str:
    """The value of an input in the last message of the chat layout."""
    _, _, rest = last_user(messages).partition(f"[[ ## {name} ## ]]\n")
    return rest.split("\n\n[[ ##")[0].split("\n\nRespond with")[0].strip()


def both(program: Any, script: Any, **options: Any) -> tuple[Any, Any]:
    """(result and prompts under DSPy, the same under lampc); `script()` makes a fresh script for each."""
    with theirs(script()) as side:
        their_result = program(side.d)
    with ours(script(), **options) as own:
        our_result = program(own.d)
    return (their_result, side.prompts), (our_result, own.prompts)
