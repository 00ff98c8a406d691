"""A model behind an endpoint. Its answers arrive by themselves, whoever waits for them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from lampc.ir import ModelInfo
from lampc.ir.errors import LMStreamAssemblyError, LMUnsupportedFeatureError
from lampc.ir.media import split, unmarked
from lampc.ir.penalties import told_penalties
from lampc.runtime.models import Answer, Model, ModelCall, failed
from lampc.runtime.target import RemoteTarget

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Target
    from lampc.runtime.providers import ChatAnswer

CLIENT_OPTIONS = (
    "api_key",
    "timeout",
    "max_concurrency",
    "max_retries",
    "requests_per_minute",
    "tokens_per_minute",
    "headers",
    "body",
    "prompt_cache",
    "batch",
)
"""Options of `OpenAIClient` that a session may give."""


class RemoteModel:
    """An OpenAI-compatible endpoint. What it computes or reuses it does not say: all prompt tokens count."""

    mode = "remote"
    pushes = True

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        digest = hashlib.blake2b(f"{client.base_url} {client.model}".encode(), digest_size=16).hexdigest()
        self.target: Target = RemoteTarget(ModelInfo(name, digest, 1 << 20))
        self.on_answer: Callable[[Model, ModelCall, Answer], None] = lambda *_: None
        self._pending: dict[Future[ChatAnswer], ModelCall] = {}
        self._mutex = threading.Lock()

    def submit(self, calls: Sequence[ModelCall]) -> None:
        whole = []
        for call in calls:
            if call.listeners:
                self._stream(call, options_of(call))
            else:
                whole.append(call)
        wanted = [([message(*turn) for turn in call.messages], options_of(call)) for call in whole]
        futures = self.client.submit_all(wanted) if whole else ()
        with self._mutex:
            self._pending.update(zip(futures, whole, strict=True))
        for call, future in zip(whole, futures, strict=True):
            future.add_done_callback(partial(self._done, call))

    def _stream(self, call: ModelCall, options: dict[str, Any]) -> None:
        """Ask for an answer as it is written, on a thread of its own; whoever listens is given its text."""

        def work() -> None:
            answer = failed(LMStreamAssemblyError("the stream ended before its answer"))
            try:
                for piece in self.client.stream([message(*turn) for turn in call.messages], **options):
                    if not isinstance(piece, str):
                        answer = read(piece)
                        continue
                    for listener in call.listeners:
                        listener(piece)
            except Exception as e:
                answer = failed(e)
            self.on_answer(self, call, answer)

        threading.Thread(target=work, name="lampc-stream", daemon=True).start()

    def _done(self, call: ModelCall, future: Future[ChatAnswer]) -> None:
        with self._mutex:
            self._pending.pop(future, None)
        try:
            answer = read(future.result())
        except CancelledError:
            return
        except Exception as e:
            answer = failed(e)
        self.on_answer(self, call, answer)

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        return []

    def retain(self, ids: tuple[int, ...]) -> None:
        return None

    def release(self, ref: PrefixRef) -> None:
        return None

    def abort(self) -> None:
        with self._mutex:
            pending, self._pending = self._pending, {}
        for future in pending:
            future.cancel()

    def recall(self, calls: Sequence[ModelCall]) -> list[ModelCall]:
        """End those of the calls that were not sent yet, and say which these are."""
        recalled = {id(call) for call in calls}
        with self._mutex:
            pending = {f: call for f, call in self._pending.items() if id(call) in recalled}
        return [pending[f] for f in self.client.recall(list(pending))]

    def close(self) -> None:
        self.abort()
        self.client.close()


def options_of(call: ModelCall) -> dict[str, Any]:
    """A call's options as an endpoint has them."""
    s = call.sampling
    options: dict[str, Any] = {
        "temperature": None if call.open else s.temperature,
        "top_p": s.top_p,
        "max_tokens": s.max_tokens,
        "stop": s.stop,
        "seed": call.draw % (1 << 31) if call.draw else None,  # greedy calls have no draw
    }
    options.update(told_penalties(s))
    if call.extra:
        options.update(json.loads(call.extra))
    return options


def message(role: str, content: str) -> dict[str, Any]:
    """A turn as the endpoint takes it: media marked in its text become content parts, a turn that holds a whole
    message (tool calls, results of tools) is that message, a prompt alone is the user's."""
    if role == "prompt":
        role = "user"
    if role == "message":
        whole: dict[str, Any] = json.loads(content)
        return whole
    return {"role": role, "content": split(content)}


def turn_of(given: Mapping[str, Any]) -> tuple[str, str]:
    """A message as a turn: the way back from `message`."""
    content = given.get("content")
    if given["role"] == "prompt":
        return "prompt", str(content)
    if set(given) == {"role", "content"} and isinstance(content, str):
        return str(given["role"]), unmarked(content)
    return "message", json.dumps(given)


def text_turn(turn: tuple[str, str], model: str) -> tuple[str, str]:
    """A turn for a model that reads text alone. Raises LMUnsupportedFeatureError for media and tool calls."""
    role, content = turn
    if role != "message":
        return ("user" if role == "prompt" else role), content
    whole = json.loads(content)
    parts = whole.get("content") or []
    if set(whole) == {"role", "content"} and all(p.get("type") == "text" for p in parts):
        return str(whole["role"]), "".join(p["text"] for p in parts)
    raise LMUnsupportedFeatureError(
        f"model {model!r} reads text alone; send messages with media or tool calls to an endpoint that takes them"
    )


def read(a: ChatAnswer) -> Answer:
    """An endpoint's answer as the desk has it."""
    n = a.prompt_tokens
    return Answer(
        a.text,
        (),
        a.finish,
        n,
        n - a.cached_tokens,
        a.cached_tokens,
        a.completion_tokens,
        tool_calls=a.tool_calls,
        reasoning=a.reasoning,
        choices=tuple(c.text for c in a.choices),
    )
