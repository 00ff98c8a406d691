"""The calls that a module remembers, for a person who wants to see what was sent.

Only parameters, inputs and answers are kept; the messages are rendered when they are looked at.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from lampc.ir.adapters import Bound, adapter, bind_prompt
from lampc.ir.settings import settings

if TYPE_CHECKING:
    from lampc.frontend.python.module import Module

callers: ContextVar[tuple[Module, ...]] = ContextVar("lampc_callers", default=())
"""The modules whose `forward` is under way here, outermost first."""


@dataclass(eq=False)
class CallRecord(Mapping[str, Any]):
    """One call of a predictor: its parameters, inputs, and the texts that came back. As a mapping it is the entry that
    DSPy keeps of a call: that of the LM's history, if it is still there. `asked` gives the LM, which may be gone,
    `model` says its model."""

    bound: Bound
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]
    sent: tuple[Mapping[str, Any], ...] = ()
    asked: Callable[[], Any] | None = None
    model: str = ""
    time: float = field(default_factory=time.time)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What was sent, as chat messages."""
        if self.sent:
            return [dict(m) for m in self.sent]
        b = self.bound
        values = [self.inputs.get(f.name) for f in b.signature.inputs]
        turns = bind_prompt(adapter(b.layout).render(b.signature, b.name), b, values)
        return [{"role": role, "content": content} for role, content in turns]

    @cached_property
    def entry(self) -> dict[str, Any]:
        """DSPy's form of an entry."""
        sent, first = self.messages, self.outputs[0] if self.outputs else ""
        lm = self.asked() if self.asked is not None else None
        for known in reversed(list(getattr(lm, "_entries", ()))):
            if (
                not isinstance(known, dict)
                and known.answer.text == first
                and (found := known.as_dict())["messages"] in (sent, None)
            ):
                return {**found, "messages": sent, "outputs": list(self.outputs)}
        when = datetime.fromtimestamp(self.time, UTC).isoformat()
        model = getattr(lm, "model", self.model or self.bound.model)
        return {
            "prompt": None, "messages": sent, "kwargs": {}, "response": None, "outputs": list(self.outputs),
            "usage": {}, "cost": None, "timestamp": when, "uuid": "", "model": model, "response_model": model,
            "model_type": getattr(lm, "model_type", "chat"),
        }  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: the LM is none of it."""
        return {**{k: v for k, v in vars(self).items() if k != "entry"}, "asked": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> CallRecord:
        return self  # what was said does not change

    def __getitem__(self, name: str) -> Any:
        return self.entry[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entry)

    def __len__(self) -> int:
        return len(self.entry)


def held_weakly(thing: Any) -> Callable[[], Any]:
    """What gives a thing as long as somebody else holds it."""
    try:
        return weakref.ref(thing)
    except TypeError:  # a text, for one
        return lambda: thing


_recent: deque[CallRecord] = deque(maxlen=100)


def remember(record: CallRecord) -> None:
    """Note a call with the process and with every module that is under way here."""
    size = settings.history_size
    if size <= 0:
        return
    _recent.append(record)
    for module in callers.get():
        kept = vars(module).get("_calls")
        if kept is None or kept.maxlen != size:
            kept = vars(module)["_calls"] = deque(kept or (), maxlen=size)
        kept.append(record)


class CallHistory:
    """The attribute `history` of a module, unless a class of the user's has one of its own."""

    def __get__(self, module: Module | None, owner: type | None = None) -> Any:
        return self if module is None else list(vars(module).get("_calls", ()))


def inspect_history(n: int = 1, file: TextIO | None = None) -> None:
    """Print the last `n` calls of this process."""
    show(_recent, n, file)


def show(records: Iterable[CallRecord], n: int, file: TextIO | None) -> None:
    """Print the last `n` records: every message by role, then what the model wrote."""
    out = file or sys.stdout
    bold, plain = ("\x1b[1m", "\x1b[0m") if file is None and out.isatty() else ("", "")
    for record in list(records)[-n:] if n > 0 else []:
        for message in record.messages:
            print(
                f"{bold}{message['role'].capitalize()} message:{plain}\n\n{str(message['content']).strip()}\n", file=out
            )
        first, *others = record.outputs or ("",)
        print(f"{bold}Response:{plain}\n\n{first.strip()}\n", file=out)
        if others:
            print(f"(and {len(others)} other completions)\n", file=out)
