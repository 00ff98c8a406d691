"""What a model asks of tools, and what came of it: `ToolCalls` and `ToolCallResults`, as values of signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, model_serializer, model_validator

from lampc.frontend.python.tools.tool import Tool
from lampc.frontend.python.types.base import Type
from lampc.ir.adapters.strict import repaired

Functions = Mapping[str, Any] | Sequence[Tool]


class ToolCall(Type):
    """One call: a tool's name, its arguments, and the identity that a provider gave it."""

    id: str | None = None
    name: str
    args: dict[str, Any] = Field(json_schema_extra={"additionalProperties": True})

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return _without(handler.resolve_ref_schema(handler(core)), "id")

    def format(self) -> dict[str, Any]:
        return {"name": self.name, "args": self.args}

    def execute(self, functions: Functions | None = None) -> Any:
        """Its result. `functions` maps names to functions, or lists tools; without it names of the caller are seen.

        Raises ValueError if there is no such function, RuntimeError for what it raised.
        """
        function = _found(self.name, functions)
        if function is None:
            raise ValueError(
                f"Tool function '{self.name}' not found. Please pass the tool functions to the `execute` method."
            )
        try:
            return function(**self.args)
        except Exception as e:
            raise RuntimeError(f"Error executing tool '{self.name}': {e}") from e


_Call = ToolCall


class ToolCalls(Type):
    """The calls that a model asks for in one answer, in order."""

    ToolCall: ClassVar[type[ToolCall]] = ToolCall

    tool_calls: list[_Call]
    tool_call_results: Any | None = None

    @classmethod
    def from_dict_list(cls, tool_calls_dicts: Sequence[Mapping[str, Any]]) -> Self:
        """Out of `[{"name": ..., "args": {...}}, ...]`, or calls in the form of OpenAI. Raises ValueError."""
        return cls(tool_calls=[ToolCall(**_normal(d)) for d in tool_calls_dicts])

    @classmethod
    def description(cls) -> str:
        """What a prompt says of the type."""
        return (
            "Tool calls must be a JSON object with `tool_calls`, a list of calls. "
            "Each call must include `name` and `args`. "
            'Example: {"tool_calls": [{"name": "search", "args": {"query": "cats"}}]}'
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return _without(handler.resolve_ref_schema(handler(core)), "tool_call_results")

    def format(self) -> dict[str, Any]:
        return {"tool_calls": [c.format() for c in self.tool_calls]}

    @model_serializer()
    def _serialized(self) -> dict[str, Any]:
        out = self.format()
        if self.tool_call_results is not None:
            results = self.tool_call_results
            out["tool_call_results"] = results.model_dump(mode="json") if hasattr(results, "model_dump") else results
        return out

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, data: Any) -> Any:
        if isinstance(data, cls):
            return data
        if isinstance(data, list) and all(isinstance(d, dict) and _is_call(d) for d in data):
            return {"tool_calls": [_normal(d) for d in data]}
        if isinstance(data, dict) and isinstance(data.get("tool_calls"), list):
            calls = [_normal(d) if isinstance(d, dict) else d for d in data["tool_calls"]]
            kept = {k: data[k] for k in ("tool_call_results",) if k in data}
            return {"tool_calls": calls, **kept}
        if isinstance(data, dict) and "tool_calls" not in data and _is_call(data):
            return {"tool_calls": [_normal(data)]}
        raise ValueError(f"Received invalid value for `ToolCalls`: {data}")


class ToolCallResult(BaseModel):
    """What came of one call: a value, or with `is_error` the text of an error."""

    call_id: str | None = None
    name: str
    value: Any
    is_error: bool = False


_Result = ToolCallResult


class ToolCallResults(BaseModel):
    """What came of calls, in their order."""

    ToolCallResult: ClassVar[type[ToolCallResult]] = ToolCallResult

    tool_call_results: list[_Result]

    @classmethod
    def from_tool_calls_and_values(
        cls, tool_calls: Sequence[ToolCall] | ToolCalls, values: Sequence[Any], is_errors: Sequence[bool] | None = None
    ) -> Self:
        """One result per call. Raises ValueError if the lengths differ."""
        calls = tool_calls.tool_calls if isinstance(tool_calls, ToolCalls) else tool_calls
        if len(calls) != len(values):
            raise ValueError("`tool_calls` and `values` must have the same length.")
        if is_errors is not None and len(is_errors) != len(calls):
            raise ValueError("`is_errors` must have the same length as `tool_calls` when provided.")
        wrong = is_errors or [False] * len(calls)
        rows = zip(calls, values, wrong, strict=True)
        made = [ToolCallResult(call_id=c.id, name=c.name, value=v, is_error=e) for c, v, e in rows]
        return cls(tool_call_results=made)

    @model_validator(mode="before")
    @classmethod
    def _accept(cls, data: Any) -> Any:
        if isinstance(data, cls):
            return data
        if isinstance(data, list):
            return {"tool_call_results": data}
        if isinstance(data, dict) and "tool_call_results" in data:
            return data
        if isinstance(data, dict) and {"name", "value"} <= set(data):
            return {"tool_call_results": [data]}
        raise ValueError(f"Received invalid value for `ToolCallResults`: {data}")


def _is_call(data: Mapping[str, Any]) -> bool:
    return "function" in data or ("name" in data and ("args" in data or "arguments" in data))


def _normal(data: Any) -> dict[str, Any]:
    """A call under our names, out of ours or OpenAI's (`function`, arguments as JSON text). Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError(f"Received invalid tool call value for `ToolCalls`: {data}")
    inner = data
    if "function" in data:
        inner = data["function"] or {}
        if not isinstance(inner, Mapping):
            raise ValueError(f"Received invalid function value for `ToolCalls`: {inner}")
    arguments = inner.get("args", inner.get("arguments", {}))
    if isinstance(arguments, str):
        arguments = repaired(arguments)
    elif not isinstance(arguments, Mapping):
        arguments = {}
    name = inner.get("name") or data.get("name")
    return {"id": data.get("id") or data.get("call_id"), "name": name, "args": arguments}


def _found(name: str, functions: Functions | None) -> Any:
    if functions is None:
        from lampc.frontend.python.frames import Visible

        seen = Visible(1)
        return seen.get(name)
    if isinstance(functions, Mapping):
        return functions.get(name)
    return next((t.func for t in functions if t.name == name), None)


def _without(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema as prompts have it: without a property that a model does not write, and without our docstring."""
    schema.pop("description", None)
    schema.get("properties", {}).pop(name, None)
    if isinstance(schema.get("required"), list):
        schema["required"] = [n for n in schema["required"] if n != name]
    return schema
