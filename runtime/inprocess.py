"""A model that is Python code of this process: a function of messages, or an object with DSPy's `forward`."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lampc.ir import ModelInfo
from lampc.runtime.lm import BaseLM
from lampc.runtime.models import Answer, ModelCall, ModelError, failed
from lampc.runtime.providers.answer import from_data
from lampc.runtime.remote import message, read
from lampc.runtime.replaced import drawing
from lampc.runtime.target import RemoteTarget

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Target

_numbers = itertools.count()


class HostModel:
    """`source` is called with the messages (`{"role", "content"}`), or its `forward(messages=..., **options)` is.

    It gives a text, a list of texts, or a chat completion (a dict, or an object with `choices`). What it raises ends
    the call. Calls are made by the threads that ask for them. Of a source that has `aforward` alone, that is run.
    Raises ModelError for a source that can do neither.
    """

    mode = "remote"

    def __init__(self, source: Any, name: str) -> None:
        if not (callable(source) or hasattr(source, "forward")):
            raise ModelError(
                f"model `{name}`: {type(source).__name__} is no model; give a name, an engine, an LM, "
                "or a function of messages"
            )
        self.source = source
        self._forward = _method(source)
        digest = hashlib.blake2b(f"host {name} {next(_numbers)}".encode(), digest_size=16).hexdigest()
        self.target: Target = RemoteTarget(ModelInfo(str(getattr(source, "model", name)), digest, 1 << 20))

    def submit(self, calls: Sequence[ModelCall]) -> None:
        return None

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        return []

    def make(self, call: ModelCall) -> Answer:
        return self.make_draws([call])[0]

    def make_draws(self, calls: Sequence[ModelCall]) -> list[Answer]:
        """The answers to draws of one call. A method is asked for all of them by `n`, and again for those that it
        does not give; a function is asked for each."""
        first = calls[0]
        messages = [message(*turn) for turn in first.messages]
        token = drawing.set(first.draw)
        try:
            if self._forward is None:
                found = [answer_of(self.source(messages), messages)]
            else:
                asked = {"prompt": first.messages[0][1]} if first.prompted else {"prompt": None, "messages": messages}
                given = self._forward(**asked, **_options(first), **({"n": len(calls)} if len(calls) > 1 else {}))
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
        return None


def _method(source: Any) -> Callable[..., Any] | None:
    """The method by which a model is asked, None for a function. Raises ModelError."""
    if not isinstance(source, BaseLM):
        return getattr(source, "forward", None) or awaited(getattr(source, "aforward", None))
    name = source.replaced()
    if not name:
        raise ModelError(
            f"{type(source).__name__} has no answers: a class derived from lampc.BaseLM has a method "
            "`forward(self, prompt=None, messages=None, **kwargs)`, or `aforward`; lampc.LM is for models by name"
        )
    found: Callable[..., Any] = source.origin if name == "__call__" else getattr(source.origin, name)
    return awaited(found) if name == "aforward" else found


def awaited(function: Callable[..., Awaitable[Any]] | None) -> Callable[..., Any] | None:
    """A function that waits for what an asynchronous one gives, whether or not a loop runs in this thread."""
    if function is None:
        return None

    def call(*args: Any, **kwargs: Any) -> Any:
        async def whole() -> Any:
            return await function(*args, **kwargs)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(whole())
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(contextvars.copy_context().run, asyncio.run, whole()).result()

    return call


def _options(call: ModelCall) -> dict[str, Any]:
    s = call.sampling
    options: dict[str, Any] = {} if call.open else {"temperature": s.temperature}
    if s.max_tokens:
        options["max_tokens"] = s.max_tokens
    if s.stop:
        options["stop"] = list(s.stop)
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
