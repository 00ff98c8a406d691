"""`lampc.predict.react`: the path that `dspy.predict.react` has."""

from lampc.frontend.python.modules.react import ReAct
from lampc.frontend.python.tools.tool import Tool

__all__ = ["ReAct", "Tool"]
