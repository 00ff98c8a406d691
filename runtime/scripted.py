"""A model that answers from a script: for tests of programs, under the name that DSPy has for it too (`DummyLM`).

    lm = DummyLM([{"answer": "Paris"}, {"answer": "Rome"}])
    lampc.configure(lm=lm)

It sees chat messages, as an endpoint does, and keeps them in `calls`.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from lampc.ir import Demo, ModelInfo, Signature, Target, freeze
from lampc.ir.adapters import adapter as adapter_named
from lampc.ir.content import Field
from lampc.ir.errors import LMError
from lampc.ir.types import ANY
from lampc.runtime.lm import BaseLM
from lampc.runtime.models import Answer, ModelCall, failed
from lampc.runtime.target import RemoteTarget

Messages: TypeAlias = "list[dict[str, str]]"
Scripted: TypeAlias = "str | Mapping[str, Any]"
"""An answer: a text as it is, or outputs by name, written as the adapter writes them."""
OUT = "No more responses"
_COMPLETED = "\n\n[[ ## completed ## ]]\n"
_numbers = itertools.count()


class DummyLM(BaseLM):
    """See the module's text.

    `answers` are given one after another (a list), by what the last message contains (a dict), or by a function of
    the messages. Where none is left or fits, the answer is `No more responses`. `follow_examples` answers what a demo
    of equal inputs answered. With `reasoning` every answer has some. `adapter` says in which format outputs are
    written. `batches` holds how many calls came together each time; `calls` (messages, answer) of every call. Answers
    are never kept: equal calls go on with the script.
    """

    mode = "remote"
    waits = False

    def __init__(
        self,
        answers: Iterable[Scripted] | Mapping[str, Scripted] | Callable[[Messages], Scripted],
        follow_examples: bool = False,
        reasoning: bool = False,
        adapter: Any = "chat",
        *,
        model: str = "dummy",
    ) -> None:
        super().__init__(model, temperature=0.0, max_tokens=1000)
        self.reasoning = reasoning
        self._by_text = dict(answers) if isinstance(answers, Mapping) else None
        self._function = answers if callable(answers) else None
        self._rest = iter(answers) if self._by_text is None and not callable(answers) else iter(())
        self.follow_examples = follow_examples
        self.adapter = adapter if isinstance(adapter, str) else getattr(adapter, "name", "") or "chat"
        digest = hashlib.blake2b(f"scripted {next(_numbers)}".encode(), digest_size=16).hexdigest()
        self.target: Target = RemoteTarget(ModelInfo(model, digest, 1 << 20))
        self.calls: list[tuple[Messages, str]] = []
        self.batches: list[int] = []
        self._mutex = threading.Lock()

    @property
    def default_layout(self) -> str:
        """The adapter of predictors where nobody names one."""
        return self.adapter

    @property
    def prompts(self) -> list[Messages]:
        """The messages of every call, in order."""
        return [messages for messages, _ in self.calls]

    def get_convo(self, index: int) -> tuple[list[dict[str, Any]], list[Any]]:
        """Messages and outputs of a call that is remembered."""
        entry = self.history[index]
        return entry["messages"], entry["outputs"]

    def answer(self, messages: Messages) -> str:
        """The text of the next answer to these messages."""
        found = self._chosen(messages)
        return found if isinstance(found, str) else written(self.adapter, found).removesuffix(_COMPLETED)

    def _chosen(self, messages: Messages) -> Scripted:
        if self._function is not None:
            return self._function(messages)
        if self.follow_examples and (found := _followed(messages)) is not None:
            return found
        if self._by_text is not None:
            return next((v for k, v in self._by_text.items() if k in messages[-1]["content"]), OUT)
        with self._mutex:  # any iterator will do, also one that threads must not share
            return next(self._rest, {"answer": OUT})

    # -- as a model of a session --------------------------------------------------------------------------

    def submit(self, calls: Sequence[ModelCall]) -> None:
        if calls:
            self.batches.append(len(calls))

    def make(self, call: ModelCall) -> Answer:
        messages = [{"role": "user" if r == "prompt" else r, "content": c} for r, c in call.messages]
        try:
            text = self.answer(messages)
        except LMError as e:
            return failed(e)
        except Exception as e:
            return Answer("", finish="error", error=f"{type(e).__name__}: {e}")
        self.calls.append((messages, text))
        for listener in call.listeners:
            for piece in re.findall(r"\s*\S+|\s+", text):
                listener(piece)
        n = sum(len(m["content"].split()) for m in messages)
        thought = "Some reasoning" if self.reasoning else ""
        return Answer(text, (), "stop", n, n, 0, len(text.split()), reasoning=thought)

    def make_draws(self, calls: Sequence[ModelCall]) -> list[Answer]:
        return [self.make(c) for c in calls]

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        return []

    def retain(self, ids: tuple[int, ...]) -> None:
        return None

    def release(self, ref: Any) -> None:
        return None

    @property
    def kept(self) -> bool:
        return False

    def abort(self) -> None:
        return None

    def close(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"DummyLM({self.model!r}, {len(self.calls)} calls)"


def written(layout: str, outputs: Mapping[str, Any]) -> str:
    """Outputs as an adapter writes them."""
    fields = tuple(Field(name, ANY) for name in outputs)
    signature = Signature((Field("x", ANY),), fields)
    demo = Demo(freeze({"x": "", **{k: "" if v is None else v for k, v in outputs.items()}}))
    return adapter_named(layout).demo(signature, demo)[-1][1]


def _followed(messages: Messages) -> str | None:
    """What a demo answered whose first input is that of the last message."""
    wanted = messages[-1]["content"].split("\n\n")[0]
    for shown, said in itertools.pairwise(messages[:-1]):
        if said["role"] == "assistant" and wanted in shown["content"]:
            return said["content"]
    return None
