"""`lampc.primitives`: modules, rows and sandboxes, under the names of `dspy.primitives`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.example import Completions, Example, Prediction
from lampc.frontend.python.module import Module
from lampc.frontend.python.module import Module as BaseModule
from lampc.frontend.python.modules.code_repl import SandboxSerializable
from lampc.frontend.python.tools.interpreter import (
    CodeExecutionError,
    CodeInterpreter,
    CodeInterpreterError,
    FinalOutput,
)
from lampc.frontend.python.tools.interpreter import interpreter_factory as resolve_interpreter_factory
from lampc.runtime.sandbox.local import LocalInterpreter
from lampc.runtime.sandbox.monty import PythonInterpreter

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "BaseModule",
    "CodeExecutionError",
    "CodeInterpreter",
    "CodeInterpreterError",
    "Completions",
    "Example",
    "FinalOutput",
    "LocalInterpreter",
    "Module",
    "Prediction",
    "PythonInterpreter",
    "SandboxSerializable",
    "resolve_interpreter_factory",
]
