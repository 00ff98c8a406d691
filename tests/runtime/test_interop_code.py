"""DSPy's modules that run code, lowered: the same prompts, answers and learnt state, in its interpreter or in ours."""

from __future__ import annotations

import warnings
from typing import Any

import dspy
import pytest

import lampc
from tests.python.test_code_modules import Plain, _side, code, double
from tests.python.twins import Side, in_turn, ours, theirs

pytest.importorskip("pydantic_monty")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*experimental.*"),
]


def learnt(module: Any) -> Any:
    """As an optimizer leaves it: instructions and demos of its own."""
    for _, predictor in module.named_predictors():
        predictor.signature = predictor.signature.with_instructions(predictor.signature.instructions + "\n\nWith care.")
        names = [*predictor.signature.fields]
        predictor.demos = [dspy.Example(**dict.fromkeys(names, "d"))]
    return module


def both_runs(module: Any, inputs: dict[str, Any], *answers: Any) -> tuple[Any, Any, Side]:
    """What DSPy sent and got, what the lowered module did, in the interpreter that raises DSPy's errors."""
    _side[0] = dspy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with theirs(in_turn(*answers)) as side:
            wanted = module(**inputs).toDict(), side.prompts
    lowered = lampc.from_dspy(module)
    with ours(in_turn(*answers)) as own:
        made = lowered(**inputs).toDict()
    return wanted, (made, own.prompts), own


def test_program_of_thought() -> None:
    module = learnt(dspy.ProgramOfThought("question -> answer", 3, Plain))
    answers = code("print(nope)"), code("SUBMIT({'answer': 2})"), {"reasoning": "r", "answer": "2"}
    wanted, made, _ = both_runs(module, {"question": "q"}, *answers)
    assert made == wanted


def test_code_act() -> None:
    module = learnt(dspy.CodeAct("question -> answer", [double], 4, Plain))
    answers = (
        code("print(double(n=2))", finished=False),
        code("1 / 0", finished=True),
        {"reasoning": "r", "answer": "4"},
    )
    wanted, made, _ = both_runs(module, {"question": "q"}, *answers)
    assert made == wanted


def test_recursive_models() -> None:
    module = dspy.RLM("context, query -> answer: int", max_iters=3, tools=[double], interpreter_factory=Plain)
    for predictor in (module.generate_action, module.extract):
        predictor.signature = predictor.signature.with_instructions("Do it.")
    answers = (
        {"reasoning": "a", "code": "print(double(n=len(context)))"},
        {"reasoning": "b", "code": "nope"},
        {"reasoning": "c", "code": "SUBMIT(answer=double(n=3))"},
    )
    wanted, made, _ = both_runs(module, {"context": "abc", "query": "q"}, *answers)
    assert made == wanted


def test_dspys_sandbox_becomes_ours() -> None:
    module = dspy.RLM("context -> answer: int", tools=[double])
    lowered = lampc.from_dspy(module)
    said = lowered.generate_action.signature.instructions
    assert "Pyodide" in module.generate_action.signature.instructions
    assert "Pyodide" not in said
    assert "Python runs in a sandbox" in said
    with ours(in_turn({"reasoning": "r", "code": "SUBMIT(double(len(context)))"})):
        assert lowered(context="abc").answer == 6
    thought = lampc.from_dspy(dspy.ProgramOfThought("question -> answer"))
    with ours(in_turn(code("SUBMIT(sum(range(10)))"), {"reasoning": "r", "answer": "45"})):
        assert thought(question="q").answer == "45"
