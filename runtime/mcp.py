"""Tools of MCP servers, over stdio (a process that is started here) or streamable HTTP.

    with lampc.MCPServer(["python", "weather.py"]) as server:
        agent = lampc.ReAct("question -> answer", tools=server.tools())

The protocol is that of the official client library, `pip install 'lampc[mcp]'`. A connection lives on an event loop
of its own thread, so its tools can be called from any thread, task or row of a batch.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack
from typing import Any, Literal, Self, TypeVar

from lampc.frontend.python.tools.foreign import mcp_result, mcp_tool
from lampc.frontend.python.tools.tool import Tool

_T = TypeVar("_T")
_KEPT = 4000
"""Characters kept of what a server's process writes to its standard error."""
_PATIENCE = 50
"""Hundredths of a second that are waited for them."""
_MOST_TOOLS = 1000


class MCPError(RuntimeError):
    """A server could not be reached, is gone, or did not answer in time."""


class MCPServer:
    """A connection to one MCP server. `target` is a command line (a list), or the URL of an endpoint.

    `env` and `cwd` are for the command, `headers` for the endpoint; the process sees of this one's environment only
    what the client library passes on. `timeout` bounds every call, `start_timeout` the start, in seconds. Opened by
    `with`, or by the first use; `close` ends the process.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        start_timeout: float = 60.0,
        result_mode: Literal["text", "structured"] = "text",
    ) -> None:
        if isinstance(target, str) and not target.startswith(("http://", "https://")):
            raise ValueError(f"{target!r} is no URL; a command is given as a list: MCPServer(['python', 'server.py'])")
        if not target:
            raise ValueError("an MCP server is a URL or a command line, not nothing")
        self.target = target if isinstance(target, str) else list(target)
        self.env, self.cwd, self.headers = env, cwd, headers
        self.timeout, self.start_timeout, self.result_mode = timeout, start_timeout, result_mode
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._said = ""

    def __repr__(self) -> str:
        return f"MCPServer({self.target!r})"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- use ------------------------------------------------------------------------------------------------

    def tools(self, names: Sequence[str] | None = None) -> list[Tool]:
        """The server's tools in its order, or those called `names`. Raises MCPError; KeyError for an unknown name."""
        found = {t.name: t for t in self._wait(self._list())}
        if unknown := [n for n in names or () if n not in found]:
            raise KeyError(f"{self!r} has no tool `{unknown[0]}`; it has {', '.join(found) or 'none'}")
        wanted = found.values() if names is None else [found[n] for n in names]
        return [mcp_tool(self, t, self.result_mode, blocking=True) for t in wanted]

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """What a tool returns. Raises RuntimeError for what it says went wrong, MCPError as above."""
        return mcp_result(self._wait(self._call(name, arguments)), self.result_mode)

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """The library's result of a call, from any event loop."""
        return await asyncio.wrap_future(self._submit(self._call(name, arguments or {})))

    # -- the connection -------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, if it is not connected. Raises MCPError; ImportError where the client library is missing."""
        with self._lock:
            if self._thread is not None:
                return
            self._closed = False
            try:
                import mcp  # noqa: F401
            except ImportError:
                raise ImportError("MCP servers need the client library: pip install 'lampc[mcp]'") from None
            ready: Future[None] = Future()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="lampc-mcp", daemon=True)
            self._thread.start()
            atexit.register(self.close)
        try:
            ready.result(self.start_timeout)
        except TimeoutError:
            self.close()
            raise MCPError(f"{self!r} did not answer within {self.start_timeout:g} s{self._last_words(8)}") from None
        except BaseException as e:
            self.close()
            raise MCPError(f"{self!r} could not be reached: {_reason(e)}{self._last_words(8)}") from None

    def close(self) -> None:
        """Disconnect and end the server's process. Calls under way fail."""
        atexit.unregister(self.close)
        with self._lock:
            thread, self._thread, self._closed = self._thread, None, True
        if thread is None:
            return
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
        thread.join(self.start_timeout)

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as e:
            if not ready.done():
                ready.set_exception(e)

    async def _serve(self, ready: Future[None]) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        async with AsyncExitStack() as stack:
            self._client = await stack.enter_async_context(self._connection(stack))
            ready.set_result(None)
            await asyncio.Event().wait()

    def _connection(self, stack: AsyncExitStack) -> Any:
        from mcp import Client, StdioServerParameters, stdio_client

        if isinstance(self.target, str):
            from httpx2 import AsyncClient
            from mcp.client.streamable_http import streamable_http_client

            http = AsyncClient(headers=dict(self.headers or {}), timeout=self.timeout, follow_redirects=False)
            stack.push_async_callback(http.aclose)
            transport = streamable_http_client(self.target, http_client=http)
        else:
            command, *args = self.target
            process = StdioServerParameters(
                command=command, args=args, env=dict(self.env) if self.env is not None else None, cwd=self.cwd
            )
            transport = stdio_client(process, errlog=self._listening(stack))
        return Client(transport, read_timeout_seconds=self.timeout)

    def _listening(self, stack: AsyncExitStack) -> Any:
        """Where a server's process writes its errors; the end of them is kept, for messages."""
        reading, writing = os.pipe()
        log = os.fdopen(writing, "w")
        stack.callback(log.close)

        def listen() -> None:
            with os.fdopen(reading, "r", errors="replace") as lines:
                for line in lines:
                    self._said = (self._said + line)[-_KEPT:]

        threading.Thread(target=listen, name="lampc-mcp-errors", daemon=True).start()
        return log

    def _last_words(self, lines: int = 1) -> str:
        for _ in range(_PATIENCE):  # its end may be heard of before what it said
            if self._said:
                break
            time.sleep(0.01)
        said = self._said.strip().splitlines()[-lines:]
        return "; it said: " + "\n".join(said) if said else ""

    async def _list(self) -> list[Any]:
        found: list[Any] = []
        cursor = None
        while len(found) < _MOST_TOOLS:
            page = await self._client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
        return found[:_MOST_TOOLS]

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return await self._client.call_tool(name, dict(arguments))
        except Exception as e:
            gone = self._last_words() if "closed" in str(e).lower() else ""
            raise MCPError(f"tool `{name}` of {self!r}: {_reason(e)}{gone}") from e

    def _submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        try:
            if self._closed:
                raise MCPError(f"{self!r} is closed")
            self.open()
        except BaseException:
            work.close()
            raise
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return self._submit(work).result()
        except CancelledError:
            raise MCPError(f"{self!r} was closed during a call") from None


def _reason(error: BaseException) -> str:
    """What went wrong, in one line: the library wraps errors in groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split()) if str(error) else type(error).__name__
