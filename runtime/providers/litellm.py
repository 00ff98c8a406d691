"""Models of other providers, through litellm: with the face of `OpenAIClient`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any
from weakref import WeakKeyDictionary

from lampc.ir.errors import (
    ContextWindowExceededError,
    LMAuthError,
    LMError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMRateLimitError,
    LMServerError,
    LMTimeoutError,
    LMTransportError,
    LMUnexpectedError,
    LMUnsupportedModelError,
)
from lampc.runtime.providers.answer import ChatAnswer, from_data
from lampc.runtime.providers.caching import PromptCache
from lampc.runtime.providers.dialect import request_body
from lampc.runtime.providers.errors import blot
from lampc.runtime.providers.looping import LoopThread
from lampc.runtime.providers.rules import rules_for


class LiteLLMClient:
    """`model` is litellm's `provider/model`. At most `max_concurrency` calls are under way at a time; litellm repeats
    failed ones. Raises LMNotConfiguredError if litellm is not installed; calls raise LMError."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        timeout: float = 600.0,
        max_concurrency: int = 32,
        max_retries: int = 3,
        headers: Mapping[str, str] | None = None,
        prompt_cache: Any = None,
        **others: Any,
    ) -> None:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks a server while it is imported
        try:
            import litellm
        except ImportError:
            raise LMNotConfiguredError(
                f"model {model!r} needs litellm: pip install 'lampc[litellm]'; or give the URL of an "
                "OpenAI-compatible endpoint as api_base",
                model=model,
            ) from None
        if others:
            raise LMNotConfiguredError(f"model {model!r} goes through litellm, which has no option {min(others)!r}")
        litellm.telemetry = False
        litellm.drop_params = True  # a provider that knows no `seed` is asked without
        self._complete = litellm.acompletion
        self.model, self._url, self._key = model, base_url, api_key
        self._options: dict[str, Any] = {"timeout": timeout, "num_retries": max_retries}
        for name, value in (("api_base", base_url), ("api_key", api_key), ("extra_headers", dict(headers or {}))):
            if value:
                self._options[name] = value
        self.rules = rules_for(self.base_url, model, prompt_cache)
        self.cache = PromptCache(self.rules) if self.rules.caches else None
        self._slots = asyncio.Semaphore(max_concurrency)
        self._calls: WeakKeyDictionary[Future[ChatAnswer], _Call] = WeakKeyDictionary()
        self._thread = LoopThread(self, "lampc-litellm")

    @property
    def base_url(self) -> str:
        return f"litellm {self._url}".strip()

    def submit(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Future[ChatAnswer]:
        """Ask for a completion. The future gives the answer, or raises LMError."""
        return self.submit_all([(messages, options)])[0]

    def submit_all(
        self, calls: Iterable[tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]]
    ) -> Sequence[Future[ChatAnswer]]:
        """`submit` of several calls (messages, options): what they have in common is known before the first is sent."""
        made = [_Call(request_body(self.model, m, o)) for m, o in calls]
        if self.cache is not None:
            self._thread.call(_expect, self.cache, made)
        futures = []
        for call in made:
            future = self._thread.run(self._answer(call))
            if future is None:
                raise LMTransportError(f"{self.model}: the client is closed")
            futures.append(future)
            self._calls[future] = call
        return futures

    def recall(self, calls: Sequence[Future[ChatAnswer]]) -> list[Future[ChatAnswer]]:
        """End those of the calls that were not sent yet, and say which these are."""
        future = self._thread.run(self._recall(calls))
        return [] if future is None else future.result()

    async def _recall(self, calls: Sequence[Future[ChatAnswer]]) -> list[Future[ChatAnswer]]:
        return [c for c in calls if not self._calls[c].sent and c.cancel()]

    def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> ChatAnswer:
        """`submit`, and wait for the answer."""
        return self.submit(messages, **options).result()

    def stream(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Iterator[str | ChatAnswer]:
        """The whole answer as one piece, then the `ChatAnswer`."""
        answer = self.complete(messages, **options)
        yield answer.text
        yield answer

    async def _answer(self, call: _Call) -> ChatAnswer:
        cache, body = self.cache, call.body
        if cache is None:
            return await self._ask(call, body)
        while cache.enter(call) is not None:
            await call.turn.wait()
            call.turn.clear()
        warm = False
        try:
            answer = await self._ask(call, cache.hinted(body))
            warm = True
            return answer
        finally:  # litellm's streams are of many kinds: here others wait for the whole first answer
            for other in cache.warmed(call) if warm else cache.left(call):
                other.turn.set()

    async def _ask(self, call: _Call, body: dict[str, Any]) -> ChatAnswer:
        async with self._slots:
            call.sent = True
            try:
                found = await self._complete(**body, **self._options)
            except Exception as e:
                raise as_lm_error(e, self.model, self._key) from e
        return from_data(found.model_dump(), self.model)

    def close(self) -> None:
        """End all requests. Twice is fine."""
        self._thread.close()


class _Call:
    """A call that may have to wait for another one to put their common beginning into the cache."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.marks: tuple[bytes, ...] = ()
        self.held: deque[_Call] = deque()
        self.turn = asyncio.Event()
        self.sent = False


def _expect(cache: PromptCache, calls: Sequence[_Call]) -> None:
    for call in calls:
        cache.expect(call)


_KINDS: tuple[tuple[str, type[LMError]], ...] = (
    ("ContextWindowExceededError", ContextWindowExceededError),
    ("AuthenticationError", LMAuthError),
    ("PermissionDeniedError", LMAuthError),
    ("NotFoundError", LMUnsupportedModelError),
    ("RateLimitError", LMRateLimitError),
    ("Timeout", LMTimeoutError),
    ("APIConnectionError", LMTransportError),
    ("InternalServerError", LMServerError),
    ("ServiceUnavailableError", LMServerError),
    ("BadRequestError", LMInvalidRequestError),
)


def as_lm_error(error: Exception, model: str, key: str = "") -> LMError:
    """litellm's exceptions under our names, by the name of their class or of a class above it."""
    names = {c.__name__ for c in type(error).__mro__}
    kind = next((k for name, k in _KINDS if name in names), LMUnexpectedError)
    status = getattr(error, "status_code", None)
    with contextlib.suppress(TypeError, ValueError):
        status = int(status) if status is not None else None
    said = " ".join(blot(str(error), key).split())[:400]
    return kind(f"{model}: {said}", model=model, provider="litellm", status=status)
