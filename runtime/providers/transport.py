"""HTTP to one endpoint: attempts with backoff, `Retry-After`, timeouts, whole answers and streams of events.

On aiohttp, not on the official client: `benchmarks/providers.py` measures what a call costs with either.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from lampc.ir.errors import (
    LMCollectionLimitError,
    LMError,
    LMTimeoutError,
    LMTransportError,
    LMUnexpectedError,
    is_retryable_lm_error,
)
from lampc.runtime.providers.address import Address
from lampc.runtime.providers.errors import blot, from_status

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER = 16 << 20
"""Longest answer in bytes."""
FILE_TIMEOUTS = 10
"""Times the timeout of other attempts that one with a whole file may take."""
LONGEST_WAIT = 120.0
"""Seconds. A server that asks for more patience than this is given up."""


class Transport:
    """Requests to `address` with `key`. `timeout` bounds each attempt, in seconds, from first to last byte (of a
    stream: the wait for its next bytes). All methods run in one event loop."""

    def __init__(
        self,
        address: Address,
        key: str,
        *,
        timeout: float,
        max_retries: int,
        backoff: float,
        connections: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.address, self.key = address, key
        self.timeout, self.max_retries, self.backoff = timeout, max_retries, backoff
        self.connections = connections
        self.headers = dict(headers or {})
        self.model = ""
        self.heard: Callable[[Mapping[str, str]], None] = lambda headers: None  # the headers of every answer
        self._options: dict[str, Any] = {"allow_redirects": False}
        if address.query:
            self._options["params"] = list(address.query)
        self._session: aiohttp.ClientSession | None = None
        self._resume = 0.0  # a server that asked for patience asked it of all calls

    async def send(
        self, method: str, url: str, content: bytes | None, *, kind: str = "", most: int = 0, once: bool = False
    ) -> bytes:
        """The body of the answer to a request, after as many attempts as it takes and may have, or `once`. `kind` is
        the type of its content, if it is not JSON, `most` how many bytes the answer may have. Raises LMError."""
        failure: LMError
        for attempt in range(self.max_retries + 1):
            try:
                return await self._attempt(method, url, content, kind, most or MAX_ANSWER)
            except LMError as e:
                if once:
                    raise
                failure = e
                if not await self._again(e, attempt):
                    break
        raise self._given_up(failure)

    async def events(self, url: str, content: bytes) -> AsyncIterator[bytes]:
        """The data of each server-sent event of the answer, `[DONE]` left out. Attempts are repeated only as long as
        nothing has come. Raises LMError."""
        failure: LMError
        for attempt in range(self.max_retries + 1):
            begun = False
            try:
                async for data in self._stream(url, content):
                    begun = True
                    yield data
                return
            except LMError as e:
                if begun:
                    raise
                failure = e
                if not await self._again(e, attempt):
                    break
        raise self._given_up(failure)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- attempts -------------------------------------------------------------------------------------

    async def _again(self, failure: LMError, attempt: int) -> bool:
        """Whether to try once more, after the pause that is due. Raises what is not worth another attempt."""
        if not is_retryable_lm_error(failure):
            raise failure
        patience = failure.retry_after
        if patience is not None and patience > LONGEST_WAIT:
            failure.args = (f"{failure}; it asks to wait {patience:.0f} s",)
            raise failure
        if attempt >= self.max_retries:
            return False
        if patience is not None:
            self._resume = max(self._resume, time.monotonic() + patience)
        else:
            await asyncio.sleep(min(self.backoff * 2**attempt, 30.0) * random.uniform(0.5, 1.0))
        return True

    def _given_up(self, failure: LMError) -> LMError:
        failure.args = (f"{failure} ({self.max_retries + 1} attempts)",)
        failure.message = str(failure)
        return failure

    async def _attempt(self, method: str, url: str, content: bytes | None, kind: str, most: int) -> bytes:
        import aiohttp

        if self._resume:
            await self._patience()
        options = {**self._options, "headers": {"content-type": kind}} if kind else self._options
        try:
            async with (
                asyncio.timeout(self.timeout * (FILE_TIMEOUTS if kind or most > MAX_ANSWER else 1)),
                self._http().request(method, url, data=content, **options) as response,
            ):
                self.heard(response.headers)
                body = await _body(response, url, most)
                if response.status != 200:
                    raise self._refusal(response, body, url)
                return body
        except (TimeoutError, aiohttp.ClientError, ValueError) as e:
            raise self._failure(e, url) from None

    async def _stream(self, url: str, content: bytes) -> AsyncIterator[bytes]:
        import aiohttp

        if self._resume:
            await self._patience()
        limit = aiohttp.ClientTimeout(total=None, sock_connect=min(self.timeout, 15.0), sock_read=self.timeout)
        try:
            async with self._http().request("POST", url, data=content, timeout=limit, **self._options) as response:
                self.heard(response.headers)
                if response.status != 200:
                    raise self._refusal(response, await _body(response, url, MAX_ANSWER), url)
                if "event-stream" not in response.headers.get("content-type", ""):
                    yield await _body(response, url, MAX_ANSWER)  # whole, from a server that does not stream
                    return
                async for data in _data_of(response, url):
                    yield data
        except (TimeoutError, aiohttp.ClientError, ValueError) as e:
            raise self._failure(e, url) from None

    async def _patience(self) -> None:
        pause = self._resume - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    def _refusal(self, response: aiohttp.ClientResponse, body: bytes, url: str) -> LMError:
        patience = retry_after(response.headers.get("retry-after", ""))
        if patience is None and (soon := retry_after(response.headers.get("retry-after-ms", ""))) is not None:
            patience = soon / 1000
        number = response.headers.get("x-request-id", "")
        return from_status(response.status, body, url, self.model, self.key, request_id=number, retry_after=patience)

    def _failure(self, error: Exception, url: str) -> LMError:
        import aiohttp

        said = blot(str(error), self.key) or type(error).__name__
        if isinstance(error, TimeoutError):
            return LMTimeoutError(f"{url}: no answer within {self.timeout:g} s; is the server overloaded?")
        if isinstance(error, aiohttp.InvalidURL) or "decode content-encoding" in said.lower():
            return LMUnexpectedError(f"{url}: the answer cannot be read: {' '.join(said.split())}")
        if isinstance(error, aiohttp.ClientError):
            return LMTransportError(f"{url}: no connection ({' '.join(said.split())}); is the server running?")
        raise error

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            a = self.address
            headers = {"content-type": "application/json", "accept": "application/json", **self.headers}
            if self.key:
                headers.setdefault("authorization", f"Bearer {self.key}")
            elif a.user:
                login = base64.b64encode(f"{a.user}:{a.password}".encode()).decode("ascii")
                headers.setdefault("authorization", f"Basic {login}")
            self._session = aiohttp.ClientSession(
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(self.timeout, 15.0)),
                connector=aiohttp.TCPConnector(limit=self.connections),
                trust_env=not a.loopback,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _body(response: aiohttp.ClientResponse, url: str, most: int) -> bytes:
    length = response.content_length
    if length is not None and length <= most and "content-encoding" not in response.headers:
        return await response.read()
    received = bytearray()
    async for piece in response.content.iter_any():
        received += piece
        if len(received) > most:
            raise LMCollectionLimitError(f"{url}: the answer is longer than {most >> 20} MiB")
    return bytes(received)


async def _data_of(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    size, data = 0, b""
    rest = b""
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MAX_ANSWER:
            raise LMCollectionLimitError(f"{url}: the answer is longer than {MAX_ANSWER >> 20} MiB")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data += line[5:].lstrip()
            elif not line and data:
                if data == b"[DONE]":
                    return
                yield data
                data = b""
    if data and data != b"[DONE]":
        yield data


def retry_after(value: str) -> float | None:
    """Seconds that a `Retry-After` header asks for: a number, or a date. None if it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


__all__ = ["LONGEST_WAIT", "MAX_ANSWER", "Transport", "retry_after"]
