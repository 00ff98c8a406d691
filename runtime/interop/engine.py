"""An engine for `dspy.LM(model, engine=...)`: an untouched DSPy program runs on a model of ours.

    lm = dspy.LM("firefly", engine=lampc.DspyEngine("firefly"))

DSPy calls from its threads, one request each. Requests that arrive within `window` of each other are run as one
batch, and later ones join it as it runs. In exact mode answers are those of one request after another.

The types of requests and responses are DSPy's own; they are found through the request that comes in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from lampc.ir import Draw, Key, Sampling
from lampc.ir.errors import LMError
from lampc.runtime.client import waiting_threads
from lampc.runtime.configure import as_lm
from lampc.runtime.models import Answer
from lampc.runtime.session import Session

_FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_call", "content_filter": "content_filter"}
_ERRORS = {
    "transport": "TransportError",
    "timeout": "TimeoutError",
    "auth": "AuthError",
    "billing": "BillingError",
    "rate_limit": "RateLimitError",
    "invalid_request": "InvalidRequestError",
    "context_window_exceeded": "ContextLengthError",
    "unsupported_model": "UnsupportedModelError",
    "unsupported_feature": "UnsupportedFeatureError",
    "server": "ServerError",
    "not_configured": "NotConfiguredError",
}
"""Our errors, by their codes, as the classes of DSPy's engine layer."""
_MOST_SEEN = 1_000_000


class DspyEngine:
    """See the module's text. `model` is anything that `lampc.configure(model=...)` takes; `options` are those of a
    session. `asynchronous` is its counterpart for `dspy.LM(engine=e, async_engine=e.asynchronous)`."""

    def __init__(
        self, model: Any = "firefly", *, window: float = 0.002, session: Session | None = None, **options: Any
    ) -> None:
        self.lm = as_lm(model)
        self._own = session is None
        self.session = (session or Session(window=window, **options)).using(self.lm)
        self._seen: Counter[str] = Counter()
        self._mutex = threading.Lock()

    @property
    def batches(self) -> dict[int, int]:
        """How many requests went to the model together, and how often."""
        return dict(sorted(self.session.desk.batches.items()))

    @property
    def asynchronous(self) -> AsyncDspyEngine:
        return AsyncDspyEngine(self)

    def complete(self, request: Any) -> Any:
        """A Response to a Request. Raises the errors of DSPy's engine layer."""
        kit = _Kit(request)
        messages, sampling = messages_of(request), sampling_of(request)
        try:
            lm = self.lm
            more = further(request)
            session = self.session
            if more:
                lm = lm.copy(**more)
                session = session.using(lm)
            (answer,) = session.chat(messages, sampling, [self._draw(messages, sampling)])
        except LMError as e:
            raise kit.error(e) from e
        if answer.error:
            raise kit.error(answer.exception or LMError(answer.error)) from answer.exception
        return kit.response(answer)

    def stream(self, request: Any) -> Iterator[Any]:
        """The answer as the events of a stream: its text in one piece, once it is whole."""
        kit = _Kit(request)
        yield from kit.events(self.complete(request))

    def _draw(self, messages: list[dict[str, Any]], sampling: Sampling) -> Draw:
        """Draws come from what is asked, and how often it was: never from which thread came first."""
        digest = hashlib.blake2b(json.dumps(messages).encode(), digest_size=12).hexdigest()
        number = 0
        if sampling.temperature:
            with self._mutex:
                if len(self._seen) >= _MOST_SEEN:
                    self._seen.clear()
                number = self._seen[digest]
                self._seen[digest] += 1
        return Draw(self.session.seed, Key(("dspy", digest)), (number,))

    def close(self) -> None:
        if self._own:
            self.session.close()

    # DSPy saves an engine by these
    def dump_state(self) -> dict[str, Any]:
        return {"model": self.lm.model, "window": self.session.desk.window}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> DspyEngine:
        return cls(state["model"], window=float(state.get("window", 0.002)))

    def __deepcopy__(self, memo: dict[int, Any]) -> DspyEngine:
        return self

    def __repr__(self) -> str:
        return f"DspyEngine({self.lm.model!r})"


class AsyncDspyEngine:
    """The same for DSPy's asynchronous calls."""

    def __init__(self, engine: DspyEngine) -> None:
        self.engine = engine

    async def complete(self, request: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(waiting_threads(), self.engine.complete, request)

    async def stream(self, request: Any) -> AsyncIterator[Any]:
        kit = _Kit(request)
        for event in kit.events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        self.engine.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncDspyEngine:
        return self


def sampling_of(request: Any) -> Sampling:
    """The options of a request that are ours; what it does not say is left to the model's own defaults."""
    c = request.config
    given = {
        "temperature": None if c.temperature is None else float(c.temperature),
        "top_p": c.top_p,
        "top_k": c.top_k,
        "max_tokens": c.max_tokens,
        "stop": tuple(c.stop) or None,
    }
    told = {k: v for k, v in given.items() if v is not None}
    told.setdefault("max_tokens", 0)
    return Sampling(**told, firm=tuple(k for k, v in told.items() if v == getattr(Sampling(), k)))


def further(request: Any) -> dict[str, Any]:
    """What only endpoints know: tools and forms of answers."""
    out: dict[str, Any] = {}
    if request.config.response_format is not None:
        out["response_format"] = request.config.response_format
    if request.tools:
        out["tools"] = [
            {
                "type": "function",
                "function": {"name": t.name, "description": t.description or "", "parameters": t.parameters},
            }
            for t in request.tools
            if t.type == "function"
        ]
    return out


def messages_of(request: Any) -> list[dict[str, Any]]:
    """The conversation as chat messages."""
    out: list[dict[str, Any]] = []
    if request.system is not None:
        system = request.system if isinstance(request.system, str) else "".join(p.text for p in request.system)
        out.append({"role": "system", "content": system})
    for m in request.messages:
        if m.role == "tool":
            out += [_tool_result(p) for p in m.parts]
            continue
        calls = [_tool_call(p) for p in m.parts if p.type == "tool_call"]
        parts = [p for p in m.parts if p.type != "tool_call" and p.type != "thinking"]
        plain = all(p.type == "text" for p in parts)
        content: Any = "".join(p.text for p in parts) if plain else [_part(p) for p in parts]
        made = {"role": "system" if m.role == "developer" else m.role, "content": content}
        out.append({**made, "tool_calls": calls} if calls else made)
    return out


def _tool_call(part: Any) -> dict[str, Any]:
    function = {"name": part.name, "arguments": json.dumps(part.input)}
    return {"id": part.id, "type": "function", "function": function}


def _tool_result(part: Any) -> dict[str, Any]:
    content = "".join(getattr(p, "text", "") for p in part.content)
    return {"role": "tool", "tool_call_id": part.id, "content": content}


def _part(part: Any) -> dict[str, Any]:
    """One content part. Raises TypeError for kinds that have no form in chat messages."""
    if part.type == "text":
        return {"type": "text", "text": part.text}
    url = part.url or f"data:{part.media_type};base64,{part.data}"
    if part.type == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    if part.type == "audio":
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.media_type.partition("/")[2]}}
    if part.type in ("document", "binary"):
        return {"type": "file", "file": {"file_data": url} if not part.file_id else {"file_id": part.file_id}}
    raise TypeError(f"content of type `{part.type}` cannot be sent as a chat message")


class _Kit:
    """DSPy's types of this process, found beside those of a request."""

    def __init__(self, request: Any) -> None:
        home = type(request).__module__
        self.types: Any = sys.modules[home]
        self.errors: Any = sys.modules[f"{home.rpartition('.')[0]}.errors"]
        self.request = request

    def response(self, answer: Answer) -> Any:
        t = self.types
        parts = [t.ThinkingPart(answer.reasoning)] if answer.reasoning else []
        if answer.text or not answer.tool_calls:
            parts.append(t.TextPart(answer.text))
        for call in answer.tool_calls:
            f = call["function"]
            try:
                given = json.loads(f.get("arguments") or "{}")
            except ValueError:
                given = {}
            parts.append(t.ToolCallPart(str(call.get("id") or f["name"]), f["name"], given))
        usage = t.Usage(
            input_tokens=answer.prompt_tokens,
            output_tokens=answer.generated_tokens,
            total_tokens=answer.prompt_tokens + answer.generated_tokens,
            cache_read_tokens=answer.cached_tokens,
        )
        finish = "tool_call" if answer.tool_calls else _FINISH.get(answer.finish, "stop")
        message = t.Message.assistant(parts)
        return t.Response(id=None, model=self.request.model, message=message, finish_reason=finish, usage=usage)

    def events(self, response: Any) -> Iterator[Any]:
        t = self.types
        yield t.StreamStartEvent(model=response.model)
        for i, part in enumerate(response.message.parts):
            if part.type == "text":
                yield t.StreamDeltaEvent(t.TextDelta(part.text, part_index=i))
            elif part.type == "tool_call":
                given = json.dumps(part.input)
                yield t.StreamDeltaEvent(t.ToolCallDelta(given, part_index=i, id=part.id, name=part.name))
        yield t.StreamEndEvent(finish_reason=response.finish_reason, usage=response.usage)

    def error(self, error: Exception) -> Exception:
        """An error of ours as DSPy's engine layer has it."""
        code = getattr(error, "code", None) or "provider"
        kind = getattr(self.errors, _ERRORS.get(code, "ProviderError"))
        made: Exception = kind(str(error))
        for name in ("status", "retry_after", "request_id", "provider_code"):
            value = getattr(error, name, None)
            if value is not None and hasattr(made, name):
                setattr(made, name, value)
        return made
