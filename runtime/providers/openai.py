"""A client of OpenAI-compatible chat endpoints: many calls under way at once, behind futures.

Calls run in one event loop on a thread of its own, at most `max_concurrency` at a time, in the order in which they
were submitted. Cancelling a future ends its request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from lampc.ir.errors import (
    LMError,
    LMInvalidRequestError,
    LMStreamAssemblyError,
    LMTransportError,
    LMUnexpectedError,
    LMUnsupportedModelError,
)
from lampc.runtime.providers.address import find_key, read_address
from lampc.runtime.providers.answer import Assembly, ChatAnswer, from_data, parse_json, read_answer
from lampc.runtime.providers.caching import PromptCache
from lampc.runtime.providers.dialect import Dialect, Message, request_body
from lampc.runtime.providers.limits import RateLimit, expected_tokens
from lampc.runtime.providers.looping import LoopThread
from lampc.runtime.providers.rules import rules_for
from lampc.runtime.providers.transport import Transport


class OpenAIClient:
    """See the module's text.

    `model` may be empty if the server serves exactly one. `timeout` bounds each attempt, in seconds, from first to
    last byte. A failed attempt (no connection, timeout, HTTP 429 or 5xx) is repeated up to `max_retries` times, after
    what `Retry-After` says or a growing pause. `requests_per_minute` and `tokens_per_minute` hold calls back before
    the server must, as do the limits that its answers tell of. `prompt_cache` says by which provider's rules prompts
    are sent (`lampc.runtime.providers.rules`), in place of those of the host: the first of several calls that begin
    alike goes alone as far as a cache makes that worth while. Proxies of the environment are used, except for this
    machine itself. `body` is added to every request. Raises LMConfigurationError for a URL that is none;
    calls raise LMError.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        *,
        api_key: str = "",
        timeout: float = 60.0,
        max_concurrency: int = 32,
        max_retries: int = 3,
        backoff: float = 0.5,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        prompt_cache: Any = None,
    ) -> None:
        if timeout <= 0 or max_concurrency < 1 or max_retries < 0:
            raise ValueError("timeout and max_concurrency must be positive, max_retries 0 or more")
        self._address = read_address(base_url)
        self._model = model
        self.max_concurrency = max_concurrency
        self.limit = RateLimit(requests_per_minute, tokens_per_minute)
        self._body = dict(body or {})
        self._transport = Transport(
            self._address,
            api_key or find_key(self._address),
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
            connections=max_concurrency,
            headers=headers,
        )
        self._transport.heard = self.limit.heard
        self.rules = rules_for(self._address.url, model, prompt_cache)
        self.cache = PromptCache(self.rules) if self.rules.caches else None
        self._dialect = Dialect()
        self._waiting: deque[_Call] = deque()
        self._arrived: deque[_Call] = deque()
        self._thread = LoopThread(self, "lampc-endpoint")
        self._thread.ends.append(self._transport.close)
        self._gate = asyncio.Lock()  # calls pass a rate limit in order

    @property
    def base_url(self) -> str:
        """The URL calls go to, in one form, without user, password and query."""
        return self._address.url

    @property
    def model(self) -> str:
        """The model's name; asked of the server if none was given. Raises LMError."""
        if not self._model:
            self._model = self._ask(self._only_model()).result()
        self._transport.model = self._model
        return self._model

    def submit(self, messages: Sequence[Message], **options: Any) -> Future[ChatAnswer]:
        """Ask for a completion. The future gives the answer, or raises LMError.

        Options are `temperature top_p max_tokens stop seed` and whatever else the endpoint knows (`tools`,
        `response_format`, `n`, ...). What is None, or says nothing (`max_tokens` 0, `top_p` 1), is not sent.
        """
        return self.submit_all([(messages, options)])[0]

    def submit_all(self, calls: Iterable[tuple[Sequence[Message], Mapping[str, Any]]]) -> Sequence[Future[ChatAnswer]]:
        """`submit` of several calls (messages, options): what they have in common is known before the first is sent."""
        made = [_Call(self, m, request_body(self.model, m, {**self._body, **o})) for m, o in calls]
        self._arrived.extend(made)
        if not self._thread.alive or not self._thread.call(_take, weakref.ref(self)):
            raise self._closed()
        return made

    def complete(self, messages: Sequence[Message], **options: Any) -> ChatAnswer:
        """`submit`, and wait for the answer."""
        return self.submit(messages, **options).result()

    async def acomplete(self, messages: Sequence[Message], **options: Any) -> ChatAnswer:
        """`submit`, and wait for the answer in an event loop of the caller's."""
        return await asyncio.wrap_future(self.submit(messages, **options))

    def stream(self, messages: Sequence[Message], **options: Any) -> Iterator[str | ChatAnswer]:
        """The answer's text piece by piece, then the whole `ChatAnswer`. Raises LMError."""
        body = {**_STREAMED, **request_body(self.model, messages, {**self._body, **options})}
        pieces = self._stream(body)
        try:
            while True:
                item = self._ask(_next(pieces)).result()
                if item is None:
                    return
                yield item
        finally:
            if self._thread.alive:
                self._ask(pieces.aclose()).result()

    def embed(self, texts: Sequence[str], **options: Any) -> list[list[float]]:
        """Vectors of texts, in their order, from `/embeddings`. Raises LMError."""
        found: list[list[float]] = self._ask(
            self._embed({"model": self.model, "input": list(texts), **options})
        ).result()
        return found

    def body(self, messages: Sequence[Message], options: Mapping[str, Any]) -> dict[str, Any]:
        """What `submit` sends, in the words that the server was found to know."""
        return self._dialect.spoken(request_body(self.model, messages, {**self._body, **options}))

    def request(
        self, method: str, path: str, content: bytes | None = None, *, kind: str = "", most: int = 0, once: bool = False
    ) -> bytes:
        """The answer's body to a request of another kind, see `Transport.send`. Raises LMError."""
        url = self.base_url + path
        found: bytes = self._ask(self._transport.send(method, url, content, kind=kind, most=most, once=once)).result()
        return found

    def recall(self, calls: Sequence[Future[ChatAnswer]]) -> list[Future[ChatAnswer]]:
        """End those of the calls that were not sent yet, and say which these are."""
        future = self._thread.run(_recall(calls))
        return [] if future is None else future.result()

    def close(self) -> None:
        """End all requests; their futures are cancelled. Twice is fine."""
        self._thread.close()
        while self._arrived or self._waiting:
            (self._arrived or self._waiting).popleft().cancel()

    def __enter__(self) -> OpenAIClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OpenAIClient({self.base_url!r}, {self._model!r})"

    # -- in the loop's thread -------------------------------------------------------------------------

    def _closed(self) -> LMError:
        return LMTransportError(f"{self.base_url}: the client is closed")

    def _ask(self, work: Any) -> Future[Any]:
        future = self._thread.run(work)
        if future is None:
            raise self._closed()
        return future

    def _launch(self) -> None:
        """Start what may run now."""
        while self._arrived:
            call = self._arrived.popleft()
            if self.cache is not None:
                self.cache.expect(call)
            self._waiting.append(call)
        while self._waiting and self.limit.under_way < self.max_concurrency:
            call = self._waiting.popleft()
            if call.done() or (self.cache is not None and self._waits(self.cache, call)):
                continue
            self.limit.under_way += 1
            call.task = self._thread.loop.create_task(self._answer(call))

    def _waits(self, cache: PromptCache, call: _Call) -> bool:
        """Whether a call has to wait for another one's first token; not for longer than `PATIENCE`."""
        lead = cache.enter(call)
        if lead is not None and len(lead.held) == 1:
            self._thread.loop.call_later(PATIENCE, self._go_on, lead)
        return lead is not None

    def _go_on(self, lead: _Call, warm: bool = False) -> None:
        """Those who waited for a call wait no longer."""
        assert self.cache is not None
        held = self.cache.warmed(lead) if warm else self.cache.left(lead)
        if held:
            self._waiting.extendleft(reversed(held))
            self._launch()

    async def _answer(self, call: _Call) -> None:
        try:
            answer = await self._complete(call)
            if not call.done():
                call.set_result(answer)
        except asyncio.CancelledError:
            call.cancel()
            raise
        except BaseException as e:
            if not call.done():
                call.set_exception(e)
        finally:
            self.limit.under_way -= 1
            if self.cache is not None:
                self._go_on(call, warm=call.done() and not call.cancelled() and call.exception() is None)
            self._launch()

    async def _complete(self, call: _Call) -> ChatAnswer:
        url, expected = f"{self.base_url}/chat/completions", 0
        if self.limit:
            expected = await self._pass(call)
        if call.cancelled():
            raise asyncio.CancelledError
        call.sent = True
        body = call.body if self.cache is None else self.cache.hinted(call.body)
        leads = self.cache is not None and self.cache.leads(call) and not _WHOLE.intersection(body)
        while True:
            try:
                answer = await self._lead(call, body) if leads else None
                if answer is None:
                    content = json.dumps(self._dialect.spoken(body)).encode("ascii")
                    answer = read_answer(await self._transport.send("POST", url, content), url)
            except LMInvalidRequestError as e:
                if not self._dialect.learn(str(e), {**body, **(_STREAMED if leads else {})}):
                    raise
                continue
            if expected:
                self.limit.correct(expected, answer.prompt_tokens + answer.completion_tokens)
            return answer

    async def _lead(self, call: _Call, body: Mapping[str, Any]) -> ChatAnswer | None:
        """The answer, read as it is written: with its first token those go on who wait for it. None if it broke off:
        then it is asked for whole."""
        answer: str | ChatAnswer | None = None
        try:
            async with contextlib.aclosing(self._stream({**body, **_STREAMED})) as pieces:
                async for piece in pieces:
                    answer = piece
                    self._go_on(call, warm=True)
        except LMError as e:
            if answer is None and not isinstance(e, LMStreamAssemblyError):
                raise
        return answer if isinstance(answer, ChatAnswer) else None

    async def _pass(self, call: _Call) -> int:
        """Wait until the rate limit lets the call through; gives the tokens it was taken for."""
        expected = expected_tokens(call.messages, int(call.body.get("max_tokens") or 0))
        async with self._gate:
            while (pause := self.limit.wait(expected)) > 0:
                await asyncio.sleep(pause)
            self.limit.take(expected)
        return expected

    async def _stream(self, body: dict[str, Any]) -> AsyncGenerator[str | ChatAnswer]:
        url = f"{self.base_url}/chat/completions"
        while True:
            parts = Assembly(url)
            try:
                async for data in self._transport.events(url, json.dumps(self._dialect.spoken(body)).encode("ascii")):
                    if b'"chat.completion"' in data:  # whole, from a server that does not stream
                        answer = from_data(parse_json(data, url), url)
                        yield answer.text
                        yield answer
                        return
                    if text := parts.add(data):
                        yield text
                yield parts.answer()
                return
            except LMInvalidRequestError as e:
                if not self._dialect.learn(str(e), body):
                    raise

    async def _only_model(self) -> str:
        url = f"{self.base_url}/models"
        try:
            found = json.loads(await self._transport.send("GET", url, None))
            names = [str(entry["id"]) for entry in found["data"]]
        except (ValueError, KeyError, TypeError):
            raise LMUnexpectedError(
                f"{url}: no list of models; give the model's name, or check the URL", status=200
            ) from None
        if len(names) != 1:
            listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise LMUnsupportedModelError(
                f"{url}: {len(names)} models are served; give the name of one ({listed or 'none'})"
            )
        return names[0]

    async def _embed(self, body: dict[str, Any]) -> list[list[float]]:
        url = f"{self.base_url}/embeddings"
        data = parse_json(await self._transport.send("POST", url, json.dumps(body).encode("ascii")), url)
        try:
            rows = sorted(data["data"], key=lambda entry: entry.get("index", 0))
            vectors = [[float(x) for x in entry["embedding"]] for entry in rows]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise LMUnexpectedError(f"{url}: the answer holds no embeddings", status=200) from None
        if len(vectors) != len(body["input"]):
            raise LMUnexpectedError(f"{url}: {len(vectors)} embeddings for {len(body['input'])} texts", status=200)
        return vectors


PATIENCE = 30.0
"""Seconds for which calls wait for the first token of one that begins as they do."""
_STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_WHOLE = frozenset({"n", "logprobs", "top_logprobs", "stream"})
"""Options of calls whose answers are not read as they are written."""


class _Call(Future[ChatAnswer]):
    """A call and its future: cancelling it ends the request."""

    def __init__(self, client: OpenAIClient, messages: Sequence[Message], body: dict[str, Any]) -> None:
        super().__init__()
        self.messages, self.body = messages, body
        self.marks: tuple[bytes, ...] = ()  # of the beginnings that it shares, see `PromptCache`
        self.held: deque[_Call] = deque()  # who waits for its first token
        self.task: asyncio.Task[None] | None = None
        self.sent = False
        self._loop = client._thread

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled and self.task is not None:
            self._loop.call(self.task.cancel)
        return cancelled


async def _recall(calls: Sequence[Future[ChatAnswer]]) -> list[Future[ChatAnswer]]:
    return [c for c in calls if isinstance(c, _Call) and not c.sent and c.cancel()]


def _take(client: weakref.ref[OpenAIClient]) -> None:
    found = client()
    if found is not None:
        found._launch()


async def _next(pieces: AsyncIterator[Any]) -> Any:
    return await anext(pieces, None)
