"""The `chat` layout against prompts that DSPy's ChatAdapter made (`tools/make_chat_golden.py`), byte for byte."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from lampc.ir import Type, freeze, parse_module
from lampc.ir.adapters import Bound, adapter, bind_prompt
from lampc.ir.content import Demo, DemoSet, Field, Signature

GOLDEN = Path(__file__).parent / "golden_chat.json"
TOOL = Path(__file__).parents[2] / "tools" / "make_chat_golden.py"


def type_of_text(text: str) -> Type:
    return parse_module(f"module @m {{t = !{text}}} {{}}").attrs["t"]  # type: ignore[no-any-return]


def messages(case: dict[str, Any]) -> list[list[str]]:
    """What our adapter makes of a case."""
    made = [
        (f["output"], Field(f["name"], type_of_text(f["type"]), f["desc"], f["constraints"])) for f in case["fields"]
    ]
    inputs = tuple(f for output, f in made if not output)
    signature = Signature(inputs, tuple(f for output, f in made if output), case["instruction"])
    if not signature.instruction:
        signature = signature.with_instruction(signature.default_instruction())
    demos = DemoSet(tuple(Demo(freeze(d)) for d in case["demos"]))
    bound = Bound("p", signature, signature.instruction, demos, "chat", "main")
    prompt = adapter("chat").render(signature, "p")
    return [list(t) for t in bind_prompt(prompt, bound, [case["inputs"].get(f.name) for f in inputs])]


@pytest.mark.parametrize("number", range(len(json.loads(GOLDEN.read_text(encoding="utf-8")))))
def test_prompts_are_those_of_the_golden_file(number: int) -> None:
    case = json.loads(GOLDEN.read_text(encoding="utf-8"))[number]
    assert messages(case) == case["messages"]


def test_prompts_are_those_of_dspy_itself() -> None:
    pytest.importorskip("dspy", reason="DSPy is not installed: the golden file stands for it")
    spec = importlib.util.spec_from_file_location("make_chat_golden", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for case in tool.make_cases(300, seed=1):
        assert messages(case) == case["messages"]
