"""`lampc.primitives.example`: the path that `dspy.primitives.example` has."""

from lampc.frontend.python.example import Example

__all__ = ["Example"]
