"""A model that is Python code of this process: a function of messages, or an object with DSPy's `forward`."""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lampc.ir import ModelInfo
from lampc.ir.penalties import told_penalties
from lampc.runtime.awaited import AwaitedModel
from lampc.runtime.lm import BaseLM
from lampc.runtime.making import Pace
from lampc.runtime.models import Answer, ModelCall, ModelError, failed
from lampc.runtime.providers.answer import from_data
from lampc.runtime.remote import message, read
from lampc.runtime.replaced import drawing
from lampc.runtime.target import RemoteTarget

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Target

_numbers = itertools.count()
_process = uuid.uuid4().hex


def host_model(source: Any, name: str) -> HostModel | AwaitedModel:
    """The model that `source` is: a function of messages (`{"role", "content"}`), or an object with `forward(prompt=,
    messages=, **options)`, with `aforward` of the same arguments, or with both.

    It gives a text, a list of texts, or a chat completion (a dict, or an object with `choices`). What it raises ends
    the call. Raises ModelError for a source that can do nothing of that.
    """
    now, later = _methods(source)
    if now is None and later is None and not callable(source):
        raise ModelError(
            f"model `{name}`: {type(source).__name__} is no model; give a name, an engine, an LM, "
            "or a function of messages"
        )
    # what code answers, no other process can know; so answers of one object are never taken for those of another
    spot = f"host {name} {next(_numbers)} {_process}"
    digest = hashlib.blake2b(spot.encode(), digest_size=16).hexdigest()
    target: Target = RemoteTarget(ModelInfo(str(getattr(source, "model", name)), digest, 1 << 20))
    awaited = None if later is None else AwaitedModel(later, target, asked, answers_of)
    return awaited if now is None and awaited is not None else HostModel(source, now, target, awaited)


class HostModel:
    """One whose code is called, by the threads that ask for calls. `awaited` is the same for who awaits them."""

    mode = "remote"

    def __init__(
        self, source: Any, method: Callable[..., Any] | None, target: Target, awaited: AwaitedModel | None = None
    ) -> None:
        self.source, self._forward, self.target, self.awaited = source, method, target, awaited
        self._pace = Pace()

    def submit(self, calls: Sequence[ModelCall]) -> None:
        return None

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        return []

    @property
    def waits(self) -> bool:
        return self._pace.waits

    def make(self, call: ModelCall) -> Answer:
        return self.make_draws([call])[0]

    def make_draws(self, calls: Sequence[ModelCall]) -> list[Answer]:
        """The answers to draws of one call. A method is asked for all of them by `n`, and again for those that it
        does not give; a function is asked for each."""
        first = calls[0]
        messages = [message(*turn) for turn in first.messages]
        token = drawing.set(first.draw)
        try:
            forward = self._forward
            if forward is None:
                found = [answer_of(self._pace.run(lambda: self.source(messages)), messages)]
            else:
                given = self._pace.run(lambda: forward(**asked(first, len(calls), messages)))
                found = answers_of(given, messages)[: len(calls)]
        except Exception as e:
            return [failed(e)] * len(calls)
        finally:
            drawing.reset(token)
        return found + self.make_draws(calls[len(found) :]) if len(found) < len(calls) else found

    def retain(self, ids: tuple[int, ...]) -> None:
        return None

    def release(self, ref: PrefixRef) -> None:
        return None

    def abort(self) -> None:
        return None

    def close(self) -> None:
        if self.awaited is not None:
            self.awaited.close()


def _methods(source: Any) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """The methods by which a model is asked, by who waits and by who awaits; no method for a function. Raises
    ModelError."""
    if not isinstance(source, BaseLM):
        return getattr(source, "forward", None), getattr(source, "aforward", None)
    name, origin = source.replaced(), source.origin
    if not name:
        raise ModelError(
            f"{type(source).__name__} has no answers: a class derived from lampc.BaseLM has a method "
            "`forward(self, prompt=None, messages=None, **kwargs)`, or `aforward`; lampc.LM is for models by name"
        )
    if name == "aforward":
        return None, origin.aforward
    if name == "__call__":
        return origin, None
    return origin.forward, origin.aforward if type(origin).aforward is not BaseLM.aforward else None


def asked(call: ModelCall, n: int, messages: Any) -> dict[str, Any]:
    """The arguments of a user's method for `n` draws of a call."""
    s = call.sampling
    options: dict[str, Any] = (
        {"prompt": call.messages[0][1]} if call.prompted else {"prompt": None, "messages": messages}
    )
    if not call.open:
        options["temperature"] = s.temperature
    if n > 1:
        options["n"] = n
    if s.max_tokens:
        options["max_tokens"] = s.max_tokens
    if s.stop:
        options["stop"] = list(s.stop)
    options.update(told_penalties(s))
    if call.extra:
        options.update(json.loads(call.extra))
    return options


def answers_of(given: Any, messages: Sequence[dict[str, Any]]) -> list[Answer]:
    """The answers that a model gave: a text, a list of them or of dicts as calls of an LM give them, or the choices of
    a chat completion, whose tokens are counted with the first. Raises LMUnexpectedError for what is none."""
    if isinstance(given, Sequence) and not isinstance(given, str) and given and _is_output(given[0]):
        return [answer_of(g, messages) for g in given]
    data: Any = given if isinstance(given, str) else plain(given)
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or len(choices) < 2:
        return [answer_of(given, messages)]
    rest = {k: v for k, v in data.items() if k != "usage"}
    return [answer_of({**(rest if i else data), "choices": [c]}, messages) for i, c in enumerate(choices)]


def answer_of(given: Any, messages: Sequence[dict[str, Any]]) -> Answer:
    """What a function gave, as an answer. Raises LMUnexpectedError for what is none."""
    if isinstance(given, Sequence) and not isinstance(given, str) and given and _is_output(given[0]):
        given = given[0]
    if isinstance(given, str):
        return Answer(given)
    if isinstance(given, dict) and "text" in given:  # as calls of an LM give it
        tools = tuple(plain(t) for t in given.get("tool_calls") or ())
        return Answer(given["text"] or "", tool_calls=tools, reasoning=given.get("reasoning_content") or "")
    return read(from_data(plain(given), "the model"))


def _is_output(given: Any) -> bool:
    return isinstance(given, str) or (isinstance(given, dict) and "text" in given)


def plain(value: Any) -> Any:
    """An object of a client library as JSON has it."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return {k: plain(v) for k, v in vars(value).items() if not k.startswith("_")}
    return value
