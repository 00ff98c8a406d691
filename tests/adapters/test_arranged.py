"""Prompts in an order of one's own: the same blocks, moved; the layout's own bytes where nobody asked."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lampc
from lampc.frontend.lmp import compile_lmp, emit_lmp
from lampc.frontend.lmp.format import format_lmp
from lampc.ir import STR, CompileError, Demo, DemoSet, Field, ListOf, Module, Signature, freeze
from lampc.ir.adapters import ADAPTERS, Bound, adapter, bind_prompt
from lampc.ir.adapters.arranged import complete, layout_in, like, own_blocks, parts_of
from lampc.ir.adapters.registry import adapter_name, kind_of, layout_for
from lampc.ir.adapters.rounds import first_round, most_rounds, next_round
from lampc.ir.prog import DefPredictor
from lampc.passes import PassContext, Pipeline
from tests.fakes import TEMPLATES, FakeTarget

SIGNATURE = Signature(
    (Field("context", ListOf(STR)), Field("question", STR), Field("tone", STR)),
    (Field("answer", STR),),
    "Answer it.",
    "A",
)
DEMOS = DemoSet((Demo(freeze({"context": ["d1"], "question": "dq", "tone": "dt", "answer": "da"})),))
VALUES = [["one", "two"], "why?", "kind"]
MOVABLE = [n for n in ADAPTERS if kind_of(n) != "two_step"]
ORDERS = [o for o in itertools.permutations(own_blocks(SIGNATURE)) if o[-1] != "demos"]


def sent(layout: str, demos: DemoSet = DEMOS) -> list[tuple[str, str]]:
    bound = Bound("a", SIGNATURE, "Answer it.", demos, layout, "main")
    return bind_prompt(adapter(layout).render(SIGNATURE, "a"), bound, VALUES)


@pytest.mark.parametrize("name", MOVABLE)
def test_every_order_of_every_layout_has_the_same_blocks(name: str) -> None:
    plain = dict(sent(name, DemoSet()))
    words = sorted(f"{plain.get('system', '')}\n{plain['user']}".split())
    for order in ORDERS:
        layout = layout_in(name, order, SIGNATURE)
        turns = sent(layout)
        text = "\n".join(t for _, t in turns)
        assert sorted(" ".join(t for _, t in sent(layout, DemoSet())).split()) == words, order
        marks = {"instruction": "Answer it.", "demos": "da", "context": "two", "question": "why?", "tone": "kind"}
        places = [text.rindex(marks[b]) for b in order]
        assert places == sorted(places), f"{order}: {text}"
        inside = next(t for _, t in turns if "dq" in t)
        shown = [b for b in order if b in ("context", "question", "tone")]
        spots = [inside.index({"context": "d1", "question": "dq", "tone": "dt"}[b]) for b in shown]
        assert spots == sorted(spots), "demos show their inputs in the same order"
        roles = [r for r, _ in turns]
        assert roles in (["system", "user", "assistant", "user"], ["user", "assistant", "user"])
        said = adapter(name).demo(SIGNATURE, DEMOS.items[0])[-1][1]
        assert adapter(layout).parse(SIGNATURE, said) == adapter(name).parse(SIGNATURE, said) == {"answer": "da"}


@pytest.mark.parametrize("name", MOVABLE)
def test_the_own_order_is_the_layout_itself_and_its_blocks_the_same_bytes(name: str) -> None:
    own = own_blocks(SIGNATURE)
    assert layout_in(name, own, SIGNATURE) == name
    assert sent(f"{name}[{','.join(own)}]") == sent(name)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(own_blocks(SIGNATURE)), unique=True))
def test_an_order_of_some_blocks_becomes_one_of_all(named: list[str]) -> None:
    whole = complete(named, SIGNATURE)
    assert sorted(whole) == sorted(own_blocks(SIGNATURE))
    assert [b for b in whole if b in named] == named
    assert parts_of(f"chat[{','.join(whole)}]") == ("chat", whole)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("compact[a", "an order is written as"),
        ("compact[]", "an order is written as"),
        ("compact[context,context]", "`context` stands twice"),
        ("nosuch[context]", "there is no layout `nosuch`"),
        ("two_step[context]", "one order only"),
        ("compact[contxt,question,tone,instruction,demos]", r"no block `contxt`; did you mean `context`\?"),
        ("compact[context,instruction]", "the order leaves out `demos`, `question`, `tone`"),
        ("chat[context,question,tone,instruction,demos]", "something has to stand behind `demos`"),
    ],
)
def test_orders_that_cannot_be_say_why(layout: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapter(layout).render(SIGNATURE, "a")


def test_names_of_ordered_layouts_keep_what_the_layout_is() -> None:
    name = "json_dspy[context,demos,instruction,question,tone]"
    assert (kind_of(name), adapter_name(name), adapter(name).strict) == ("json", "JSONAdapter", True)
    assert most_rounds(name) == most_rounds("json_dspy") == 1
    assert layout_for(like(name, "chat"), "dspy-3.4") == like(name, "chat_dspy")
    bound = Bound("a", SIGNATURE, "x", DemoSet(), like(name, "chat_dspy"), "main")
    inputs: dict[str, Any] = dict(zip(("context", "question", "tone"), VALUES, strict=True))
    first = first_round(bound, inputs)
    with pytest.raises(lampc.AdapterParseError) as caught:
        first.read("nothing")
    again = next_round(bound, [first], caught.value, lambda _: lambda t: t)  # type: ignore[arg-type]
    assert again is not None
    assert again.bound.layout == name, "asked again as JSON, in the same order"


# -- sources ------------------------------------------------------------------------------------------------

SOURCE = """signature Answer(context: list[str], question: str) -> (answer: str) {
  \"\"\"Answer it.\"\"\"
  layout context, instruction, question;
}

module Main(context: list[str], question: str) -> (answer: str) {
  use ask = Predict(Answer) @layout(chat);

  let out = ask(context: context, question: question);
  return (answer: out.answer);
}
"""


def predictor(module: Module) -> DefPredictor:
    (found,) = [op for op in module.body.ops if isinstance(op, DefPredictor)]
    return found


def test_a_layout_in_lmp_is_a_wish_and_frozen_a_command() -> None:
    assert format_lmp(SOURCE) == SOURCE
    unit = compile_lmp(SOURCE)
    op = predictor(unit.module)
    assert (op.layout, op.frozen) == ("chat[demos,context,instruction,question]", ())
    again = compile_lmp(emit_lmp(unit))
    assert str(again.module) == str(unit.module)
    held = compile_lmp(SOURCE.replace("question;\n}", "question @frozen;\n}", 1))
    assert predictor(held.module).frozen == ("layout",)
    assert str(compile_lmp(emit_lmp(held)).module) == str(held.module)


def test_python_asks_for_an_order_too() -> None:
    @lampc.layout("context", "instruction", "question")
    class Answer(lampc.Signature):
        """Answer it."""

        context: list[str] = lampc.InputField()
        question: str = lampc.InputField()
        answer: str = lampc.OutputField()

    assert lampc.Predict(Answer).layout_in_force() == "compact[demos,context,instruction,question]"
    thought = lampc.ChainOfThought(Answer).predictors()[0]
    assert thought.layout_in_force() == "compact[demos,context,instruction,question]"
    assert lampc.Predict(Answer.delete("context")).layout_in_force() == "compact[demos,instruction,question]"
    assert lampc.Predict(Answer, layout="json").layout_in_force() == "json[demos,context,instruction,question]"
    assert lampc.Predict(lampc.layout("context", frozen=True)(Answer)).frozen == ("layout",)
    with pytest.raises(ValueError, match=r"no block `contex`; did you mean `context`\?"):
        lampc.layout("contex")(Answer)
    with pytest.raises(TypeError, match="a signature class"):
        lampc.layout("context")(int)


def test_a_wrong_order_is_an_error_of_the_program_when_it_is_lowered() -> None:
    unit = compile_lmp(SOURCE)
    predictor(unit.module).layout = "compact[context,question]"
    with pytest.raises(CompileError, match="the order leaves out `instruction`, `demos`"):
        Pipeline.parse("lower-prompts").run(unit.module, PassContext(FakeTarget(TEMPLATES["firefly"])))


def test_a_joint_search_keeps_the_order_that_is_asked_for_in_every_layout() -> None:
    from lampc.passes.optimize.joint.space import in_order

    own = predictor(compile_lmp(SOURCE).module).layout
    tried = ("compact", "chat", "two_step", "json[context,instruction,demos,question]")
    order = "[demos,context,instruction,question]"
    assert in_order(own, tried) == [f"compact{order}", f"chat{order}", "chat"]
    assert in_order("compact", tried) == list(tried)
