# ruff: noqa: UP007 - the spelling of the cases
"""Prompts of all layouts against those that DSPy itself makes of the same calls, byte for byte."""

from __future__ import annotations

from typing import Any, Union

import pytest

import lampc
from lampc.frontend.python.adapters import Adapter, BAMLAdapter, ChatAdapter, JSONAdapter, TwoStepAdapter, XMLAdapter
from tests.adapters.cases import Case, make_case
from tests.adapters.models import Address, Level, Person

dspy = pytest.importorskip("dspy")
FEW, MANY = 60, 1500
"""Cases of each layout by default, and in the long run (`make test-slow`)."""


def theirs(case: Case, layout: str) -> list[dict[str, Any]]:
    """The messages that DSPy makes."""
    from dspy.adapters.baml_adapter import BAMLAdapter as TheirBaml

    made = {
        "chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter, "baml": TheirBaml,
        "two_step": lambda: dspy.TwoStepAdapter(dspy.LM("openai/x")),
    }[layout]()  # fmt: skip
    fields: dict[str, Any] = {
        n: (a, (dspy.OutputField if output else dspy.InputField)(**options)) for n, a, options, output in case.fields
    }
    inputs = dict(case.inputs)
    if case.history is not None and layout != "two_step" and HAS_HISTORY:
        fields = {"history": (dspy.History, dspy.InputField()), **fields}
        inputs["history"] = dspy.History(messages=[dict(m) for m in case.history])
    signature = dspy.Signature(fields, case.instruction)
    found: list[dict[str, Any]] = made.format(signature, [dict(d) for d in case.demos], inputs)
    return found


def ours(case: Case, layout: str) -> list[dict[str, Any]]:
    """The messages that we make."""
    made: Adapter = {
        "chat": ChatAdapter, "json": JSONAdapter, "xml": XMLAdapter, "baml": BAMLAdapter, "two_step": TwoStepAdapter,
    }[layout]()  # fmt: skip
    fields: dict[str, Any] = {
        n: (a, (lampc.OutputField if output else lampc.InputField)(**options)) for n, a, options, output in case.fields
    }
    inputs = dict(case.inputs)
    if case.history is not None and layout != "two_step" and HAS_HISTORY:
        fields = {"history": (lampc.History, lampc.InputField()), **fields}
        inputs["history"] = lampc.History(messages=[dict(m) for m in case.history])
    signature = lampc.Signature(fields, case.instruction)
    return made.format(signature, [dict(d) for d in case.demos], inputs)


def compare(layout: str, seed: int) -> bool:
    """Hold one case against DSPy; False if DSPy itself cannot write it."""
    case = make_case(seed)
    if not told(case, layout):
        return True
    try:
        expected = theirs(case, layout)
    except (ValueError, TypeError):
        return False
    assert ours(case, layout) == expected, f"seed {seed}"
    return True


def told(case: Case, layout: str) -> bool:
    """Whether plain values tell all that the layout shows of Python objects; see docs/adapters.md, "Differences"."""
    shown = [
        Union[Person, Address],
        *([set[int], tuple[int, str], tuple[int, ...], Level] if layout == "two_step" else []),
    ]
    return layout not in ("baml", "two_step") or not any(a in shown for _, a, *_ in case.fields)


HAS_HISTORY = hasattr(lampc, "History")
LAYOUTS = ("chat", "json", "xml", "baml", "two_step")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_are_those_of_dspy(layout: str) -> None:
    assert sum(compare(layout, seed) for seed in range(FEW)) > FEW * 0.6


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_are_those_of_dspy_over_thousands_of_calls(layout: str) -> None:
    assert sum(compare(layout, seed) for seed in range(FEW, FEW + MANY)) > MANY * 0.6
