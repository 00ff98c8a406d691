"""`PythonInterpreter`: code that a model wrote, in Monty, an interpreter of Python written in Rust.

Every interpreter is a process of its own that holds no file, no connection and no environment; what code wants of
the outside it asks of this process, which answers for tools and SUBMIT and for nothing else. See docs/sandbox.md.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lampc.frontend.python.tools.interpreter import (
    SANDBOX_RULES,
    CodeExecutionError,
    CodeInterpreterError,
    FinalOutput,
)
from lampc.ir.runner import aside
from lampc.runtime.sandbox.base import Interpreter
from lampc.runtime.sandbox.launcher import launcher
from lampc.runtime.sandbox.limits import SandboxLimits
from lampc.runtime.sandbox.values import heavier, outside

_SAVED = 4 << 20
"""States larger than this are not kept for the case that later code breaks the interpreter: saving them is slow."""


class PythonInterpreter(Interpreter):
    """A sandbox for Python. Names that code binds live until `shutdown`; use by one thread at a time.

    `seed` starts its random numbers. After code that broke a limit or the process, the session is again as it was
    before that code.
    """

    execution_instructions = SANDBOX_RULES

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: Sequence[Mapping[str, Any]] | None = None,
        *,
        limits: SandboxLimits | None = None,
        seed: int = 0,
        callbacks: Sequence[Any] = (),
    ) -> None:
        super().__init__(tools, output_fields, limits=limits, callbacks=callbacks)
        self.seed = seed
        self._open: ExitStack | None = None
        self._session: Any = None
        self._saved: bytes | None = b""
        self._running = False
        self._lock = threading.Lock()

    def _connected(self) -> bool:
        return self._session is not None

    def shutdown(self) -> None:
        """End the process. Code that still runs is ended by its limit of time."""
        with self._lock:
            self._ended, running = True, self._running
        if not running:
            super().shutdown()

    def _connect(self) -> None:
        monty = _library()
        limits = self.limits
        with ExitStack() as opened:
            pool = opened.enter_context(
                monty.Monty(
                    binary_path=launcher(_binary(), limits.memory),
                    max_processes=1,
                    max_checkouts_per_worker=1,
                    request_timeout=limits.seconds + 5,
                )
            )
            session = pool.checkout(
                limits={
                    "max_feed_duration_secs": limits.seconds,
                    "max_memory": limits.memory,
                    "max_recursion_depth": limits.depth,
                    "max_suspensions": limits.calls,
                },
                os_policy={"sleep": "zero", "random_start": {"seed": self.seed}},
                assert_message_annotations=False,
            )
            self._session = opened.enter_context(session)
            self._open = opened.pop_all()

    def _disconnect(self) -> None:
        opened, self._open, self._session = self._open, None, None
        if opened is not None:
            with contextlib.suppress(Exception):  # its process may be gone already
                opened.close()

    def _executed(self, code: str, given: dict[str, Any]) -> Any:
        monty = _library()
        printed = monty.CollectString(max_bytes=self.limits.output)
        try:
            final, value = self._driven(code, given, printed)
        except monty.MontySyntaxError as e:
            raise SyntaxError(f"Invalid Python syntax. message: {e.display('msg')}{_line(e)}") from None
        except monty.MontyRuntimeError as e:
            raise CodeExecutionError(self._failed(e)) from None
        except monty.MontyConversionError as e:
            raise CodeInterpreterError(f"a value cannot be taken into the sandbox: {e}") from None
        except (monty.MontyCrashedError, monty.MontyDisconnectError) as e:
            raise CodeExecutionError(f"the interpreter was ended: {e}{self._restored()}") from None
        except BaseException:  # an interrupt, or a tool's row that is ended: the code stands half done
            self.shutdown()
            raise
        if not self._save(given):
            raise CodeExecutionError(f"MemoryError: the names that the code bound take too much{self._restored()}")
        if final is not None:
            return final
        result = printed.output if value is None else outside(value)
        if result == "":
            return result
        if heavier(result, self.limits.output):
            raise CodeExecutionError(f"MemoryError: the result is longer than {self.limits.output} characters")
        return result

    def _driven(self, code: str, given: dict[str, Any], printed: Any) -> tuple[FinalOutput | None, Any]:
        """Run code, answering what it asks for; (what it submitted, the value of its last expression)."""
        monty = _library()
        final: FinalOutput | None = None
        try:
            at = self._aside(self._session.feed_start, code, inputs=given, print_callback=printed)
            while not isinstance(at, monty.MontyComplete):
                if isinstance(at, monty.NameLookupSnapshot):
                    known = at.object_id is None and (at.variable_name in self.tools or at.variable_name == "SUBMIT")
                    at = self._aside(at.resume, **({"value": _callable(at.variable_name)} if known else {}))
                elif not isinstance(at, monty.FunctionSnapshot):
                    raise CodeInterpreterError("the code waits for what nobody will answer")
                elif at.is_os_function:
                    at = self._aside(at.resume_not_handled)
                else:
                    answer, submitted = self._answered(at)
                    final = final or submitted
                    at = self._aside(at.resume, answer)
        except monty.MontyRuntimeError as e:
            if final is None:
                raise
            self._failed(e)  # it went on after SUBMIT: if it broke a limit, the session starts anew
            return final, None
        return final, at.output

    def _aside(self, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Let code go on to where it next asks for something; other rows go on meanwhile."""

        def task() -> Any:
            try:
                return run(*args, **kwargs)
            finally:
                with self._lock:
                    self._running, late = False, self._ended
                if late:  # whoever waited for this was ended meanwhile
                    self._disconnect()

        self._running = True
        return aside(task)

    def _answered(self, at: Any) -> tuple[dict[str, Any], FinalOutput | None]:
        """What a call that code made is answered with, and the outputs if it submitted them."""
        try:
            if at.function_name == "SUBMIT" and "SUBMIT" not in self.tools:
                # no `except Exception` of the code stops this one
                return {"exception": SystemExit("submitted")}, self._submitted(at.args, at.kwargs)
            return {"return_value": self._called(at.function_name, at.args, at.kwargs)}, None
        except (NameError, TypeError, RuntimeError) as e:
            return {"exception": e}, None

    def _failed(self, error: Any) -> str:
        """What is said of code that failed. Where it broke a limit, its heap is in no known state or leaves no room
        to go on: then the session starts anew."""
        said = str(error.display("type-msg"))
        if said.startswith("TimeoutError: ") and "limit exceeded" in said:
            return f"TimeoutError: the code took more than {self.limits.seconds:g} s{self._restored()}"
        if said.startswith("MemoryError: ") and said.endswith(f" > {self.limits.output} bytes"):
            return f"MemoryError: the code printed more than {self.limits.output} bytes{self._restored()}"
        if said.startswith("MemoryError: "):
            return f"MemoryError: the code took more than {self.limits.memory >> 20} MiB{self._restored()}"
        return f"{said}{_line(error)}"

    def _save(self, given: Mapping[str, Any]) -> bool:
        """Keep the state, if that is quick. False if there is no memory left to write it down."""
        if self._saved is None or heavier(given, _SAVED):
            self._saved = None  # from now on: a state that was large once is not written down after every step
            return True
        try:
            state = self._session.dump()
        except _library().MontyError:
            return False
        self._saved = state if len(state) <= _SAVED else None
        return True

    def _restored(self) -> str:
        """Start anew from the last state that was kept; says what is left of it."""
        self._disconnect()
        self._connect()
        if self._saved:
            self._session.load_session(self._saved)
            return "; all names are as they were before this code"
        lost, self._saved = self._saved is None, b""
        return "; all names of earlier code are gone" if lost else ""


def _library() -> Any:
    try:
        import pydantic_monty
    except ImportError:
        raise CodeInterpreterError(
            "running code needs the sandbox's interpreter: pip install 'lampc[sandbox]', or pass an "
            "interpreter_factory of your own"
        ) from None
    return pydantic_monty


@functools.cache
def _binary() -> str:
    """The interpreter's program: the file that its package installed, whatever else is called so on the path."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = files("pydantic-monty-runtime") or []
    except PackageNotFoundError:
        listed = []
    found = [Path(str(f.locate())) for f in listed if f.name in ("monty", "monty.exe")]
    if not found or not found[0].is_file():
        raise CodeInterpreterError("the sandbox's program is missing: pip install --force-reinstall 'lampc[sandbox]'")
    return str(found[0].resolve())


def _callable(name: str) -> Callable[..., None]:
    """What stands in the sandbox for a function of this process."""

    def function(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(name)

    function.__name__ = function.__qualname__ = name
    return function


def _line(error: Any) -> str:
    """Where in the code an error arose, if it has several lines."""
    frames = error.traceback()
    return f" (line {frames[-1].line})" if frames else ""
