"""`lampc.adapters.types.citation`: the path that `dspy.adapters.types.citation` has."""

from lampc.frontend.python.types.document import Citations

__all__ = ["Citations"]
