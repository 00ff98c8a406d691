"""`lampc.primitives.local_interpreter`: the path that `dspy.primitives.local_interpreter` has."""

from lampc.runtime.sandbox.local import LocalInterpreter

__all__ = ["LocalInterpreter"]
