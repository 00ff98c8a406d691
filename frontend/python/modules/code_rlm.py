"""`RLM`, recursive language models (Zhang, Kraska and Khattab, 2025): the context is not in the prompt, it is in
variables that the model explores by code, asking other calls of a model about parts of it.

Fields, variables and steps are shown as DSPy 3.4 shows them. The instruction is ours: it speaks of our sandbox.
"""

from __future__ import annotations

import functools
import keyword
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.fields import FieldInfo, InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.code_repl import REPLEntry, REPLHistory, REPLVariable, SandboxSerializable
from lampc.frontend.python.modules.code_text import unfenced
from lampc.frontend.python.predict import Predict
from lampc.frontend.python.signature import ensure_signature, make_signature
from lampc.frontend.python.tools.interpreter import (
    SANDBOX_RULES,
    CodeInterpreter,
    InterpreterFactory,
    check_factory,
    failed,
    made_interpreter,
    submitted,
)
from lampc.frontend.python.tools.interpreter import interpreter_factory as factory_in_force
from lampc.frontend.python.tools.tool import Tool
from lampc.ir.adapters.lax import Unfit
from lampc.ir.adapters.strict import accept
from lampc.ir.adapters.wording import placeholder
from lampc.ir.hostvalues import lifted
from lampc.ir.runner import gather
from lampc.ir.settings import settings

logger = logging.getLogger(__name__)

_OURS = frozenset({"llm_query", "llm_query_batched", "SUBMIT", "print"})
_RESULTS = frozenset({"trajectory", "final_reasoning"})
_WHY = "Think step-by-step: what do you know? What remains? Plan your next action."
_HOW = "Python code to execute. Use markdown code block format: ```python\\n<code>\\n```"
_SIMPLE = (str, int, float, bool, list, dict, type(None))


class RLM(Module):
    """Rounds of `generate_action` write code for the sandbox, which holds the inputs as variables, until the code
    calls SUBMIT with the outputs; once `max_iters` rounds are over, `extract` reads them off the steps.

    Code may call `tools`, and `llm_query(prompt)` and `llm_query_batched(prompts)`, which ask `sub_lm` (the model in
    force), the prompts of one call together: `max_llm_calls` prompts in all. The model sees `max_output_chars` of
    what a step prints. Gives the outputs, `trajectory` (the steps) and `final_reasoning`. Raises ValueError for
    missing or unknown inputs, CodeInterpreterError if the interpreter is of no use.
    """

    def __init__(
        self,
        signature: Any,
        max_iters: int = 20,
        max_llm_calls: int = 50,
        max_output_chars: int = 10_000,
        verbose: bool = False,
        tools: Sequence[Callable[..., Any] | Tool] | None = None,
        sub_lm: Any = None,
        interpreter_factory: InterpreterFactory | None = None,
    ) -> None:
        super().__init__()
        if interpreter_factory is not None:
            check_factory(interpreter_factory)
        self.signature = ensure_signature(signature)
        self.max_iters, self.max_llm_calls, self.max_output_chars = max_iters, max_llm_calls, max_output_chars
        self.verbose, self.sub_lm = verbose, sub_lm
        self._interpreter_factory = interpreter_factory
        self.rules = _rules(interpreter_factory or settings.get("interpreter_factory"))
        self._user_tools = _named(tools)
        _check_names(self._user_tools, self.signature)
        self.generate_action, self.extract = self._predictors()

    @property
    def tools(self) -> dict[str, Tool]:
        """The tools that were given, by name."""
        return dict(self._user_tools)

    def _predictors(self) -> tuple[Predict, Predict]:
        task = self.signature.instructions
        variables = InputField(desc="Metadata about the variables available in the REPL")
        action: Any = make_signature(
            {}, instruction(self.signature, self._user_tools.values(), self.max_llm_calls) + self.rules
        )
        action = action.append("variables_info", variables, str)
        action = action.append(
            "repl_history", InputField(desc="Previous REPL code executions and their outputs"), REPLHistory
        )
        action = action.append(
            "iteration", InputField(desc="Current iteration number (1-indexed) out of max_iters"), str
        )
        action = action.append("reasoning", OutputField(desc=_WHY), str)
        action = action.append("code", OutputField(desc=_HOW), str)
        outputs = {n: (f.annotation, f) for n, f in self.signature.output_fields.items()}
        reading = (
            f"{task}\n\nThe rounds are over before the outputs were submitted. "
            "Give the best outputs that the steps so far support."
        )
        extract: Any = make_signature(outputs, reading)
        extract = extract.prepend("repl_history", InputField(desc="Your REPL interactions so far"), REPLHistory)
        extract = extract.prepend("variables_info", variables, str)
        return Predict(action), Predict(extract)

    # -- a run ------------------------------------------------------------------------------------------------

    def forward(self, *, interpreter_factory: InterpreterFactory | None = None, **inputs: Any) -> Prediction:
        _check_inputs(inputs, self.signature)
        factory = interpreter_factory or factory_in_force(self._interpreter_factory)
        check_factory(factory)
        about = [_described(n, v, self.signature.input_fields[n]).format() for n, v in inputs.items()]
        history = REPLHistory(max_output_chars=self.max_output_chars)
        action = self._action(factory)
        repl = made_interpreter(factory)
        try:
            self._equip(repl)
            given = _placed(repl, inputs)
            for i in range(self.max_iters):
                step = self.generate_action(
                    signature=action, variables_info=about, repl_history=history, iteration=f"{i + 1}/{self.max_iters}"
                )
                entry, outputs = self._step(repl, step, given)
                history = history.append(reasoning=entry.reasoning, code=entry.code, output=entry.output)
                if self.verbose:
                    logger.info("%s", entry.format(i, self.max_output_chars))
                if outputs is not None:
                    return _prediction(history, step.reasoning, outputs)
        finally:
            repl.shutdown()
        logger.warning("RLM: %d rounds are over, the outputs are read off the steps", self.max_iters)
        read = self.extract(variables_info=about, repl_history=history)
        outputs = {n: read[n] for n in self.signature.output_fields}
        return _prediction(history, "Extract forced final output", outputs)

    def _action(self, factory: InterpreterFactory) -> Any:
        """The signature of a round. Where another interpreter is in force than when the module was made, it tells what
        that one can do."""
        signature, rules = self.generate_action.signature, _rules(factory)
        if rules == self.rules:
            return signature
        said = signature.instructions
        if self.rules and self.rules in said:
            return signature.with_instructions(said.replace(self.rules, rules))
        return signature.with_instructions(said + rules)

    def _equip(self, repl: CodeInterpreter) -> None:
        asking = _Queries(self.sub_lm, self.max_llm_calls)
        repl.tools.update({"llm_query": asking.llm_query, "llm_query_batched": asking.llm_query_batched})
        repl.tools.update(self._user_tools)
        if hasattr(repl, "output_fields"):
            repl.output_fields = [_declared(n, f) for n, f in self.signature.output_fields.items()]

    def _step(
        self, repl: CodeInterpreter, step: Prediction, given: dict[str, Any]
    ) -> tuple[REPLEntry, dict[str, Any] | None]:
        """(what was tried and what came of it, the outputs if they were submitted)."""
        code = step.code
        try:
            code = unfenced(step.code)
            result = repl.execute(code, variables=dict(given))
        except Exception as e:
            if failed(e):
                return REPLEntry(step.reasoning, code, f"[Error] {e}"), None
            raise
        if submitted(result):
            outputs, wrong = self._submitted(result.output)
            return REPLEntry(step.reasoning, code, wrong or f"FINAL: {outputs}"), None if wrong else outputs
        said = "\n".join(map(str, result)) if isinstance(result, list) else str(result) if result else ""
        return REPLEntry(step.reasoning, code, said or "(no output - did you forget to print?)"), None

    def _submitted(self, raw: Any) -> tuple[dict[str, Any], str]:
        """(outputs in their types, "") or ({}, what is wrong with what was submitted)."""
        fields = self.signature.output_fields
        if not isinstance(raw, dict):
            return {}, f"[Error] FINAL returned {type(raw).__name__}, expected dict with fields: {list(fields)}"
        if missing := sorted(set(fields) - set(raw)):
            return {}, f"[Error] Missing output fields: {missing}. Use SUBMIT({', '.join(fields)})"
        outputs, wrong = {}, []
        for name, field in fields.items():
            ir = field.ir()
            try:
                outputs[name] = lifted(accept(raw[name], ir), ir.type)
            except (Unfit, ValueError) as e:
                wanted = getattr(field.annotation, "__name__", field.annotation)
                wrong.append(f"{name}: expected {wanted}, got {type(raw[name]).__name__}: {e}")
        return outputs, f"[Type Error] {'; '.join(wrong)}" if wrong else ""


@dataclass(slots=True)
class _Queries:
    """What code asks models, within the budget of one run."""

    lm: Any
    most: int
    made: int = 0

    def llm_query(self, prompt: str) -> str:
        """Ask a model; gives its text."""
        if not prompt:
            raise ValueError("prompt cannot be empty")
        self._reserve(1)
        return self._ask(prompt)

    def llm_query_batched(self, prompts: Sequence[str]) -> list[str]:
        """Ask a model all prompts at once; the texts in order, for a call that failed `[ERROR] ...`."""
        if not prompts:
            return []
        self._reserve(len(prompts))
        found = gather([functools.partial(self._ask, p) for p in prompts])
        return [f"[ERROR] {f}" if isinstance(f, Exception) else f for f in found]

    def _ask(self, prompt: str) -> str:
        return str(_asking()(prompt=str(prompt), lm=self.lm).response)

    def _reserve(self, n: int) -> None:
        if self.made + n > self.most:
            raise RuntimeError(
                f"LLM call limit exceeded: {self.made} + {n} > {self.most}. "
                "Use Python code for aggregation instead of making more LLM calls."
            )
        self.made += n


@functools.cache
def _asking() -> Predict:
    """A call that sends a prompt as it is. No parameter of any module: there is nothing to learn."""
    return Predict(make_signature("prompt -> response"), layout="raw", symbol="llm_query")


def instruction(signature: Any, tools: Any, calls: int) -> str:
    """The instruction of the predictor that writes code."""
    given = ", ".join(f"`{n}`" for n in signature.input_fields) or "no inputs"
    wanted = [f"- {placeholder(f.ir(), True)}" for f in signature.output_fields.values()]
    task = [signature.instructions, ""] if signature.instructions else []
    lines = [
        *task,
        f"You solve this by writing Python for a REPL, one step at a time. Its variables hold the inputs: {given}. "
        "They may be far too long to read: look at parts of them by code. Produce the outputs",
        *wanted,
        "",
        "Code can call",
        "- `print(...)`: you see what the step prints, or the value of its last expression",
        "- `llm_query(prompt)`: a language model's answer to a prompt, for what needs reading and judgement; "
        "it sees only the prompt, so put the text in question into it",
        "- `llm_query_batched(prompts)`: the answers to a list of prompts, all at once and much faster than one by one",
        f"- `SUBMIT({', '.join(signature.output_fields)})`: hands in the outputs and ends the work",
        *(f"- {t}" for t in tools),
        "",
        f"At most {calls} prompts can be asked in all. Begin by looking at types, lengths and samples. Keep steps "
        "small: names live on from step to step. Search and count by code, judge meaning by `llm_query`. Pass long or "
        "exact values along in variables, never retype them. Check results that look empty or odd before you rely on "
        "them, and submit only what you have seen printed in an earlier step.",
    ]
    return "\n".join(lines)


def _named(tools: Sequence[Callable[..., Any] | Tool] | None) -> dict[str, Tool]:
    if isinstance(tools, Mapping):
        raise TypeError(
            "tools must be a list, not a dict: tools=[function], or lampc.Tool(function, name='other') for another name"
        )
    out: dict[str, Tool] = {}
    for given in tools or ():
        tool = given if isinstance(given, Tool) else Tool(given)
        if tool.name in out:
            raise ValueError(f"Duplicate tool name '{tool.name}'")
        out[tool.name] = tool
    return out


def _check_names(tools: Mapping[str, Tool], signature: Any) -> None:
    """Raises ValueError for names that the sandbox or the result needs for other things."""
    for name in tools:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"Invalid tool name '{name}': must be a valid Python identifier and not a keyword")
        if name in _OURS:
            raise ValueError(f"Tool name '{name}' conflicts with built-in sandbox function")
    inputs, outputs = set(signature.input_fields), set(signature.output_fields)
    if "interpreter_factory" in inputs:
        raise ValueError("'interpreter_factory' is reserved for RLM runtime configuration, not a signature input.")
    if clash := sorted(inputs & _OURS):
        raise ValueError(f"Input fields conflict with built-in sandbox functions: {clash}")
    if clash := sorted(inputs & set(tools)):
        raise ValueError(f"Input fields conflict with user tools: {clash}")
    if clash := sorted(outputs & _RESULTS):
        raise ValueError(f"Output fields conflict with RLM result metadata: {clash}")


def _check_inputs(inputs: Mapping[str, Any], signature: Any) -> None:
    known = set(signature.input_fields)
    if extra := sorted(set(inputs) - known):
        raise ValueError(f"Unexpected inputs not declared in the signature: {extra}")
    if missing := sorted(known - set(inputs)):
        raise ValueError(f"Missing required inputs: {missing}")


def _rules(factory: Any) -> str:
    """What a model is told of the interpreter that a factory makes; None makes the sandbox."""
    text = SANDBOX_RULES if factory is None else getattr(factory, "execution_instructions", "")
    return f"\n\nExecution environment:\n{text}" if text else ""


def _described(name: str, value: Any, field: FieldInfo) -> REPLVariable:
    if isinstance(value, SandboxSerializable):
        return value.to_repl_variable(name, field)
    return REPLVariable.from_value(name, value, field)


def _placed(repl: CodeInterpreter, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Bind inputs that need code of their own; gives the others, which every step is run with."""
    rest = {}
    for name, value in inputs.items():
        if isinstance(value, SandboxSerializable):
            code, given = value.placing(name)
            repl.execute(code, variables=given)
        else:
            rest[name] = value
    return rest


def _declared(name: str, field: FieldInfo) -> dict[str, str]:
    annotation = field.annotation
    return {"name": name, "type": annotation.__name__} if annotation in _SIMPLE else {"name": name}


def _prediction(history: REPLHistory, reasoning: str, outputs: Mapping[str, Any]) -> Prediction:
    return Prediction(trajectory=[e.model_dump() for e in history], final_reasoning=reasoning, **outputs)
