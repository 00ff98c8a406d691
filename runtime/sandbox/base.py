"""What interpreters have in common: one session, tools and SUBMIT answered for the code, callbacks that are told."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from lampc.frontend.python.callbacks import active, telling
from lampc.frontend.python.tools.interpreter import CodeInterpreterError, FinalOutput
from lampc.runtime.sandbox.limits import SandboxLimits
from lampc.runtime.sandbox.values import inside, outside


class Interpreter:
    """Subclasses say how to connect, disconnect, and run code; the rest is here.

    `tools` are functions of this process that code may call. `output_fields` (`[{"name": "answer"}, ...]`) are the
    parameters of SUBMIT; without them it takes one value, the field `output`.
    """

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: Sequence[Mapping[str, Any]] | None = None,
        *,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.tools: dict[str, Callable[..., Any]] = dict(tools or {})
        self.output_fields = output_fields
        self.limits = limits or SandboxLimits()
        self.callbacks = list(callbacks)
        self._ended = False
        self._busy = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(tools={list(self.tools)}, limits={self.limits})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def __call__(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        return self.execute(code, variables)

    # -- what subclasses do ---------------------------------------------------------------------------------

    def _connected(self) -> bool:
        raise NotImplementedError(type(self).__name__)

    def _connect(self) -> None:
        raise NotImplementedError(type(self).__name__)

    def _disconnect(self) -> None:
        raise NotImplementedError(type(self).__name__)

    def _executed(self, code: str, given: dict[str, Any]) -> Any:
        raise NotImplementedError(type(self).__name__)

    # -- the session ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process, if it is not there. Raises CodeInterpreterError after `shutdown`."""
        if self._ended:
            raise CodeInterpreterError("this interpreter was shut down; make a new one")
        if not self._connected():
            with telling("interpreter_startup", self, {}, active(self)):
                self._connect()

    def shutdown(self) -> None:
        """End the process. What code had bound is gone."""
        self._ended = True
        if self._connected():
            with telling("interpreter_shutdown", self, {}, active(self)):
                self._disconnect()

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """See `CodeInterpreter.execute`."""
        if self._busy:
            raise CodeInterpreterError("an interpreter cannot be used by a tool that its own code called")
        given = self._variables(variables or {})
        self.start()
        self._busy = True
        try:
            with telling("interpreter_execute", self, {"code": code, "variables": variables}, active(self)) as told:
                told.outputs = self._executed(code, given)
            return told.outputs
        finally:
            self._busy = False

    def _variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        for name in variables:
            if not name.isidentifier() or keyword.iskeyword(name) or name == "SUBMIT" or name in self.tools:
                raise CodeInterpreterError(f"Invalid variable name: '{name}'")
        return {name: inside(value) for name, value in variables.items()}

    # -- what code asks for ---------------------------------------------------------------------------------

    def _submitted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> FinalOutput:
        """The outputs of a call of SUBMIT. Raises TypeError if they are not what was asked for."""
        names = [str(f["name"]) for f in self.output_fields] if self.output_fields else ["output"]
        signature = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names])
        try:
            values = signature.bind(*args, **kwargs).arguments
        except TypeError as e:
            raise TypeError(f"SUBMIT({', '.join(names)}): {e}") from None
        return FinalOutput({n: outside(v) for n, v in values.items()})

    def _called(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a tool returned, as code gets it. Raises NameError for no such tool, RuntimeError for what it raised."""
        tool = self.tools.get(name)
        if tool is None:
            raise NameError(f"name '{name}' is not defined")
        given = [outside(v) for v in args], {k: outside(v) for k, v in kwargs.items()}
        inputs = {"tool_name": name, "args": given[0], "kwargs": given[1]}
        try:
            with telling("interpreter_tool_call", self, inputs, active(self)) as told:
                result = tool(*given[0], **given[1])
                told.outputs = _awaited(result) if inspect.iscoroutine(result) else result
            return inside(told.outputs)
        except Exception as e:
            raise RuntimeError(f"{type(e).__name__}: {e}") from e


def _awaited(work: Any) -> Any:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise RuntimeError("an async tool cannot be called by code while an event loop runs in this thread")
