"""A client of OpenAI-compatible chat endpoints: many calls under way at once, behind futures.

Calls run in one event loop on a thread of its own, at most `max_concurrency` at a time, in the order in which they
were submitted. Cancelling a future ends its request.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import random
import re
import threading
import time
import weakref
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from lampc.runtime.providers.address import find_key, read_address
from lampc.runtime.providers.answer import ChatAnswer, read_answer
from lampc.runtime.providers.errors import (
    BadAnswer,
    ProviderError,
    RefusedError,
    UnreachableError,
    blot,
    from_status,
)

T = TypeVar("T")

MAX_ANSWER = 16 << 20
"""Longest answer in bytes."""
LONGEST_WAIT = 120.0
"""Seconds. A server that asks for more patience than this is given up."""


class OpenAIClient:
    """See the module's text.

    `model` may be empty if the server serves exactly one. `timeout` bounds each attempt, in seconds, from first to
    last byte. A failed attempt (no connection, timeout, HTTP 429 or 5xx) is repeated up to `max_retries` times, after
    what `Retry-After` says or a growing pause. Proxies of the environment are used, except for this machine itself.
    Raises ProviderError for a URL that is none; calls raise subclasses of it.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        *,
        timeout: float = 60.0,
        max_concurrency: int = 8,
        max_retries: int = 3,
        backoff: float = 0.5,
    ) -> None:
        if timeout <= 0 or max_concurrency < 1 or max_retries < 0:
            raise ValueError("timeout and max_concurrency must be positive, max_retries 0 or more")
        self._address = read_address(base_url)
        self._key = find_key(self._address)
        self._model = model
        self.timeout = timeout
        self.max_concurrency = max_concurrency
        self.max_retries = max_retries
        self.backoff = backoff
        self._resume = 0.0  # a server that asked for patience asked it of all calls
        self._renamed = False  # some models know max_tokens as max_completion_tokens
        self._seedless = False
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(max_concurrency)
        self._http: list[httpx.AsyncClient] = []  # made in the loop, on first use
        self._thread = threading.Thread(
            target=_serve, args=(self._loop, self._http), name="lampc-endpoint", daemon=True
        )
        self._thread.start()
        self._finish = weakref.finalize(self, _stop, self._loop, self._thread)

    @property
    def base_url(self) -> str:
        """The URL calls go to, in one form, without user, password and query."""
        return self._address.url

    @property
    def model(self) -> str:
        """The model's name; asked of the server if none was given. Raises ProviderError."""
        if not self._model:
            self._model = self._ask(self._only_model()).result()
        return self._model

    def submit(
        self,
        messages: Sequence[dict[str, str]],
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 64,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Future[ChatAnswer]:
        """Ask for a completion. The future gives the answer, or raises ProviderError."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
        }
        if top_p < 1.0:
            body["top_p"] = top_p
        if stop:
            body["stop"] = list(stop)
        if seed is not None:
            body["seed"] = seed
        return self._ask(self._complete(body))

    def complete(self, messages: Sequence[dict[str, str]], **options: Any) -> ChatAnswer:
        """`submit`, and wait for the answer."""
        return self.submit(messages, **options).result()

    def close(self) -> None:
        """End all requests; their futures are cancelled. Twice is fine."""
        self._finish()

    def __enter__(self) -> OpenAIClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OpenAIClient({self.base_url!r}, {self._model!r})"

    # -- in the loop's thread -------------------------------------------------------------------------

    def _ask(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._finish.alive:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise ProviderError(f"{self.base_url}: the client is closed")

    async def _complete(self, body: dict[str, Any]) -> ChatAnswer:
        url = f"{self.base_url}/chat/completions"
        async with self._slots:
            while True:
                tried = self._renamed, self._seedless
                try:
                    return read_answer(await self._send("POST", url, self._dialect(body)), url)
                except RefusedError as e:
                    self._learn(str(e))
                    if tried == (self._renamed, self._seedless):
                        raise

    def _dialect(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request in the words that this server was found to know."""
        body = dict(body)
        if self._renamed:
            body["max_completion_tokens"] = body.pop("max_tokens")
        if self._seedless:
            body.pop("seed", None)
        return body

    def _learn(self, complaint: str) -> None:
        """Remember if a refusal names a field that can be said otherwise or left out."""
        self._renamed |= "max_completion_tokens" in complaint
        self._seedless |= re.search(r"\bseed\b", complaint) is not None

    async def _only_model(self) -> str:
        url = f"{self.base_url}/models"
        try:
            found = json.loads(await self._send("GET", url, None))
            names = [str(entry["id"]) for entry in found["data"]]
        except (ValueError, KeyError, TypeError):
            raise BadAnswer(f"{url}: no list of models; give the model's name, or check the URL", 200) from None
        if len(names) != 1:
            listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            raise RefusedError(f"{url}: {len(names)} models are served; give the name of one ({listed or 'none'})")
        return names[0]

    async def _send(self, method: str, url: str, body: dict[str, Any] | None) -> bytes:
        """The body of the answer to a request, after as many attempts as it takes and may have."""
        for attempt in range(self.max_retries + 1):
            await asyncio.sleep(max(0.0, self._resume - time.monotonic()))
            patience: float | None = None
            try:
                status, headers, content = await self._once(method, url, body)
                if status == 200:
                    return content
                failure = from_status(status, content, url, self._model, self._key)
                if not isinstance(failure, UnreachableError):
                    raise failure
                patience = _retry_after(headers.get("retry-after", ""))
            except TimeoutError:
                failure = UnreachableError(f"{url}: no answer within {self.timeout:g} s; is the server overloaded?")
            except httpx.TransportError as e:
                said = blot(str(e), self._key) or type(e).__name__
                failure = UnreachableError(f"{url}: no connection ({said}); is the server running?")
            if patience is not None and patience > LONGEST_WAIT:
                raise UnreachableError(f"{failure}; it asks to wait {patience:.0f} s", failure.status)
            if attempt < self.max_retries:
                if patience is not None:
                    self._resume = max(self._resume, time.monotonic() + patience)
                else:
                    await asyncio.sleep(min(self.backoff * 2**attempt, 30.0) * random.uniform(0.5, 1.0))
        raise UnreachableError(f"{failure} ({self.max_retries + 1} attempts)", failure.status)

    async def _once(self, method: str, url: str, body: dict[str, Any] | None) -> tuple[int, httpx.Headers, bytes]:
        content = None if body is None else json.dumps(body).encode("ascii")
        received = bytearray()
        try:
            async with asyncio.timeout(self.timeout), self._client().stream(method, url, content=content) as response:
                async for piece in response.aiter_bytes():
                    received += piece
                    if len(received) > MAX_ANSWER:
                        raise BadAnswer(f"{url}: the answer is longer than {MAX_ANSWER >> 20} MiB")
                return response.status_code, response.headers, bytes(received)
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.DecodingError, httpx.InvalidURL) as e:
            raise BadAnswer(f"{url}: the answer cannot be read: {blot(str(e), self._key)}") from None

    def _client(self) -> httpx.AsyncClient:
        if not self._http:
            headers = {"content-type": "application/json", "accept": "application/json"}
            if self._key:
                headers["authorization"] = f"Bearer {self._key}"
            a = self._address
            self._http.append(
                httpx.AsyncClient(
                    headers=headers,
                    params=a.query,
                    auth=(a.user, a.password) if a.user and not self._key else None,
                    timeout=httpx.Timeout(self.timeout, connect=min(self.timeout, 15.0)),
                    limits=httpx.Limits(max_connections=self.max_concurrency),
                    trust_env=not a.loopback,
                )
            )
        return self._http[0]


def _retry_after(value: str) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or a date. None if it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


def _serve(loop: asyncio.AbstractEventLoop, http: list[httpx.AsyncClient]) -> None:
    """The life of the loop's thread: until it is stopped, and what then remains to be ended."""

    async def end() -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for client in http:
            await client.aclose()
        await asyncio.sleep(0)

    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(end())
    loop.run_until_complete(loop.shutdown_asyncgens())  # of answers that were not read to their end
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    with contextlib.suppress(RuntimeError):  # closed already
        loop.call_soon_threadsafe(loop.stop)
    if threading.current_thread() is not thread:
        thread.join(10.0)
