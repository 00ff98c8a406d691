"""DSPy's modules that run code, as ours: what they learnt, their tools, and their interpreters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lampc.frontend.python.module import Module
from lampc.runtime.interop.signatures import example_of, signature_of

if TYPE_CHECKING:
    from lampc.frontend.python.predict import Predict
    from lampc.runtime.interop.modules import Lowering


def program_of_thought(at: Lowering, given: Any) -> Module:
    from lampc.frontend.python.modules.code_thought import ProgramOfThought

    made = ProgramOfThought(signature_of(given.signature), given.max_iters, _factory(given))
    for step in ("code_generate", "code_regenerate", "generate_output"):
        setattr(made, step, at.value(getattr(given, step)))
    return made


def code_act(at: Lowering, given: Any) -> Module:
    from lampc.frontend.python.modules.code_act import CodeAct

    tools = [at.value(t) for t in given.tools.values()]
    made = CodeAct(signature_of(given.signature), tools, given.max_iters, _factory(given))
    made.codeact, made.extractor = at.value(given.codeact), at.value(given.extractor)
    return made


def recursive(at: Lowering, given: Any) -> Module:
    """What DSPy says of its own interpreter is replaced by what holds for ours, where that is the one that runs."""
    from lampc.frontend.python.modules.code_rlm import RLM

    factory = _factory(given)
    made = RLM(
        signature_of(given.signature),
        given.max_iters,
        given.max_llm_calls,
        given.max_output_chars,
        given.verbose,
        [at.value(t) for t in given.tools.values()],
        at.lm(given.sub_lm),
        factory,
    )
    said = given.generate_action.signature.instructions
    theirs = getattr(given, "_initial_interpreter_rules", "")
    if theirs and theirs in said:
        said = said.replace(theirs, "", 1).rstrip() + made.rules
    _learnt(at, made.generate_action, given.generate_action, said)
    _learnt(at, made.extract, given.extract, given.extract.signature.instructions)
    return made


def _learnt(at: Lowering, own: Predict, given: Any, instructions: str) -> None:
    own.signature = own.signature.with_instructions(instructions)
    own.demos = [example_of(d) for d in given.demos]
    own.layout, own.lm = at.layout, at.lm(given.lm)


def _factory(given: Any) -> Any:
    """What makes its interpreters: the user's own function or class; DSPy's sandbox becomes ours."""
    factory = given._interpreter_factory
    return None if getattr(factory, "__name__", "") == "PythonInterpreter" else factory
