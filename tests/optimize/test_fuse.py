"""Fused calls: fewer calls and tokens where held-out rows say that nothing is lost, the author's calls elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Module, parse_module, print_module
from lampc.ir.adapters import bind_predictors
from lampc.passes import Pipeline, RunOptions
from lampc.passes.optimize import Fuse, OptimizeError
from lampc.passes.schedule.joining import call_sites, groups, why_not
from lampc.runtime.cli.sources import load
from lampc.runtime.driver import optimize
from lampc.runtime.interp import interpret
from lampc.runtime.metrics import RowMetric, build_metric
from lampc.runtime.saved import load_saved
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.runtime.standin import Provider, flat

SOURCE = '''
signature Tone(text: str) -> (tone: "good" | "bad") { """Say whether `text` is good or bad.""" }
signature Topic(text: str) -> (topic: "food" | "travel") { """Say what `text` is about.""" }
signature Answer(text: str, topic: str) -> (answer: str) { """Say something on `topic` in `answer`.""" }

module Review(text: str) -> (tone: str, topic: str, answer: str) {
  use tone = Predict(Tone) @layout(chat);
  use about = Predict(Topic) @layout(chat);
  use say = Predict(Answer) @layout(chat);
  let t = tone(text: text);
  let a = about(text: text);
  let s = say(text: text, topic: a.topic);
  return (tone: t.tone, topic: a.topic, answer: s.answer);
}
'''


def truth(text: str) -> dict[str, str]:
    number = int(re.findall(r"\d+", text)[0])
    tone, topic = ("good", "bad")[number % 2], ("food", "travel")[number // 2 % 2]
    return {"tone": tone, "topic": topic, "answer": f"{topic}{number}"}


class Scripted:
    """Knows the truth; in joint prompts it errs as it is told: `wrong` about these numbers, `mute` about those."""

    def __init__(self, wrong: set[int] | None = None, mute: set[int] | None = None) -> None:
        self.wrong, self.mute = wrong or set(), mute or set()

    def __call__(self, messages: list[dict[str, Any]]) -> str:
        system, user = messages[0]["content"], messages[-1]["content"]
        outputs = re.findall(r"\[\[ ## (\w+) ## \]\]\n\{\1\}", system)
        text = user.split("[[ ## text ## ]]\n")[1].split("\n")[0]
        number, known = int(re.findall(r"\d+", text)[0]), truth(text)
        wanted = [n for n in outputs if n in known and f"[[ ## {n} ## ]]\n" not in user]
        joint = len(wanted) > 1
        if joint and number in self.mute:
            return "I cannot do that."
        if joint and number in self.wrong:
            known = {"tone": "good", "topic": "food", "answer": "?"}
        return "\n\n".join(f"[[ ## {n} ## ]]\n{known[n]}" for n in wanted) + "\n\n[[ ## completed ## ]]"


def rows(n: int) -> list[Row]:
    texts = [f"A long text that all calls read, number {i}. {'It goes on. ' * 40}" for i in range(n)]
    return [Row(str(i), {"text": t}, truth(t)) for i, t in enumerate(texts)]


def unit() -> Any:
    return compile_lmp(SOURCE)


@pytest.fixture
def metric() -> RowMetric:
    return build_metric("exact_match", unit(), Path("."))


def fused(model: Scripted, metric: RowMetric, n: int = 30, **options: Any) -> tuple[Any, Provider]:
    with Provider(model) as server, Session(model=server.url) as session:
        found = optimize(
            unit(), session, steps=[Fuse(**options)], train=rows(1), select=rows(n), metric=metric, program="Review"
        )
    return found, server


def outputs(model: Scripted, assignment: Assignment, n: int = 12) -> tuple[list[Any], int, int]:
    """Values of rows, calls, and tokens of prompts."""
    with Provider(model) as server, Session(model=server.url) as session:
        done = session.run(unit(), rows(n), assignment=assignment)
        assert all(o.error is None for o in done), [str(o.error) for o in done]
        return [o.value for o in done], len(server.requests), sum(p for p, _ in server.used)


# -- the gate decides ---------------------------------------------------------------------------------


def test_calls_and_tokens_fall_and_outputs_are_equal(metric: RowMetric) -> None:
    found, _ = fused(Scripted(), metric)
    assert found.assignment.get("fuse") == (("tone", "about", "say"),)
    assert (found.score_before, found.score_after) == (100.0, 100.0)
    (record,) = found.gates
    assert record.accepted
    assert "gated: +0.0 pp" in found.history[-1].note
    plain, calls, tokens = outputs(Scripted(), Assignment())
    joint, fewer_calls, fewer = outputs(Scripted(), found.assignment)
    assert joint == plain
    assert (calls, fewer_calls) == (36, 12)
    assert fewer < 0.55 * tokens


def test_it_is_refused_where_the_metric_falls(metric: RowMetric) -> None:
    found, _ = fused(Scripted(wrong={1, 3, 7}), metric)
    assert found.assignment.get("fuse") is None
    assert found.gates
    assert not any(r.accepted for r in found.gates)
    assert "refused" in found.history[-1].note
    assert outputs(Scripted(wrong={1, 3, 7}), found.assignment)[1] == 36


def test_few_rows_decide_nothing(metric: RowMetric) -> None:
    found, _ = fused(Scripted(), metric, n=10)
    assert found.assignment.get("fuse") is None
    assert "too few" in found.gates[-1].why


def test_rows_whose_joint_answer_cannot_be_read_make_their_own_calls(metric: RowMetric) -> None:
    mute = {2, 5}
    found, _ = fused(Scripted(mute=mute), metric)
    assert found.assignment.get("fuse") == (("tone", "about", "say"),)
    plain = outputs(Scripted(), Assignment())[0]
    joint, calls, _ = outputs(Scripted(mute=mute), found.assignment)
    assert joint == plain
    assert calls == 10 + 2 * 4  # of two rows the joint call came to nothing


def test_what_saves_no_tokens_is_refused(metric: RowMetric) -> None:
    found, _ = fused(Scripted(mute=set(range(30))), metric)
    assert found.assignment.get("fuse") is None
    assert "not fewer" in found.gates[-1].why


def test_a_group_of_ones_own_and_its_options(metric: RowMetric) -> None:
    found, _ = fused(Scripted(), metric, groups=(("tone", "about"),))
    assert found.assignment.get("fuse") == (("tone", "about"),)
    for options, why in (
        ({"groups": (("tone",),)}, "at least two"),
        ({"groups": (("tone", "nobody"),)}, "no predictor `nobody`"),
        ({"level": 0.1}, "level from 0.5"),
    ):
        with pytest.raises(OptimizeError, match=why):
            fused(Scripted(), metric, **options)


def test_models_of_this_machine_and_further_steps_are_refused(metric: RowMetric) -> None:
    from lampc.backend import FakeEngine
    from lampc.passes.optimize import LabeledFewShot

    given: dict[str, Any] = {"train": rows(1), "select": rows(20), "metric": metric, "program": "Review"}
    with Session(model=FakeEngine()) as session, pytest.raises(OptimizeError, match="on this machine"):
        optimize(unit(), session, steps=[Fuse()], **given)
    with Session(model=FakeEngine()) as session, pytest.raises(OptimizeError, match="fuse goes last"):
        optimize(unit(), session, steps=[Fuse(local=True), LabeledFewShot()], **given)
    start = Assignment().updated(fuse=(("tone", "about"),))
    with Session(model=FakeEngine()) as session, pytest.raises(OptimizeError, match="fused already"):
        optimize(unit(), session, steps=[Fuse(local=True)], start=start, **given)


# -- the rewrite --------------------------------------------------------------------------------------


def test_the_interpreter_means_the_same_by_a_candidate() -> None:
    assignment = Assignment().updated(fuse=(("tone", "about"),))
    compiled, calls, _ = outputs(Scripted(mute={1}), assignment, 4)
    with Provider(Scripted(mute={1})) as server, Session(model=server.url) as session:
        program = unit()
        runner = session.runner(program)
        meant = [
            interpret(program.module, r.inputs, entry="Review", runner=runner, assignment=assignment) for r in rows(4)
        ]
        assert meant == compiled
        assert len(server.requests) == calls == 4 * 2 + 2


def test_instructions_and_demos_of_a_joint_call_follow_those_of_its_parts() -> None:
    from lampc.ir import Demo, DemoSet, freeze

    module = unit().module.clone()
    Pipeline.parse("inline,dce,fuse-calls{predictors=[tone,about]}").run(module, options=RunOptions(on_trial=True))

    def demos(**values: str) -> DemoSet:
        return DemoSet(tuple(Demo(freeze({"text": t, **values})) for t in ("one", "two")))

    chosen = Assignment().updated(
        **{"tone.instruction": "Judge `text`.", "tone.demos": demos(tone="good"), "about.demos": demos(topic="food")}
    )
    bound = bind_predictors(module, chosen)["tone_and_about"]
    assert "Judge `text`." in bound.instruction
    assert "Say what `text` is about." in bound.instruction
    assert [dict(d.values) for d in bound.demos.items] == [
        {"text": t, "tone": "good", "topic": "food"} for t in ("one", "two")
    ]
    assert bind_predictors(module)["tone_and_about"].demos.items == ()


SIG = '#signature<inputs = [#field<name = "text", type = !str>], outputs = [#field<name = "{out}", type = !{type}>]>'


def program(body: str, b_type: str = "str", sampling: str = "", layout: str = "compact") -> Module:
    a, b = SIG.format(out="x", type="str"), SIG.format(out="x", type=b_type)
    body = body.replace("CALL_A", f'{{key = #key<path = ["a#0"]>, predictor = @a, signature = {a}}} : ({{x: str}})')
    body = body.replace(
        "CALL_B", f'{{key = #key<path = ["b#0"]>, predictor = @b{sampling}, signature = {b}}} : ({{x: {b_type}}})'
    )
    text = f"""module @m {{
      prog.def_predictor @a() {{signature = {a}}} : ()
      prog.def_predictor @b() {{layout = "{layout}", signature = {b}}} : ()
      prog.func @f() {{returns = !any}} do (%text: str, %other: str) {{ {body} }} : ()
    }}"""
    return parse_module(text)


BOTH = "%x = prog.predict(%text) CALL_A MORE %y = prog.predict(INPUT) CALL_B {}".format(
    "%r = prog.list(%x, %y) : (list[any]) prog.return(%r) : ()"
)


def both(given: str = "%text", more: str = "", **about: str) -> Module:
    return program(BOTH.replace("INPUT", given).replace("MORE", more), **about)


EFFECT = '%e = prog.py() {ref = #host<target = "m:f">} : (any)'
FIELD = '%l = prog.field(%x) {field = "x"} : (str)'
UPPER = '%u = prog.apply(%l) {fn = "upper"} : (str)'


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (both(), ""),
        (both("%other"), "no input in common"),
        (both(sampling=", sampling = #sampling<temperature = 0.5>"), "in different ways"),
        (both(sampling=", sampling = #sampling<max_tokens = 4000>"), "4256 tokens"),
        (both(layout="chat"), "another layout"),
        (both(b_type="list[{n: int}]"), "no small output"),
        (both(more=EFFECT), "prog.py happens between"),
        (both("%l", FIELD), ""),
        (both("%u", FIELD + UPPER), "computed from the answer"),
    ],
)
def test_what_may_be_joined(made: Module, why: str) -> None:
    (calls,) = call_sites(made)
    found = why_not(calls, made)
    assert why in found
    assert bool(why) == bool(found)
    assert bool(groups(made)) == (not why)
    before = print_module(made)
    done = Pipeline.parse("fuse-calls{predictors=[a,b]}").run(made, options=RunOptions(on_trial=True, round_trip=True))
    assert done.counters()["fuse-calls.fused"] == (0 if why else 1)
    assert (print_module(made) == before) == bool(why)
    assert Pipeline.parse("speculate").run(made.clone()).counters()["speculate.arms"] == 0
    again = Pipeline.parse("fuse-calls{predictors=[a,b]}").run(made, options=RunOptions(on_trial=True))
    assert not again.counters()["fuse-calls.fused"]  # what a joint call falls back on stays apart


# -- the command line ---------------------------------------------------------------------------------


def test_the_record_stays_with_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lampc.runtime.cli import main

    data = "\n".join(json.dumps({**r.inputs, **r.labels, "split": s}) for s in ("train", "dev") for r in rows(24))
    (tmp_path / "rows.jsonl").write_text(data)
    table = tmp_path / "rows.jsonl"
    file, out = tmp_path / "review.lmp", tmp_path / "out"
    file.write_text(SOURCE)
    with Provider(Scripted()) as server:
        code = main(
            [
                "optimize",
                str(file),
                "--data",
                str(table),
                "--model",
                server.url,
                "--resume",
                str(out),
                "--optimizer",
                "fuse",
            ]
        )
        said = capsys.readouterr()
        assert code == 0, said.err
        assert "gated: +0.0 pp [+0.0, +0.0], 24 rows" in said.out
        saved = load_saved(out / "tuned.lampc")
        assert saved.assignment.get("fuse") == (("tone", "about", "say"),)
        (record,) = saved.gates
        assert record.change.startswith("fuse-calls{predictors=[tone,about,say]")
        assert "Gated changes" in (out / "report.html").read_text()
        assert main(["explain", str(out / "tuned.lampc"), "--data", str(tmp_path / "rows.jsonl"), "--rows", "3",
                     "--model", server.url]) == 0  # fmt: skip
        said = capsys.readouterr()
        assert "fused 1, calls 3" in said.out
        assert "gated: +0.0 pp" in said.out
        assert "tone_and_about_and_say" in said.out
        server.requests.clear()
        assert main(["run", str(out / "tuned.lampc"), "-i", f"text={rows(3)[2].inputs['text']}",
                     "--model", server.url]) == 0  # fmt: skip
        assert json.loads(capsys.readouterr().out)["topic"] == "travel"
        assert len(server.requests) == 1
    assert load(out / "tuned.lampc").gates == (record,)
    assert flat(server.requests[0])[0]
