"""Tools of other systems, by their shape alone: neither library is imported."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from lampc.frontend.python.tools.schema import from_input_schema
from lampc.frontend.python.tools.tool import Tool, unordered


class Client(Protocol):
    """What calls the tools of an MCP server."""

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None) -> Any: ...


class OnItsLoop:
    """A client that belongs to the event loop it was made in; calls from other loops are taken there."""

    def __init__(self, session: Client) -> None:
        self.session = session
        try:
            self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self.loop = None

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """Raises RuntimeError if the client's loop is gone."""
        if self.loop is None or self.loop is asyncio.get_running_loop():
            return await self.session.call_tool(name, arguments=arguments)
        if not self.loop.is_running():
            raise RuntimeError(f"tool `{name}`: the event loop of its MCP session runs no more")
        work = asyncio.run_coroutine_threadsafe(self.session.call_tool(name, arguments=arguments), self.loop)
        return await asyncio.wrap_future(work)


def mcp_tool(session: Client, tool: Any, result_mode: str, *, blocking: bool = False) -> Tool:
    """See `Tool.from_mcp_tool`. A tool that its server calls read-only may be called in any order."""
    if result_mode not in ("text", "structured"):
        raise ValueError(f"Unsupported MCP result mode: {result_mode!r}; there are 'text' and 'structured'")
    try:
        schemas, types, described = from_input_schema(_field(tool, "input_schema", "inputSchema") or {})
    except ValueError as e:
        raise ValueError(f"tool `{tool.name}`: {e}") from None

    async def call(**kwargs: Any) -> Any:
        return mcp_result(await session.call_tool(tool.name, arguments=kwargs), result_mode)

    _called(call, "mcp_tool", tool.name)
    if _field(_field(tool, "annotations", "annotations"), "read_only_hint", "readOnlyHint"):
        unordered(call)
    return Tool(call, tool.name, tool.description, schemas, types, described, blocking=blocking)


def mcp_result(result: Any, result_mode: str = "text") -> Any:
    """The value of a finished call: its text, a list of texts, or its other contents. Raises RuntimeError."""
    texts = [c.text for c in result.content if getattr(c, "type", "") == "text"]
    others = [c for c in result.content if getattr(c, "type", "") != "text"]
    value: Any = texts[0] if len(texts) == 1 else texts
    if _field(result, "is_error", "isError"):
        raise RuntimeError(f"Failed to call a MCP tool: {value}")
    if result_mode == "structured":
        known = getattr(result, "model_fields_set", ())
        if "structured_content" in known or "structuredContent" in known:
            return _field(result, "structured_content", "structuredContent")
    return value or others


def langchain_tool(tool: Any) -> Tool:
    """See `Tool.from_langchain`. Raises TypeError for a tool whose arguments are no pydantic model."""
    model = tool.args_schema
    if not hasattr(model, "model_json_schema"):
        raise TypeError(f"the LangChain tool `{tool.name}` has no args_schema that is a pydantic model")

    async def call(**kwargs: Any) -> Any:
        try:
            return await tool.ainvoke(kwargs)
        except Exception as e:
            raise RuntimeError(f"Failed to call LangChain tool {tool.name}: {e!s}") from e

    _called(call, "langchain_tool", tool.name)
    schemas, _, described = from_input_schema(model.model_json_schema())
    types = {n: Any if f.annotation is None else f.annotation for n, f in model.model_fields.items()}
    return Tool(call, tool.name, tool.description, schemas, types, described)


def _called(function: Any, maker: str, name: str) -> None:
    """Give a function the tool's name: journals know it by that."""
    function.__name__, function.__qualname__ = name, f"{maker}.<locals>.{name}"


def _field(thing: Any, *names: str) -> Any:
    """The first of these attributes that is there: the library renamed its fields between versions 1 and 2."""
    return next((getattr(thing, n) for n in names if hasattr(thing, n)), None)
