"""`LocalInterpreter`: all of Python, with the packages of this environment, in a process of its own. No sandbox."""

from __future__ import annotations

import functools
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lampc.frontend.python.tools.interpreter import CodeExecutionError, CodeInterpreterError, FinalOutput
from lampc.ir.runner import aside
from lampc.runtime.sandbox.base import Interpreter
from lampc.runtime.sandbox.launcher import launcher
from lampc.runtime.sandbox.limits import SandboxLimits
from lampc.runtime.sandbox.values import heavier, outside

_WORKER = Path(__file__).with_name("worker.py")
_LOST = "; all names of earlier code are gone"


class LocalInterpreter(Interpreter):
    """For code that you would run yourself, or within a container: the code may read what you may read, and open
    connections.

    It cannot reach this process, sees none of its environment, writes no files, and is held to `limits`, of which
    `execution_timeout` sets the seconds; `depth` is Python's own. Where code breaks a limit of time or ends the
    process, its names are gone. Random numbers and hashes start from the same seed every time.
    """

    execution_instructions = (
        "Python runs in a process of its own. State persists across executions. No file can be written."
    )

    def __init__(
        self,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: Sequence[Mapping[str, Any]] | None = None,
        *,
        execution_timeout: float | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        chosen = limits or (SandboxLimits() if execution_timeout is None else SandboxLimits(seconds=execution_timeout))
        super().__init__(tools, output_fields, limits=chosen, callbacks=callbacks)
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def _connected(self) -> bool:
        return self._process is not None

    def _connect(self) -> None:
        program = launcher(sys.executable, self.limits.memory)
        command = [program, "-s", "-P", "-X", "utf8", str(_WORKER), str(self.limits.output)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=os.sep
        )
        self._rest = b""

    def _disconnect(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _executed(self, code: str, given: dict[str, Any]) -> Any:
        calls = 0
        left = self.limits.seconds
        try:
            self._send({"code": code, "variables": given, "calls": [*self.tools, "SUBMIT"]})
            final: FinalOutput | None = None
            while True:
                began = time.monotonic()
                message = aside(functools.partial(self._received, left))
                left -= time.monotonic() - began
                if "call" not in message:
                    return self._result(message, final)
                calls += 1
                if calls > self.limits.calls:
                    raise CodeExecutionError(f"RuntimeError: more than {self.limits.calls} calls{_LOST}")
                answer, submitted = self._answered(message)
                final = final or submitted
                self._send(answer)
        except _Broken as e:
            self._disconnect()
            raise CodeExecutionError(f"{e}{_LOST}") from None
        except CodeExecutionError as e:
            if str(e).endswith(_LOST):
                self._disconnect()
            raise
        except SyntaxError:
            raise
        except BaseException:  # an interrupt, or a row that is ended: the code stands half done
            self.shutdown()
            raise

    def _answered(self, message: Mapping[str, Any]) -> tuple[dict[str, Any], FinalOutput | None]:
        name, args, kwargs = str(message["call"]), message.get("args") or (), message.get("kwargs") or {}
        try:
            if name == "SUBMIT" and "SUBMIT" not in self.tools:
                return {"submitted": True}, self._submitted(args, kwargs)
            return {"value": self._called(name, args, kwargs)}, None
        except (NameError, TypeError, RuntimeError) as e:
            return {"error": str(e), "kind": type(e).__name__}, None

    def _result(self, message: Mapping[str, Any], final: FinalOutput | None) -> Any:
        if final is not None:
            return final
        if message.get("kind") == "SyntaxError":
            raise SyntaxError(f"Invalid Python syntax. message: {message['failed']}")
        if "failed" in message:
            raise CodeExecutionError(str(message["failed"]))
        value = outside(message.get("value"))
        if heavier(value, self.limits.output):
            raise CodeExecutionError(f"MemoryError: the result is longer than {self.limits.output} characters")
        return value

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Broken("the process ended") from None

    def _received(self, patience: float) -> dict[str, Any]:
        """The next message. Raises _Broken if there is none in time, or it is none."""
        process = self._process
        if process is None or process.stdout is None:
            raise _Broken("the process was ended")
        until = time.monotonic() + patience
        most = 8 * self.limits.output + (1 << 16)
        while b"\n" not in self._rest:
            if len(self._rest) > most:
                raise _Broken("MemoryError: the code gave more than it may")
            wait = until - time.monotonic()
            try:
                if wait <= 0 or not select.select([process.stdout], [], [], wait)[0]:
                    raise _Broken(f"TimeoutError: the code took more than {self.limits.seconds:g} s")
                piece = os.read(process.stdout.fileno(), 1 << 16)
            except (OSError, ValueError):
                piece = b""
            if not piece:
                raise _Broken("the process ended")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise _Broken("the process sent no message")
        return message


class _Broken(CodeInterpreterError):
    """The process is of no more use."""
