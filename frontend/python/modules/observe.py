"""Tools as an agent calls them: what they raise is an observation too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lampc.frontend.python.tools.tool import Tool


def observation(tool: Tool, args: Mapping[str, Any]) -> Any:
    """What a tool returned to these arguments, or the text of what it raised."""
    try:
        return tool(**args)
    except Exception as e:
        return error_text(tool.name, e)


async def aobservation(tool: Tool, args: Mapping[str, Any]) -> Any:
    """The same in a running loop."""
    try:
        return await tool.acall(**args)
    except Exception as e:
        return error_text(tool.name, e)


def error_text(name: str, error: Exception) -> str:
    """What an agent is told of an error: its class and message, and no paths of the machine."""
    return f"{_FAILED}{name}: {type(error).__name__}: {error}"


def is_error_text(observation: Any) -> bool:
    """Whether an observation says that the tool raised."""
    return isinstance(observation, str) and observation.startswith(_FAILED)


_FAILED = "Execution error in "
