"""Calls of plain code, as whoever answers those of all its strands sees them."""

from __future__ import annotations

import contextvars
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lampc.ir import Draw, Sampling
from lampc.ir.adapters import Bound
from lampc.ir.lookup import Hit, Lookup
from lampc.ir.runner import Spoken
from lampc.ir.settings import settings
from lampc.runtime.making import Awaiter
from lampc.runtime.types import Usage

awaiting_in: contextvars.ContextVar[AbstractEventLoop | None] = contextvars.ContextVar("lampc_loop", default=None)
"""The event loop of the task that the code under way belongs to, if its calls suspend that."""


@dataclass(frozen=True, slots=True)
class EagerCall:
    """One LM call that a strand waits for. `on_text` is given pieces of the answer while it is written; `messages` are
    sent where the code has written them itself, and its answer is then left to it. `awaiter` is the task
    that waits for it."""

    bound: Bound
    inputs: Mapping[str, Any]
    sampling: Sampling
    draw: Draw
    on_text: Callable[[str], None] | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    awaiter: Awaiter | None = None


@dataclass(frozen=True, slots=True)
class EagerAnswer:
    """Its answer: outputs and the model's text, or the exception that ends the row."""

    outputs: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    error: Exception | None = None
    usage: Usage = Usage(calls=1)


def calls_of(
    bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, draws: Sequence[Draw], spoken: Spoken | None = None
) -> list[EagerCall]:
    """Draws of one call; the first is listened to, if anybody listens here."""
    on_text, messages = settings.get("on_text"), None if spoken is None else spoken.messages
    loop = awaiting_in.get()
    awaiter = None if loop is None else Awaiter.here(loop)
    return [
        EagerCall(bound, inputs, sampling, d, None if i else on_text, messages, awaiter) for i, d in enumerate(draws)
    ]


class Completer(Protocol):
    """What answers the calls of all strands. If it has an `lm`, that is the setting that calls without a model of
    their own go by already: a `context` inside of the code may set another."""

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        """Answers in the order of the calls; a failure is an answer, not an exception."""
        ...

    def lookup(self, asks: Sequence[Lookup]) -> list[list[Hit] | Exception]:
        """The same for retrievals."""
        ...
