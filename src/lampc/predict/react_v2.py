"""`lampc.predict.react_v2`: the path that `dspy.predict.react_v2` has."""

from lampc.frontend.python.modules.react_v2 import ReActV2

__all__ = ["ReActV2"]
