"""`lampc.adapters.types.tool`: the path that `dspy.adapters.types.tool` has."""

from lampc.frontend.python.tools.calls import ToolCallResults, ToolCalls
from lampc.frontend.python.tools.tool import Tool

__all__ = ["Tool", "ToolCallResults", "ToolCalls"]
