"""`ProgramOfThought` (Chen et al., arXiv 2211.12588): a model writes code, the sandbox runs it.

Instructions and field names are DSPy 3.4's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.code_text import fenced, ran
from lampc.frontend.python.predict import ChainOfThought
from lampc.frontend.python.signature import ensure_signature, make_signature
from lampc.frontend.python.tools.interpreter import (
    CodeInterpreter,
    InterpreterFactory,
    check_factory,
    check_interpreter,
    interpreter_factory,
    made_interpreter,
)

logger = logging.getLogger(__name__)

_CODE = "python code that answers the question"
_NEW = {
    "generate": {"generated_code": OutputField(desc=_CODE)},
    "regenerate": {
        "previous_code": InputField(desc="previously-generated python code that errored"),
        "error": InputField(desc="error message from previously-generated python code"),
        "generated_code": OutputField(desc=_CODE),
    },
    "answer": {
        "final_generated_code": InputField(desc=_CODE),
        "code_output": InputField(desc="output of previously-generated python code"),
    },
}


class ProgramOfThought(Module):
    """Answers by code: `code_generate`, after a failure `code_regenerate`, in the end `generate_output`.

    `max_iters` is how often code is run at most. Each call has a fresh interpreter of `interpreter_factory` (the
    sandbox), unless one is passed as the first argument, which then stays open. Raises RuntimeError if no code ran,
    CodeInterpreterError if the interpreter is of no use.
    """

    def __init__(
        self, signature: Any, max_iters: int = 3, interpreter_factory: InterpreterFactory | None = None
    ) -> None:
        super().__init__()
        if interpreter_factory is not None:
            check_factory(interpreter_factory)
        self.signature = ensure_signature(signature)
        self.max_iters = max_iters
        self.input_fields = self.signature.input_fields
        self.output_fields = self.signature.output_fields
        self.code_generate = self._step("generate")
        self.code_regenerate = self._step("regenerate")
        self.generate_output = self._step("answer")
        self._interpreter_factory = interpreter_factory

    def _step(self, mode: str) -> ChainOfThought:
        fields = {n: (f.annotation, f) for n, f in self.input_fields.items()}
        fields |= {n: (str, f) for n, f in _NEW[mode].items()}
        if mode == "answer":
            fields |= {n: (f.annotation, f) for n, f in self.output_fields.items()}
        made: Any = make_signature(fields)
        text = instruction(mode, list(made.input_fields), list(made.output_fields), list(self.output_fields))
        return ChainOfThought(make_signature(fields, text))

    def forward(self, interpreter: CodeInterpreter | None = None, /, **inputs: Any) -> Any:
        not_by_name(inputs, self.input_fields)
        given = {name: inputs[name] for name in self.input_fields if name in inputs}
        with interpreting(interpreter, self._interpreter_factory) as running:
            output = None
            code, error = fenced(self.code_generate(**given).get("generated_code") or "")
            for attempt in range(1, self.max_iters + 1):
                if error is None:
                    output, error = ran(running, code)
                if error is None:
                    break
                logger.info("code failed: %s", error)
                if attempt == self.max_iters:
                    raise RuntimeError(f"Max hops reached. Failed to run ProgramOfThought: {error}")
                again = self.code_regenerate(**given, previous_code=code, error=error)
                code, error = fenced(again.get("generated_code") or "")
            return self.generate_output(**given, final_generated_code=code, code_output=output)


def instruction(mode: str, inputs: list[str], outputs: list[str], final: list[str]) -> str:
    """The instruction of one step."""
    given, made, wanted = (", ".join(f"`{n}`" for n in names) for names in (inputs, outputs, final))
    if mode == "regenerate":
        lines = [
            f"You are given {given} due to an error in previous code.",
            "Your task is to correct the error and provide the new `generated_code`.",
        ]
    elif mode == "answer":
        lines = [f"Given the final code {given}, provide the final {made}."]
    else:
        lines = [
            f"You will be given {given} and you will respond with {made}.",
            f"Generating executable Python code that programmatically computes the correct {made}.",
            "After you're done with the computation and think you have the final output, make sure to submit your "
            "output by calling the preloaded function `SUBMIT()`.",
            'You must structure your output in a dict, like {"field_a": value_a, ...}, with the correct value mapping '
            f"for the field(s): {wanted}.",
        ]
    return "\n".join(lines)


@contextmanager
def interpreting(given: CodeInterpreter | None, factory: InterpreterFactory | None) -> Iterator[CodeInterpreter]:
    """The caller's interpreter, which stays open, else a fresh one, which is shut down. Raises TypeError."""
    if given is not None:
        check_interpreter(given)
        yield given
        return
    made = made_interpreter(interpreter_factory(factory))
    try:
        yield made
    finally:
        made.shutdown()


def not_by_name(inputs: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Raises TypeError for an interpreter that was passed as if it were an input."""
    if "interpreter" in inputs and "interpreter" not in fields:
        raise TypeError(
            "To use a caller-owned interpreter, pass it as the first positional argument when calling the module."
        )
