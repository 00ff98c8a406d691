"""Frozen parts: texts of instructions, demos and predictors that stay whatever an optimizer does."""

from __future__ import annotations

from pathlib import Path

import pytest

import lampc
from lampc.frontend.lmp import compile_lmp
from lampc.frontend.lmp.emit import emit_lmp
from lampc.frontend.python import trace
from lampc.ir import Assignment, CompileError, Demo, DemoSet, Kept, Obj, Unit, parse_module
from lampc.ir.adapters import bind_predictors
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize import BootstrapFewShot, ParameterSearch, RunJob
from lampc.runtime.saved import applied, load, save
from lampc.runtime.scripted import DummyLM
from tests.optimize.behaviour import LAYOUTS, TWO, BehaviourLM, Planted, form
from tests.optimize.problems import drive, problem, runs
from tests.optimize.registered import names, run, strategy

BEFORE, AFTER = "Name no person.", "Answer with one word."


def two(task: Planted) -> Unit:
    """The program of two predictors: the first is frozen, the second keeps texts and a demo."""
    shown = task.train[0].inputs["item"]
    text = TWO.replace("Predict(Sort) @layout(chat)", "Predict(Sort) @layout(chat) @frozen")
    text = text.replace(
        "Predict(Place) @layout(chat)", f'Predict(Place) @layout(chat) @frozen(before: "{BEFORE}", after: "{AFTER}")'
    )
    held = f'demo (item: "{shown}", kind: "{shown.split("-")[0]}", label: "north") @frozen;'
    return compile_lmp(text.replace('belongs." }', f'belongs."; {held} }}', 1), "frozen.lmp")


def kept(unit: Unit, name: str) -> Kept:
    (found,) = [op for op in unit.module.body.ops if isinstance(op, DefPredictor) and op.symbol == name]
    return found.keep


@pytest.mark.parametrize("name", names())
def test_every_optimizer_obeys(name: str) -> None:
    task = Planted(0, 2)
    unit, model = two(task), BehaviourLM(task)
    (held,) = kept(unit, "place").demos.items
    chosen = ParameterSearch({"place.layout": LAYOUTS}) if name == "parameters" else strategy(name, task)
    found = run(task, chosen, unit=unit, model=model).result
    prompts = 0
    for messages, _ in model.calls:
        system, outputs = messages[0]["content"], [n for n, _ in form(messages)[1]]
        if outputs == ["label"]:
            prompts += 1
            assert BEFORE in system
            assert AFTER in system
            assert system.index(BEFORE) < system.index(AFTER)
            shown = zip(messages[1:-1:2], messages[2:-1:2], strict=True)
            assert [a["content"] for q, a in shown if held.values["item"] in q["content"] and "north" in a["content"]]
        elif outputs == ["kind"]:
            assert len(messages) == 2
            assert "Say what the thing is." in system
    assert prompts >= len(task.dev)
    for candidate in [found.assignment, *(c.assignment for c in found.history)]:
        bound = bind_predictors(unit.module, candidate)
        assert bound["sort"] == bind_predictors(unit.module)["sort"]
        assert bound["place"].demos.items[0] == held
        assert bound["place"].instruction.startswith(BEFORE)
        assert bound["place"].instruction.endswith(AFTER)


def test_what_is_frozen_is_said_once() -> None:
    keep = Kept("Be brief.", "Thank you.", DemoSet((Demo(Obj({"x": "1", "y": "2"})),)))
    assert keep.instruction("Sum up.") == "Be brief.\nSum up.\nThank you."
    assert keep.instruction("Sum up. Be brief. Thank you.") == "Sum up. Be brief. Thank you."
    assert keep.instruction("") == "Be brief.\nThank you."
    same, other = Demo(Obj({"x": "1", "y": "2"}), True), Demo(Obj({"x": "3", "y": "4"}))
    assert keep.shown(DemoSet((other, same))).items == (*keep.demos.items, other)
    assert Kept().shown(DemoSet((other, other))).items == (other, other)


def test_source_text_ir_and_tuned_programs_keep_it(tmp_path: Path) -> None:
    unit = two(Planted(0, 2))
    assert kept(unit, "place").before == BEFORE
    assert str(parse_module(str(unit.module))) == str(unit.module)
    again = compile_lmp(emit_lmp(unit), "again.lmp")
    assert str(again.module) == str(unit.module)
    chosen = Assignment().updated(**{"place.instruction": "Think of a storehouse."})
    save(tmp_path / "tuned.lampc", unit, chosen)
    module, assignment = load(tmp_path / "tuned.lampc")
    assert bind_predictors(module, assignment) == bind_predictors(unit.module, chosen)
    started = applied(unit.module, chosen)
    assert bind_predictors(started)["place"].instruction == f"{BEFORE}\nThink of a storehouse.\n{AFTER}"
    (place,) = [op for op in started.body.ops if isinstance(op, DefPredictor) and op.symbol == "place"]
    assert place.signature.instruction == "Think of a storehouse."


@pytest.mark.parametrize("wrong", ["@frozen(before: 3)", '@frozen(middle: "x")', '@frozen("x")'])
def test_what_cannot_be_frozen_is_told(wrong: str) -> None:
    with pytest.raises(CompileError, match="L0409"):
        compile_lmp(TWO.replace("@layout(chat)", wrong, 1), "wrong.lmp")
    with pytest.raises(CompileError, match="takes nothing"):
        compile_lmp(TWO.replace(" }", '; demo (item: "a") @frozen(demos); }', 1), "wrong.lmp")


def test_a_row_that_is_a_frozen_demo_is_not_bootstrapped() -> None:
    base = problem(6)
    first = next(p for p in base.predictors() if p.symbol == "first")
    demo = base.train[1].demo(first.signature)
    assert demo is not None
    first.keep = Kept(demos=DemoSet((demo,)))
    optimizer = BootstrapFewShot(max_bootstrapped_demos=2, max_labeled_demos=0).begin(base)
    assert (optimizer.demand().least, optimizer.demand().most) == (2, 5)
    jobs = drive(optimizer, runs(lambda row, _: 1.0))
    assert [j.row for j in jobs if isinstance(j, RunJob)][:2] == [0, 2]
    assert optimizer.bootstrapped == [0, 2]


# -- Python ----------------------------------------------------------------------------------------------


class Two(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = lampc.Predict("text -> topic")
        self.second = lampc.Predict(lampc.Signature("text, topic -> label", "Label it. Be brief."))

    def forward(self, text: str) -> lampc.Prediction:
        return self.second(text=text, topic=self.first(text=text).topic)


ROW = lampc.Example(text="t0", topic="c0", label="l0")


def test_python_programs_freeze_texts_demos_and_predictors() -> None:
    program = lampc.freeze(Two())
    assert program.first.frozen == program.second.frozen == ("instruction", "demos", "layout", "model")
    program = Two()
    lampc.freeze(program.first, "instruction")
    lampc.freeze(program.second, before="Be brief.")
    lampc.freeze(program.second, after="Thank you.", demos=[ROW])
    unit = trace(program)
    bound = bind_predictors(unit.module)
    assert bound["second"].instruction == "Label it. Be brief.\nThank you."
    chosen = Assignment().updated(**{"second.instruction": "Sort it."})
    assert bind_predictors(unit.module, chosen)["second"].instruction == "Be brief.\nSort it.\nThank you."
    assert [op.frozen for op in unit.module.body.ops if isinstance(op, DefPredictor)] == [("instruction",), ()]


def test_calls_outside_of_an_optimizer_say_it_too() -> None:
    program = Two()
    lampc.freeze(program.second, after="Thank you.", demos=[ROW])
    program.second.demos = [lampc.Example(text="t0", topic="c0", label="l0"), lampc.Example(text="t1", label="l1")]
    lm = DummyLM(lambda messages: {"topic": "x", "label": "y"})
    with lampc.context(lm=lm):
        program(text="t9")
    asked = lm.prompts[-1]
    assert "Thank you." in asked[0]["content"]
    assert sum("t0" in m["content"] for m in asked) == 1
    assert sum("t1" in m["content"] for m in asked) == 1


def test_states_and_copies_keep_what_is_frozen(tmp_path: Path) -> None:
    program = Two()
    assert "frozen" not in program.dump_state()["second"]  # DSPy's form, where nothing is frozen
    lampc.freeze(program.second, "layout", before="Keep this.", demos=[ROW])
    program.save(tmp_path / "state.json")
    loaded = Two()
    loaded.load(tmp_path / "state.json")
    for other in (loaded, program.reset_copy(), program.deepcopy()):
        assert other.second.kept == program.second.kept != Kept()
        assert other.second.frozen == ("layout",)
        assert other.first.kept == Kept()


def test_what_cannot_be_frozen_in_python_is_told() -> None:
    with pytest.raises(ValueError, match=r"no parameter `instructions` \(did you mean `instruction`\?\)"):
        lampc.freeze(Two(), "instructions")
    with pytest.raises(TypeError, match="takes a module"):
        lampc.freeze("text")  # type: ignore[type-var]
    with pytest.raises(ValueError, match="a demo of this predictor has none of its outputs, topic"):
        lampc.freeze(Two().first, demos=[{"text": "t"}])


def test_a_students_frozen_parts_are_its_compiled_copys() -> None:
    program = Two()
    lampc.freeze(program.second, before="Keep this.", demos=[ROW])
    rows = [lampc.Example(text=f"t{i}", topic=f"c{i}", label=f"l{i}").with_inputs("text") for i in range(3)]
    made = lampc.LabeledFewShot(k=2).compile(program, trainset=rows)
    lm = DummyLM(lambda messages: {"topic": "x", "label": "y"})
    with lampc.context(lm=lm):
        made(text="t9")
    asked = lm.prompts[-1]
    assert "Keep this." in asked[0]["content"]
    assert "t0" in asked[1]["content"]
