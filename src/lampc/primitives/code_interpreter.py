"""`lampc.primitives.code_interpreter`: the path that `dspy.primitives.code_interpreter` has."""

from lampc.frontend.python.tools.interpreter import (
    CodeExecutionError,
    CodeInterpreter,
    CodeInterpreterError,
    FinalOutput,
)
from lampc.frontend.python.tools.interpreter import (
    interpreter_factory as resolve_interpreter_factory,
)

__all__ = [
    "CodeExecutionError",
    "CodeInterpreter",
    "CodeInterpreterError",
    "FinalOutput",
    "resolve_interpreter_factory",
]
