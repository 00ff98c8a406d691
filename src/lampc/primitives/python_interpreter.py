"""`lampc.primitives.python_interpreter`: the path that `dspy.primitives.python_interpreter` has."""

from lampc.runtime.sandbox.monty import PythonInterpreter

__all__ = ["PythonInterpreter"]
