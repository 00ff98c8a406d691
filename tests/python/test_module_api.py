"""The Module API, held against the real DSPy: names, copies, state, callbacks, what a module remembers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python.callbacks import ACTIVE_CALL_ID, BaseCallback
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.runtime.models import ModelError


def make(d: Any) -> Any:
    """A module with parts of all kinds, in the names of library `d`."""

    class Leaf(d.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = d.Predict("q -> a")

    class Bare(d.Module):
        def __init__(self) -> None:  # forgets super().__init__(), as users do
            self.one = d.Predict("q -> a")

    class Whole(d.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cot = d.ChainOfThought(d.Signature("q -> a", "Answer."))
            self.steps = [d.Predict("q -> a"), Leaf(), d.ChainOfThought(d.Signature("q -> b", "Answer."))]
            self.pair = (d.Predict("q -> t"), 3)
            self.table = {"k": d.Predict("q -> c"), "deep": Leaf()}
            self.nested = [[d.Predict("q -> hidden")], {"x": Leaf()}]
            self.sub, self.bare = Leaf(), Bare()
            self.again = self.sub.ask

        def forward(self, q: str) -> Any:
            return self.cot(q=q)

    return Whole()


OURS, THEIRS = make(lampc), make(dspy)


def test_names_are_dspys() -> None:
    assert [n for n, _ in OURS.named_predictors()] == [n for n, _ in THEIRS.named_predictors()]
    assert [n for n, _ in OURS.named_sub_modules()] == [n for n, _ in THEIRS.named_sub_modules()]
    assert [n for n, _ in OURS.named_sub_modules(lampc.Predict)] == [
        n for n, _ in THEIRS.named_sub_modules(dspy.Predict)
    ]


def test_what_is_compiled_is_frozen_as_in_dspy() -> None:
    ours, theirs = make(lampc), make(dspy)
    ours.sub._compiled = theirs.sub._compiled = True
    ours.table["deep"]._compiled = theirs.table["deep"]._compiled = True
    assert [n for n, _ in ours.named_predictors()] == [n for n, _ in theirs.named_predictors()]
    assert [n for n, _ in ours.named_sub_modules(skip_compiled=True)] == [
        n for n, _ in theirs.named_sub_modules(skip_compiled=True)
    ]


def test_map_reaches_every_place() -> None:
    m = make(lampc)
    m.map_named_predictors(lambda p: lampc.Predict(p.signature, temperature=0.5))
    assert all(p.config == {"temperature": 0.5} for n, p in m.named_predictors() if n != "again")


def test_copies_keep_what_is_shared_inside() -> None:
    m = make(lampc)
    model = lampc.LM("firefly")
    m.set_lm(model)
    copy = m.deepcopy()
    assert copy.again is copy.sub.ask
    assert copy.get_lm() is model
    copy.sub.ask.demos.append({"q": "1", "a": "2"})
    assert m.sub.ask.demos == []
    assert copy.reset_copy().sub.ask.demos == []
    assert copy.reset_copy().sub.ask.lm is None


def test_what_cannot_be_copied_is_shared() -> None:
    m = make(lampc)
    m.handle = io.TextIOWrapper(io.BytesIO())
    m.mixed = [m.handle, lampc.Predict("q -> a")]
    copy = m.deepcopy()
    assert copy.handle is m.handle
    assert copy.mixed[1] is not m.mixed[1]


def test_state_is_dspys() -> None:
    ours, theirs = make(lampc), make(dspy)
    for m, d in ((ours, lampc), (theirs, dspy)):
        m.cot.predict.demos = [d.Example(q="1", reasoning="r", a="2", augmented=True)]
        m.sub.ask.signature = m.sub.ask.signature.with_instructions("Say it.")
    assert json.loads(json.dumps(ours.dump_state())) == json.loads(json.dumps(theirs.dump_state()))


def test_a_state_goes_over_and_back(tmp_path: Path) -> None:
    ours, theirs = make(lampc), make(dspy)
    ours.cot.predict.demos = [lampc.Example(q="1", reasoning="r", a="2")]
    ours.table["k"].signature = ours.table["k"].signature.with_instructions("New.")
    ours.save(tmp_path / "a.json")
    theirs.load(tmp_path / "a.json")
    assert theirs.table["k"].signature.instructions == "New."
    theirs.save(tmp_path / "b.json")
    again = make(lampc)
    again.load(tmp_path / "b.json")
    assert again.dump_state() == ours.dump_state()


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    m = make(lampc)
    with pytest.raises(ValueError, match="pickles run code"):
        m.load(tmp_path / "x.pkl")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="it holds no object"):
        m.load(tmp_path / "list.json")
    m.sub.ask.demos = [{"q": object()}]
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        m.save(tmp_path / "y.json")
    assert not (tmp_path / "y.json").exists()


def test_the_model_of_a_state_is_loaded(tmp_path: Path) -> None:
    saved, theirs = make(lampc), make(dspy)
    saved.set_lm(lampc.LM("openai/gpt-4o-mini", temperature=0.7, max_tokens=100))
    saved.save(tmp_path / "a.json")
    theirs.load(tmp_path / "a.json")
    assert all(type(p.lm) is dspy.LM for p in theirs.predictors())
    theirs.save(tmp_path / "b.json")
    for name in ("a.json", "b.json"):
        again = make(lampc)
        again.load(tmp_path / name)
        lm = again.get_lm()
        assert isinstance(lm, lampc.LM)
        assert (lm.model, lm.kwargs["temperature"], lm.kwargs["max_tokens"]) == ("openai/gpt-4o-mini", 0.7, 100)


class Mine(lampc.BaseLM):
    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return "a: mine"


@pytest.mark.parametrize(
    ("lm", "why"),
    [
        (lampc.LM("http://127.0.0.1:9/v1"), "calls go to http://127.0.0.1:9/v1"),
        (Mine("mine"), r"names the LM class tests\.python\.test_module_api\.Mine"),
    ],
)
def test_where_calls_go_is_loaded_from_trusted_files_alone(lm: Any, why: str, tmp_path: Path) -> None:
    p, again = lampc.Predict("q -> a"), lampc.Predict("q -> a")
    p.set_lm(lm)
    p.save(tmp_path / "a.json")
    with pytest.raises(ValueError, match=why):
        again.load(tmp_path / "a.json")
    assert again.lm is None
    again.load(tmp_path / "a.json", allow_unsafe_lm_state=True)
    assert (type(again.lm), again.lm.model) == (type(lm), lm.model)


@pytest.mark.parametrize(
    ("lm", "why"),
    [
        (5, "an object with the text `model`"),
        ({"temperature": 1}, "an object with the text `model`"),
        ({"model": "openai/x", "_dspy_lm_class": "os.system"}, "names the LM class os.system"),
        ({"model": "openai/x", "num_retries": -1}, "num_retries"),
    ],
)
def test_the_model_of_a_broken_state_is_refused(lm: Any, why: str) -> None:
    p = lampc.Predict("q -> a")
    with pytest.raises(ValueError, match=why):
        p.load_state({**p.dump_state(), "lm": lm})
    assert p.lm is None
    with pytest.raises(ValueError, match=r"no subclass of lampc\.BaseLM"):
        p.load_state(
            {**p.dump_state(), "lm": {"model": "x", "_dspy_lm_class": "os.system"}}, allow_unsafe_lm_state=True
        )


class Guarded(lampc.Predict):
    """Runs as plain Python."""

    def forward(self, **inputs: Any) -> Any:
        return super().forward(**inputs)


@pytest.mark.parametrize("kind", [lampc.Predict, Guarded])
def test_an_undefined_model_is_an_error(model: None, kind: Any) -> None:
    p = kind("q -> a")
    for name in ("gpt4", "openai/gpt-4o-mini"):
        p.lm = name
        with pytest.raises(ModelError, match=f"{name}: no such folder, and no model of that name"):
            p(q="x")
        with pytest.raises(ModelError, match=f"{name}: no such folder, and no model of that name"):
            p.batch([{"q": "x"}])
    p.lm = "firefly"
    assert p.batch([{"q": "x"}])[0].a == p(q="x").a != "yes"


class Noted(BaseCallback):
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.ids: list[str] = []

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.ids.append(call_id)
        self.seen.append(("start", type(instance).__name__, inputs, ACTIVE_CALL_ID.get()))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None) -> None:
        self.seen.append(("end", self.ids.index(call_id), type(exception).__name__))


@pytest.fixture
def model() -> Iterator[None]:
    lampc.configure(model=FakeEngine(reply=lambda prompt: "reasoning: so\na: yes"))
    yield
    set_default_runner(None)


def test_callbacks_are_told_of_nested_calls(model: None) -> None:
    noted, broken = Noted(), type("Broken", (), {"on_module_start": lambda self, **_: 1 / 0})()
    m = make(lampc)
    m.callbacks = [noted, broken]
    with settings.context(callbacks=[noted]):
        m.cot(q="x")
    assert [s[:2] for s in noted.seen] == [("start", "ChainOfThought"), ("start", "Predict"), ("end", 1), ("end", 0)]
    assert noted.seen[1][2:] == ({"args": (), "kwargs": {"q": "x"}}, noted.ids[0])
    noted.seen.clear()
    with pytest.raises(TypeError, match="missing 1 required"):
        m()
    assert m.callbacks
    assert noted.seen[-1] == ("end", 2, "TypeError")


def test_a_module_remembers_the_calls_inside_it(model: None) -> None:
    m = make(lampc)
    m(q="the question")
    m.steps[1].ask(q="another")
    assert [len(x.history) for x in (m, m.cot, m.cot.predict, m.steps[1], m.steps[1].ask)] == [1, 1, 1, 0, 1]
    assert m.history[0]["outputs"] == ["reasoning: so\na: yes"]
    shown = io.StringIO()
    m.inspect_history(5, file=shown)
    assert "the question" in shown.getvalue()
    assert "Response:\n\nreasoning: so" in shown.getvalue()
    with settings.context(history_size=0):
        m(q="quiet")
    assert len(m.history) == 1
    assert m.deepcopy().history == []


def test_calls_of_a_class_with_a_history_of_its_own(model: None) -> None:
    class Chat(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.history: list[str] = []
            self.ask = lampc.Predict("q -> a")

        def forward(self, q: str) -> Any:
            self.history.append(q)
            return self.ask(q=q)

    chat = Chat()
    chat(q="one")
    assert chat.history == ["one"]


def test_keywords_of_one_call(model: None) -> None:
    p = lampc.Predict("q -> a")
    other = p(q="x", signature=lampc.Signature("q -> a", "Say something else."), demos=[{"q": "old", "a": "demo"}])
    sent = p.history[-1]["messages"]
    assert "Say something else." in sent[0]["content"]
    assert any("old" in m["content"] for m in sent)
    assert other.a == "yes"
    with pytest.raises(ValueError, match="takes its inputs by name"):
        p("x")


def test_extra_inputs_are_left_out(model: None, caplog: pytest.LogCaptureFixture) -> None:
    assert lampc.Predict("q -> a")(q="x", unused=1).a == "yes"
    assert "does not take `unused`" in caplog.text
