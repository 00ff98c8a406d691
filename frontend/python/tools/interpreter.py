"""Interpreters for code that models write: what modules ask of one, its errors, and which one they get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from lampc.ir.errors import DSPyError
from lampc.ir.settings import settings


class CodeInterpreterError(DSPyError, RuntimeError):
    """An interpreter that is of no more use, or was set up wrongly: no other code would help."""

    default_code = "code_interpreter"


class CodeExecutionError(CodeInterpreterError):
    """The submitted code failed; the interpreter lives on, and other code may do better."""

    default_code = "code_execution"


def failed(error: Exception) -> bool:
    """Whether an error says that code failed. Interpreters that were written for DSPy raise its error of that name."""
    return isinstance(error, SyntaxError) or any(c.__name__ == "CodeExecutionError" for c in type(error).__mro__)


class FinalOutput:
    """What `execute` gives once the code called SUBMIT: outputs by name."""

    def __init__(self, output: Any) -> None:
        self.output = output

    def __repr__(self) -> str:
        return f"FinalOutput({self.output!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FinalOutput) and self.output == other.output

    def __hash__(self) -> int:
        return hash(repr(self.output))


@runtime_checkable
class CodeInterpreter(Protocol):
    """A session of an interpreter: names that code binds are there for the code after it, until `shutdown`."""

    @property
    def tools(self) -> dict[str, Callable[..., Any]]:
        """Functions of this process that the code may call, by name. May be changed between executions."""
        ...

    def start(self) -> None:
        """Get ready; may be called again. `execute` does it too."""
        ...

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """Run code, with `variables` bound before it: FinalOutput if it called SUBMIT, else the value of its last
        expression, else what it printed.

        Raises CodeExecutionError or SyntaxError for code that failed, CodeInterpreterError for the interpreter.
        """
        ...

    def shutdown(self) -> None:
        """End the session for good."""
        ...


def submitted(result: Any) -> bool:
    """Whether a result is what was submitted; that of DSPy counts too."""
    return isinstance(result, FinalOutput) or type(result).__name__ == "FinalOutput"


InterpreterFactory: TypeAlias = Callable[[], CodeInterpreter]

SANDBOX_RULES = (
    "Python runs in a sandbox with an interpreter that covers most of the language. Not available: classes that "
    "inherit, `yield`, `del`, decorators of methods, files, network, processes, packages that are not built in. "
    "Call the functions you are given in loops and comprehensions, not through `map` or `key=`. "
    "Modules: asyncio base64 bisect collections copy csv dataclasses datetime decimal functools hashlib itertools "
    "json math os.path pathlib random re sys time typing unicodedata. State persists across executions."
)
"""What a model is told that writes code for the sandbox."""

_provided: list[InterpreterFactory] = []


def provide_interpreter(factory: InterpreterFactory) -> None:
    """Say which interpreter modules get that name none; the runtime does, whose part the sandbox is."""
    _provided[:] = [factory]


def check_factory(factory: Any, name: str = "interpreter_factory") -> None:
    """Raises TypeError for what makes no interpreters."""
    if not isinstance(factory, type) and isinstance(factory, CodeInterpreter):
        raise TypeError(
            f"{name} is an interpreter, not what makes one: pass a function without arguments, "
            "such as the class, so that every run has a fresh one"
        )
    if not callable(factory):
        raise TypeError(f"{name} is called without arguments to make an interpreter; {factory!r} cannot be called")


def interpreter_factory(own: InterpreterFactory | None) -> InterpreterFactory:
    """The factory in force: a module's own, else the setting `interpreter_factory`, else the runtime's sandbox.

    Naming the sandbox is like naming none: DSPy's modules carry it as their default. Raises TypeError.
    """
    default = _provided[0] if _provided else None
    if own is not None and own is not default:
        return own
    configured = settings.get("interpreter_factory")
    if configured is not None:
        check_factory(configured, "the setting interpreter_factory")
        return configured  # type: ignore[no-any-return]
    if default is None:
        raise CodeInterpreterError("no interpreter is set: pass interpreter_factory=lampc.PythonInterpreter")
    return default


def made_interpreter(factory: InterpreterFactory) -> CodeInterpreter:
    """A fresh interpreter. Raises TypeError if the factory gives something else."""
    made: Any = factory()
    if not isinstance(made, CodeInterpreter):
        raise TypeError(f"interpreter_factory must return a CodeInterpreter, not {type(made).__name__}.")
    return made


def check_interpreter(interpreter: Any) -> None:
    """Raises TypeError for what is no interpreter."""
    if not isinstance(interpreter, CodeInterpreter):
        raise TypeError(f"interpreter must implement CodeInterpreter, not {type(interpreter).__name__}.")
