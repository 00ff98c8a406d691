"""Tools of other systems, by their shape alone: neither library is imported."""

from __future__ import annotations

from typing import Any

from lampc.frontend.python.tools.schema import from_input_schema
from lampc.frontend.python.tools.tool import Tool, unordered


def mcp_tool(session: Any, tool: Any, result_mode: str) -> Tool:
    """See `Tool.from_mcp_tool`. A tool that its server calls read-only may be called in any order."""
    if result_mode not in ("text", "structured"):
        raise ValueError(f"Unsupported MCP result mode: {result_mode!r}; there are 'text' and 'structured'")
    schemas, types, described = from_input_schema(_field(tool, "input_schema", "inputSchema") or {})

    async def call(**kwargs: Any) -> Any:
        return mcp_result(await session.call_tool(tool.name, arguments=kwargs), result_mode)

    call.__name__ = tool.name
    if _field(_field(tool, "annotations", "annotations"), "read_only_hint", "readOnlyHint"):
        unordered(call)
    return Tool(call, tool.name, tool.description, schemas, types, described)


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

    call.__name__ = tool.name
    schemas, _, described = from_input_schema(model.model_json_schema())
    types = {n: Any if f.annotation is None else f.annotation for n, f in model.model_fields.items()}
    return Tool(call, tool.name, tool.description, schemas, types, described)


def _field(thing: Any, *names: str) -> Any:
    """The first of these attributes that is there: the library renamed its fields between versions 1 and 2."""
    return next((getattr(thing, n) for n in names if hasattr(thing, n)), None)
