"""Calls that go on where others ended (`@continue(d)`, `after=d`): what is sent, in every mode, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import lampc
from lampc.frontend.lmp import compile_lmp, emit_lmp
from lampc.frontend.python.tracing import trace
from lampc.ir import Assignment, CompileError, parse_module
from lampc.passes.lower.continuing import parted
from lampc.passes.optimize import JointSearch, OptimizeError, ParameterSearch, Problem
from lampc.passes.optimize.joint.space import static_axes
from lampc.passes.schedule.joining import groups
from lampc.runtime.cli import main
from lampc.runtime.cli.app import app
from lampc.runtime.interp import interpret
from lampc.runtime.pool import firefly_folder
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row

DRAFT = '''
signature Draft(message: str) -> (reply: str @max(6)) { """Reply kindly.""" }
signature Score(aim: str) -> (score: str @max(6)) { """Score the reply.""" }
'''
DESK = """
module Desk(message: str) -> (reply: str, score: str, again: str) {
  use draft = Predict(Draft)%(layout)s;
  use score = Predict(Score)%(layout)s @sample(temperature: %(temperature)s);
  let d = draft(message: message);
  let s = score(aim: "kindness") @continue(d);
  let t = score(aim: "length") @continue(s);
  return (reply: d.reply, score: s.score, again: t.score);
}
"""
MESSAGES = ["good day", "where is the pen ?", "the bill is wrong"]


def desk(layout: str = "", temperature: float = 0.0) -> Any:
    named = f" @layout({layout})" if layout else ""
    return compile_lmp(DRAFT + DESK % {"layout": named, "temperature": temperature}, "desk.lmp")


class Desk(lampc.Module):
    """The same in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = lampc.Predict(lampc.Signature("message -> reply", "Reply kindly."))
        self.score = lampc.Predict(lampc.Signature("aim -> score", "Score the reply."))

    def forward(self, message: str) -> Any:
        d = self.draft(message=message)
        s = self.score(aim="kindness", after=d)
        t = self.score(aim="length", after=s)
        return lampc.Prediction(reply=d.reply, score=s.score, again=t.score)


def test_text_and_source_say_the_same() -> None:
    unit = desk(temperature=0.7)
    assert str(unit.module).count("prog.continue(") == 2
    assert str(parse_module(str(unit.module))) == str(unit.module)
    assert str(compile_lmp(emit_lmp(unit), "desk.lmp").module) == str(unit.module)


@pytest.mark.parametrize("layout", ["", "chat"])
def test_every_mode_gives_the_same_tokens(layout: str, tmp_path: Path) -> None:
    """Together, alone, resumed, and by the interpreter, which sends the conversation as text."""
    unit, rows = desk(layout, 0.8), [Row(str(i), {"message": m}) for i, m in enumerate(MESSAGES)]

    def texts(outcomes: Any) -> list[list[str]]:
        return [[s.text for s in o.trace] if o.error is None else [o.error.message] for o in outcomes]

    with Store(tmp_path / "run") as store, Session(model="firefly", store=store) as session:
        together = texts(session.run(unit, rows))
    with Store(tmp_path / "run") as store, Session(model="firefly", store=store) as session:
        assert texts(session.run(unit, rows)) == together
        assert session.usage.calls == session.usage.stored_calls
    with Session(model="firefly") as session:
        assert [texts(session.run(unit, [r]))[0] for r in rows] == together
    with Session(model="firefly") as session:
        found = []
        for r in rows:
            steps: list[Any] = []
            try:
                interpret(unit.module, r.inputs, runner=session.runner(unit), row=r.id, trace=steps)
                found.append([s.text for s in steps])
            except Exception as e:
                found.append([str(e)])
    assert [len(f) for f in found] == [len(t) for t in together]
    assert found == together


SEVERAL = """
module Desk(message: str) -> (scores: list[str]) {
  use draft = Predict(Draft) @sample(temperature: 1.5);
  use score = Predict(Score) @sample(temperature: 1.5, n: 3);
  let d = draft(message: message);
  let s = score(aim: message) @continue(d);
  return (scores: s.score);
}
"""


def test_several_draws_behind_an_answer_hang_on_no_neighbour() -> None:
    """A row is named by its id: alone, among others in any order, and by the interpreter it draws the same."""
    unit, rows = compile_lmp(DRAFT + SEVERAL), [Row(str(i), {"message": m}) for i, m in enumerate(MESSAGES)]

    def scores(*some: Row, **options: Any) -> list[Any]:
        with Session(model="firefly", **options) as session:
            return [o.value if o.error is None else o.error.message for o in session.run(unit, some)]

    together = scores(*rows)
    assert len({s for found in together if isinstance(found, dict) for s in found["scores"]}) > 3
    assert [scores(r)[0] for r in rows] == scores(*reversed(rows))[::-1] == together
    assert scores(*rows, max_live=1) == scores(*rows, prefix_cache=False) == together
    with Session(model="firefly") as session:
        found = [interpret(unit.module, r.inputs, runner=session.runner(unit), row=r.id) for r in rows]
    assert found == together


def answer(messages: list[dict[str, str]]) -> dict[str, str]:
    said = sum(m["role"] == "assistant" for m in messages)
    return {"reply": "hello"} if not said else {"score": str(said)}


CONVERSATION = [
    ("system", "Reply kindly."),
    ("user", "good day"),
    ("assistant", "hello"),
    ("user", "kindness"),
    ("assistant", "1"),
    ("user", "length"),
]


def sent(lm: DummyLM) -> None:
    """Each prompt is the one before, the answer to it, and a message with the task and the inputs."""
    first, second, third = lm.prompts[:3]
    assert second[: len(first)] == first
    assert third[: len(second)] == second
    assert [m["role"] for m in third] == [role for role, _ in CONVERSATION]
    assert all(text in m["content"] for (_, text), m in zip(CONVERSATION, third, strict=True))
    assert "Score the reply." in second[-1]["content"]


@pytest.mark.parametrize("way", ["lmp", "graph", "plain", "interpreter"])
def test_what_an_endpoint_is_sent(way: str) -> None:
    lm = DummyLM(answer)
    inputs = {"message": "good day"}
    if way == "plain":
        with lampc.context(lm=lm):
            found: Any = dict(Desk()(**inputs))
    else:
        with Session(model=lm) as session:
            with lampc.context(layout="chat"):
                unit = desk("chat") if way != "graph" else trace(Desk())
            if way == "interpreter":
                found = interpret(unit.module, inputs, runner=session.runner(unit))
            else:
                found = session.run(unit, [Row("0", inputs)])[0].value
    assert found == {"reply": "hello", "score": "1", "again": "2"}
    sent(lm)


@pytest.mark.parametrize("layout", ["", "chat"])
def test_render_shows_the_turn_that_is_added(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named, path, lm = f" @layout({layout})" if layout else "", tmp_path / "desk.lmp", DummyLM(answer)
    path.write_text(DRAFT + DESK % {"layout": named, "temperature": 0.0})
    with Session(model=lm) as session:
        session.run(desk(layout), [Row("0", {"message": "good day"})])
    assert main(["render", str(path), "score", "-i", "aim=kindness"]) == 0
    shown = capsys.readouterr()
    head, _, turn = shown.out.partition("\n")
    assert head.startswith("--- goes on from `draft` (")
    assert " or `score` (" in head
    assert turn == f"--- user\n{lm.prompts[1][-1]['content']}\n", "to the letter"
    assert "prompt tokens" not in shown.err
    assert main(["render", str(path), "score", "--tokens"]) == 1
    assert "its token ids hang on the prompt and the answer of that call" in capsys.readouterr().err
    assert main(["render", str(path), "draft", "-i", "message=good day"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "".join(f"--- {m['role']}\n{m['content']}\n" for m in lm.prompts[0])
    assert "prompt tokens for" in shown.err

    text = path.read_text().replace("return (reply", 'let u = score(aim: "tone");\n  return (reply')
    path.write_text(text.replace("again: t.score", "again: u.score"))
    assert main(["render", str(path), "score", "-i", "aim=kindness"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("--- also goes on from `draft` (")
    alone = out.partition("--- where it goes on from no other call\n")[2]
    assert alone.startswith("--- system\n")

    (tmp_path / "rows.csv").write_text("message,mood\ngood day,fine\n")
    assert main(["render", str(path), "score", "--row", "1", "--data", str(tmp_path / "rows.csv")]) == 1
    said = capsys.readouterr().err
    assert "--row 1: input `aim` of `score` is no column of the data (columns: message" in said
    assert "give inputs by hand in place of --row: --input aim=..." in said


def test_a_template_that_cannot_be_cut(tmp_path: Path) -> None:
    """Both calls are sent as whole conversations then."""
    folder = tmp_path / "numbered"
    shutil.copytree(firefly_folder(), folder)
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    turn = "'<|' + message['role'] + '|>' + loop.index | string + ' ' + message['content'] + '<|end|>'"
    config["chat_template"] = f"{{% for message in messages %}}{{{{ {turn} }}}}{{% endfor %}}<|assistant|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    unit, inputs = desk(), {"message": "good day"}
    with Session(model=str(folder)) as session:
        target = session.models.get("main").target
        assert target.glue is None
        session.run(unit, [Row("0", inputs)])
        together = session.desk.books.prompts
        assert target.tokens is not None
        assert "6 Score the reply" in target.tokens.decode(list(together[2]))
    with Session(model=str(folder)) as session:
        interpret(unit.module, inputs, runner=session.runner(unit), row="0")
        assert session.desk.books.prompts == together


def test_one_context_grows_into_several() -> None:
    """Within a map, each item goes on from the same answer; with `n`, each draw does."""
    source = (
        DRAFT
        + """
    module Many(message: str, aims: list[str]) -> (scores: list[str], drawn: list[str]) {
      use draft = Predict(Draft);
      use score = Predict(Score);
      let d = draft(message: message);
      let s = map a in aims { yield score(aim: a) @continue(d); };
      let t = score(aim: "length") @sample(n: 3, temperature: 1.0) @continue(d);
      return (scores: s.score, drawn: t.score);
    }
    """
    )
    unit = compile_lmp(source, "many.lmp")
    assert str(compile_lmp(emit_lmp(unit), "many.lmp").module) == str(unit.module)
    with Session(model="firefly") as session:
        session.run(unit, [Row("0", {"message": "good day", "aims": ["kindness", "length"]})])
        first, *others = session.desk.books.computed
    assert len(others) == 5
    whole = first.prompt + first.written
    assert all(c.prompt[: len(whole)] == whole for c in others)
    assert all(c.cached >= len(first.prompt) for c in others)


def test_calls_in_one_context_are_not_fused() -> None:
    unit = compile_lmp(
        DRAFT.replace("aim", "message")
        + """
        module Both(message: str) -> (reply: str, score: str) {
          use draft = Predict(Draft);
          use score = Predict(Score);
          let d = draft(message: message);
          let s = score(message: message) @continue(d);
          return (reply: d.reply, score: s.score);
        }
        """,
        "both.lmp",
    )
    assert groups(unit.module) == []


def test_a_candidate_may_not_part_them() -> None:
    """Layouts that ask twice, and another model for one of both, are told with the place of the call."""
    unit, two = desk(), Assignment({"score.layout": "two_step"})
    with Session(model="firefly") as session, pytest.raises(CompileError, match=r"L0933.*asks twice") as told:
        session.run(unit, [Row("0", {"message": "x"})], assignment=two)
    assert "desk.lmp" in str(told.value)
    unit.module.body.ops.insert(0, compile_lmp('model other = engine("firefly");', "m.lmp").module.body.ops[0])
    with Session(model="firefly") as session, pytest.raises(CompileError, match="asks `@other`"):
        session.run(unit, [Row("0", {"message": "x"})], assignment=Assignment({"score.model": "other"}))


def test_one_of_them_keeps_its_model_and_layout() -> None:
    unit = desk()
    problem = Problem(unit.module, (), 0)
    assert [p.symbol for p in problem.tunable("instruction")] == ["draft", "score"]
    assert problem.tunable("model") == []


def test_no_optimizer_chooses_what_parts_them() -> None:
    problem = Problem(desk().module, (), 2)
    axes = static_axes(problem, "joint", {"score.layout": ["chat", "json"]}, ["chat", "two_step"], ["main"])
    assert axes == {"score.layout": ["chat", "json"]}
    for search in (ParameterSearch, JointSearch):
        with pytest.raises(OptimizeError, match=r"`score.layout` cannot be `two_step`.*asks twice"):
            search(choices={"score.layout": ["chat", "two_step"]}).begin(problem)
        with pytest.raises(OptimizeError, match=r"`draft.model` cannot be `other`: .* the same model"):
            search(choices={"draft.model": ["main", "other"]}).begin(problem)


@pytest.mark.parametrize("own", [("draft",), ("score",), ("draft", "score")])
def test_a_model_is_the_same_by_any_name(own: tuple[str, ...]) -> None:
    """The LM object that is set, given to a predictor as well: alone, in a batch, and after another one was set."""
    lm, other = lampc.LM("firefly", temperature=1.0, cache=False), lampc.LM("firefly", cache=False)
    desk, rows = Desk(), [lampc.Example(message=m).with_inputs("message") for m in MESSAGES]
    with lampc.context(lm=lm):
        plain = [(p.reply, p.score, p.again) for p in desk.batch(rows)]
        for name in own:
            getattr(desk, name).lm = lm
        assert [(p.reply, p.score, p.again) for p in desk.batch(rows)] == plain
        assert desk(message=MESSAGES[0]).score
    with lampc.context(lm=other):
        if len(own) == 1:
            with pytest.raises(CompileError, match="L0933"):
                desk.batch(rows)
        else:
            assert [(p.reply, p.score, p.again) for p in desk.batch(rows)] == plain


class Twice(lampc.Module):
    """Its second call asks twice."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = lampc.Predict("message -> reply")
        self.score = lampc.Predict("aim -> score", layout="two_step")

    def forward(self, message: str) -> Any:
        return self.score(aim="kindness", after=self.draft(message=message))


def test_a_program_that_parts_them_does_not_check(tmp_path: Path) -> None:
    assert [d.code for d in parted(trace(Twice()).module)] == ["L0933"]
    assert parted(trace(Desk()).module) == []
    file = tmp_path / "twice.py"
    text = f"from {__name__} import Twice\nprogram = Twice()\n"
    file.write_text(text, encoding="utf-8")
    found = CliRunner().invoke(app, ["check", str(file)])
    assert found.exit_code == 1, found.output
    assert "L0933" in found.output


def test_python_says_what_it_cannot_go_on_from() -> None:
    class Wrong(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = lampc.Predict("q -> a")

        def forward(self, q: str) -> Any:
            return self.ask(q=q, after=q)

    with lampc.context(lm=DummyLM(lambda messages: {"a": "x"})):
        with pytest.raises(TypeError, match="what a predictor gave, not str"):
            Wrong()(q="x")
        ask = lampc.Predict("q -> a")
        with pytest.raises(TypeError, match="one answer, not 2"):
            ask(q="x", after=ask(q="y", config={"n": 2}))
        taken = lampc.Predict("q, after -> a")
        assert taken(q="x", after="an input of that name").a == "x"
