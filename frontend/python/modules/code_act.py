"""`CodeAct` (Wang et al., arXiv 2402.01030): an agent whose actions are code, which may call tools.

Instructions and field names are DSPy 3.4's. There the source of the tools runs in the sandbox, and only plain functions
will do; here tools stay outside, and code calls them through the sandbox's bridge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.code_text import fenced, ran
from lampc.frontend.python.modules.code_thought import interpreting, not_by_name
from lampc.frontend.python.modules.react import ReAct
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.signature import ensure_signature, make_signature
from lampc.frontend.python.tools.interpreter import CodeInterpreter, InterpreterFactory, check_factory
from lampc.frontend.python.tools.tool import Tool
from lampc.ir.adapters.blocks import blocks


class CodeAct(ReAct):
    """Rounds of `codeact` write code until one says it is finished, then `extractor` reads the outputs.

    Calls take the signature's inputs, `max_iters=` for that call, and an interpreter as first argument, as
    `ProgramOfThought` does. Gives the outputs and `trajectory`. Raises CodeInterpreterError.
    """

    def __init__(
        self,
        signature: Any,
        tools: Sequence[Callable[..., Any] | Tool],
        max_iters: int = 5,
        interpreter_factory: InterpreterFactory | None = None,
    ) -> None:
        Module.__init__(self)  # it has predictors of its own
        if interpreter_factory is not None:
            check_factory(interpreter_factory)
        self.signature = ensure_signature(signature)
        self.max_iters = max_iters
        made = [t if isinstance(t, Tool) else Tool(t) for t in tools]
        self.tools = {t.name: t for t in made}
        inputs, outputs = self.signature.input_fields, self.signature.output_fields
        text = code_text(self.signature.instructions, list(inputs), list(outputs), made)
        write: Any = make_signature({n: (f.annotation, f) for n, f in inputs.items()}, text)
        code = "Python code that when executed, produces output relevant to answering the question"
        done = "a boolean flag to determine if the process is done"
        write = write.append("trajectory", InputField(), str).append("generated_code", OutputField(desc=code), str)
        self.codeact = Predict(write.append("finished", OutputField(desc=done), bool))
        both = {n: (f.annotation, f) for n, f in {**inputs, **outputs}.items()}
        read: Any = make_signature(both, self.signature.instructions)
        self.extractor = ChainOfThought(read.append("trajectory", InputField(), str))
        self._interpreter_factory = interpreter_factory

    def forward(self, interpreter: CodeInterpreter | None = None, /, **inputs: Any) -> Prediction:
        not_by_name(inputs, self.signature.input_fields)
        rounds = inputs.pop("max_iters", self.max_iters)
        trajectory: dict[str, Any] = {}
        with interpreting(interpreter, self._interpreter_factory) as running:
            running.tools.update(self.tools)
            for i in range(rounds):
                made = self.codeact(trajectory=trajectory, **inputs)
                code, error = fenced(made.get("generated_code") or "")
                if error:
                    trajectory[f"observation_{i}"] = f"Failed to parse the generated code: {error}"
                    continue
                trajectory[f"generated_code_{i}"] = code
                output, error = ran(running, code)
                if error:
                    trajectory[f"observation_{i}"] = f"Failed to execute the generated code: {error}"
                else:
                    trajectory[f"code_output_{i}"] = output
                if made.finished:
                    break
            return Prediction(trajectory=trajectory, **self._fitting(self.extractor, trajectory, inputs))

    def trajectory_text(self, trajectory: Mapping[str, Any]) -> str:
        return blocks(trajectory, self.codeact.layout_in_force())


def code_text(task: str, inputs: Sequence[str], outputs: Sequence[str], tools: Sequence[Tool]) -> str:
    """The instruction of the predictor that writes code."""
    given, wanted = (", ".join(f"`{n}`" for n in names) for names in (inputs, outputs))
    lines = [f"{task}\n"] if task else []
    lines += [
        f"You are an intelligent agent. For each episode, you will receive the fields {given} as input.",
        "Your goal is to generate executable Python code that collects any necessary information for producing "
        f"{wanted}.",
        "For each iteration, you will generate a code snippet that either solves the task or progresses towards the "
        "solution.",
        "Ensure any output you wish to extract from the code is printed to the console. The code should be enclosed in "
        "a fenced code block.",
        f"When all information for producing the outputs ({wanted}) are available to be extracted, mark "
        "`finished=True` besides the final Python code.",
        "You have access to the Python Standard Library and the following functions:",
    ]
    return "\n".join([*lines, *(f"({i}) {t}" for i, t in enumerate(tools, 1))])
