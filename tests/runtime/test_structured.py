"""Programs on engines of ours: answers are kept to their layout, and what that changes is part of every key."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import Engine, FakeEngine, Request
from lampc.backend.errors import BadGrammar
from lampc.ir import parse_module
from lampc.runtime.interp import interpret
from lampc.runtime.local import LocalModel
from lampc.runtime.models import ModelError
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row
from tests.runtime.test_batch import batch, read, write
from tests.runtime.wild import wild_engine

SIGNATURE = (
    '#signature<inputs = [#field<name = "text", type = !str>], outputs = [#field<name = "why", type = !str>, '
    '#field<name = "label", type = !choice["good", "bad"]>, #field<name = "n", type = !int>], '
    'instruction = "Label it.">'
)


def program(layout: str, free: bool = True) -> Any:
    """With `free`, an output may be any text, which the bundled model does not find the end of."""
    text = f"""module @test {{
          prog.def_predictor @p() {{signature = {SIGNATURE}, layout = "{layout}"}} : ()
          prog.func @main() {{returns = !{{why: str, label: choice["good", "bad"], n: int}}}} do (%text: str) {{
            %r = prog.predict(%text) {{key = #key<path = ["p#0"]>, predictor = @p, signature = {SIGNATURE},
              sampling = #sampling<max_tokens = 900>}} : ({{why: str, label: choice["good", "bad"], n: int}})
            prog.return(%r) : ()
          }} : ()
        }}"""
    return parse_module(
        text if free else text.replace('#field<name = "why", type = !str>, ', "").replace("why: str, ", "")
    )


ROWS = [Row(str(i), {"text": f"number {i}"}) for i in range(8)]
NAMES = ("text", "why", "label", "n")


@pytest.mark.parametrize("layout", ["chat", "json", "xml", "compact"])
def test_every_answer_of_an_engine_of_ours_can_be_read(layout: str) -> None:
    engine = wild_engine(NAMES, seed=3)
    engine.scripted = False
    with Session(model=engine) as session:
        outcomes = session.run(program(layout), ROWS)
        assert [str(o.error) for o in outcomes if o.error] == []
        assert all(o.value is not None and o.value["label"] in ("good", "bad") for o in outcomes)
        assert session.usage.forced_tokens > 8 * len("label")
        assert session.usage.calls == len(ROWS)  # nothing was asked for again
    loose = wild_engine(NAMES, seed=3)
    with Session(model=loose) as session:  # the same model, let alone, ends at once
        assert all(o.error is not None for o in session.run(program(layout), ROWS))


def test_the_bundled_model_is_kept_to_its_layout_unless_one_says_otherwise(tmp_path: Path) -> None:
    forced, values = [], []
    with Store(tmp_path / "store") as store:
        for options in ({}, {"structured_outputs": False}, {"structured_outputs": True}):
            with Session(store=store, model_options=options) as session:
                outcomes = session.run(program("compact", False), ROWS[:3])
                values.append([o.value for o in outcomes])
                usage = session.usage
                # What was answered with a grammar is no answer without one, and the other way round.
                assert usage.stored_calls == (3 if options.get("structured_outputs") else 0)
                forced.append(usage.forced_tokens)
    assert all(v is not None for v in values[0])
    assert values[2] == values[0]
    assert forced[0] > 0
    assert forced[1:] == [0, 0]  # without a grammar, and from the store
    with (
        pytest.raises(ModelError, match="structured_outputs is 1; give true or false"),
        Session(model_options={"structured_outputs": 1}) as session,
    ):
        session.run(program("compact"), ROWS[:1])


def test_an_lm_says_whether_its_answers_are_kept_to_their_form() -> None:
    for said, some in ((None, True), (False, False), (True, True)):
        told = {} if said is None else {"structured_outputs": said}
        with Session(model=lampc.LM("firefly", **told)) as session:
            session.run(program("compact", False), ROWS[:1])
            assert (session.usage.forced_tokens > 0) is some


def test_the_interpreter_keeps_them_too() -> None:
    made = program("compact", False)
    with Session() as session:
        outcomes = session.run(made, ROWS[:3])
    for outcome in outcomes:
        with Session() as session:
            alone = interpret(made, outcome.cell.row.inputs, runner=session.runner(made), row=outcome.cell.row.id)
            assert alone == outcome.value
            assert session.usage.forced_tokens > 0


SCHEMA = {"type": "object", "properties": {"k": {"enum": ["v"]}}, "required": ["k"], "additionalProperties": False}


class Refusing(FakeEngine):
    scripted = False

    def submit(self, request: Request, *more: Any) -> Any:
        if request.grammar is not None:
            raise BadGrammar("not this one")
        return super().submit(request, *more)


def test_what_cannot_be_kept_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    reply = json.dumps({"why": "so", "label": "good", "n": 1})
    with caplog.at_level(logging.WARNING), Session(model=Refusing(lambda prompt: reply)) as session:
        outcomes = session.run(program("json"), ROWS)
    assert [o.error for o in outcomes if o.error] == []
    said = [r.getMessage() for r in caplog.records if "not kept to their form" in r.getMessage()]
    assert said == ["answers of p are not kept to their form: not this one"]
    with Session(model=LocalModel(Refusing(lambda prompt: reply), "m", structured=True)) as session:
        outcomes = session.run(program("json"), ROWS[:1])
    assert "not this one" in str(outcomes[0].error)


def test_a_line_of_a_batch_says_what_its_text_may_be(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {"prompt": "a", "choice": ["yes", "no"]},
        {"prompt": "a", "regex": "[0-9]{4}"},
        {
            "prompt": "a",
            "json_schema": {
                "type": "object",
                "properties": {"k": {"enum": ["v"]}},
                "required": ["k"],
                "additionalProperties": False,
            },
        },
        {"prompt": "a", "grammar": 'start: "so it is"'},
        {"prompt": "a", "grammar": "start: nothing"},
        {"prompt": "a", "regex": "x", "choice": ["y"]},
    )
    batch(source, tmp_path / "out.jsonl", FakeEngine(lambda prompt: "2024"), ordered=True)
    out = read(tmp_path / "out.jsonl")
    assert [line.get("text") for line in out[:4]] == ["no", "2024", '{"k": "v"}', "so it is"]
    assert (out[3]["generated_tokens"], out[3]["forced_tokens"]) == (8, 8)
    assert 'unknown name: "nothing"' in out[4]["error"]
    assert "regex and choice are given" in out[5]["error"]


def test_an_engine_keeps_what_its_user_says() -> None:
    with Engine(FakeEngine(lambda prompt: "bbb")) as engine:
        assert engine.generate("a", choice=["yes", "no"]).text == "no"
        assert engine.generate("a", regex="b+", max_tokens=2).completions[0].finish == "length"
        assert json.loads(engine.generate("a", json_schema='{"enum": [1]}').text) == 1
        assert engine.generate(["a", "b"], grammar='start: "x" ("y" | "z")')[1].text == "xy"
        assert "".join(engine.stream("a", choice=["first of two", "second"])) in ("first of two", "second")
        with pytest.raises(BadGrammar, match="the pattern cannot be used: unclosed group"):
            engine.generate("a", regex="(")
        with pytest.raises(ValueError, match="choice is 'yes'; give a list"):
            engine.generate("a", choice="yes")
        with pytest.raises(ValueError, match="json_schema and grammar are given"):
            engine.generate("a", json_schema=True, grammar="x")
        chosen = engine.choose("a", [" yes", " no"])
        assert (chosen.text, chosen.index, [s.total for s in chosen.scores]) == (" yes", 0, [0.0, 0.0])
        with pytest.raises(ValueError, match="choices is empty"):
            engine.choose("a", [])
