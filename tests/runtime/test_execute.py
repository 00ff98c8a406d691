"""The executor against the reference interpreter, and its dealings with failures, order and the store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lampc.backend import FakeEngine
from lampc.ir import Module, check, parse_module
from lampc.runtime.cells import CellTable
from lampc.runtime.compile import Executable, lower
from lampc.runtime.events import EventBus
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import interpret
from lampc.runtime.plan import prefix_bound
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Outcome, Row, TraceStep
from tests.runtime.programs import CALL, CASES, CHAIN, SIGNATURE, module, predict


def rows(inputs: list[dict[str, Any]]) -> list[Row]:
    return [Row(str(i), x) for i, x in enumerate(inputs)]


def reference(program: Module, inputs: list[dict[str, Any]], seed: int = 0) -> list[tuple[Any, list[TraceStep]]]:
    out = []
    for row in rows(inputs):
        trace: list[TraceStep] = []
        with Session(model=FakeEngine(), seed=seed) as session:
            value = interpret(program, row.inputs, runner=session.runner(program), seed=seed, row=row.id, trace=trace)
        out.append((value, trace))
    return out


def values(outcomes: list[Outcome]) -> list[Any]:
    assert [str(o.error) for o in outcomes if o.error] == []
    return [o.value for o in outcomes]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("max_live", [1, 2, 1024])
def test_executor_gives_what_the_interpreter_gives(name: str, max_live: int) -> None:
    program, inputs = CASES[name]
    wanted = reference(program, inputs)
    with Session(model=FakeEngine(), max_live=max_live) as session:
        outcomes = session.run(program, rows(inputs))
    assert values(outcomes) == [v for v, _ in wanted]
    for outcome, (_, trace) in zip(outcomes, wanted, strict=True):
        assert [(s.predictor, s.inputs, s.outputs) for s in outcome.trace] == [
            (s.predictor, s.inputs, s.outputs) for s in trace
        ]


def test_draws_depend_on_row_seed_and_rollout_alone() -> None:
    program, inputs = CASES["sampled"]
    cells = [Cell(r) for r in rows(inputs)]
    with Session(model=FakeEngine()) as session:
        forward = values(session.run_cells(program, cells))
    with Session(model=FakeEngine()) as session:
        backward = values(session.run_cells(program, cells[::-1]))[::-1]
    assert forward == backward


def test_equal_calls_run_once() -> None:
    with Session(model=FakeEngine()) as session:
        session.run(CALL, rows([{"text": "red"}] * 5))
        assert (session.usage.calls, session.usage.stored_calls) == (5, 4)
        assert session.usage.stored_tokens == 4 * session.usage.computed_tokens
        session.run(CALL, rows([{"text": "red"}]))
        assert session.usage.stored_calls == 5


def test_a_finished_call_is_not_run_again_by_a_later_session(tmp_path: Any) -> None:
    inputs = [{"text": t} for t in ("red", "blue", "green")]
    with Store(tmp_path / "store") as store, Session(model=FakeEngine(), store=store) as session:
        first = values(session.run(CHAIN, rows(inputs)))
        calls = session.usage.calls
    with Store(tmp_path / "store") as store, Session(model=FakeEngine(), store=store) as session:
        assert values(session.run(CHAIN, rows(inputs))) == first
        assert session.usage.stored_calls == calls
        assert session.usage.stored_tokens == session.usage.prompt_tokens > 0
        assert session.usage.computed_tokens == 0


def test_a_failing_row_fails_alone_and_says_where() -> None:
    program = module(
        f"""%n = prog.apply(%text) {{fn = "int"}} : (int)
            %s = prog.apply(%n) {{fn = "str"}} : (str)
            %a = prog.predict(%s) {predict("0")} : ({{label: str}})
            prog.return(%a) : ()"""
    )
    with Session(model=FakeEngine()) as session:
        good, bad = session.run(program, rows([{"text": "7"}, {"text": "seven"}]))
    assert good.error is None
    assert bad.value is None
    assert bad.error is not None
    assert "seven" in bad.error.message
    assert bad.error.row == "1"
    with pytest.raises(RowFailure, match="seven"):
        interpret(program, {"text": "seven"})


def test_a_missing_input_is_named() -> None:
    with Session(model=FakeEngine()) as session:
        (outcome,) = session.run(CALL, [Row("0", {})])
    assert outcome.error is not None
    assert "`text` is missing" in outcome.error.message


def test_computed_prompt_tokens_are_those_of_the_prefix_tree() -> None:
    program, inputs = CASES["call"]
    with Session(model=FakeEngine()) as session:
        session.run(program, rows(inputs))
        assert session.usage.computed_tokens == session.bound()


def test_a_prompt_that_goes_on_from_an_answer_is_not_cheaper_than_the_bound() -> None:
    program = parse_module(
        f"""module @test {{
          prog.def_predictor @p() {{signature = {SIGNATURE}}} : ()
          prog.func @main() {{returns = !{{said: str}}}} do (%text: str) {{
            %root = kv.root() {{model = @main, predictor = @p}} : (kv)
            %ctx = kv.extend(%root, %text) {{run = #run<segments = [#text<text = "<|user|>">, #input<index = 0,
              field = #field<name = "text", type = !str>, adapter = "compact">, #text<text = "<|assistant|>">]>}} : (kv)
            %said, %first = kv.generate(%ctx) {{key = #key<path = ["p#0"]>, predictor = @p, ENDS}} : (kv, str)
            %more = kv.extend(%said)
              {{run = #run<segments = [#text<text = "<|end|><|user|>Why?<|assistant|>">]>}} : (kv)
            %done, %last = kv.generate(%more) {{key = #key<path = ["p#1"]>, predictor = @p, ENDS}} : (kv, str)
            %r = prog.pack(%last) {{names = ["said"]}} : ({{said: str}})
            prog.return(%r) : ()
          }} : ()
        }}""".replace("ENDS", "sampling = #sampling<max_tokens = 40>")
    )
    check(program)
    with Session(model=FakeEngine()) as session:
        exe = Executable(program, None)
        cells = [(Cell(Row(t, {"text": t})), exe) for t in ("really?", "surely?")]
        assert all(o.error is None for o in session._executor(program).run(cells))
        assert session.usage.computed_tokens == session.bound() < prefix_bound(session.desk.books.prompts)


def test_options_are_scored_under_one_context() -> None:
    program = parse_module(
        f"""module @test {{
          prog.def_predictor @p() {{signature = {SIGNATURE}}} : ()
          prog.func @main() {{returns = !{{scores: list[float]}}}} do (%text: str) {{
            %root = kv.root() {{model = @main, predictor = @p}} : (kv)
            %ctx = kv.extend(%root, %text) {{run = #run<segments = [#text<text = "<|user|>">, #input<index = 0,
              field = #field<name = "text", type = !str>, adapter = "compact">]>}} : (kv)
            %s = kv.score(%ctx) {{options = ["yes", "no", "yes"]}} : (list[float])
            %r = prog.pack(%s) {{names = ["scores"]}} : ({{scores: list[float]}})
            prog.return(%r) : ()
          }} : ()
        }}"""
    )
    check(program)
    with Session(model=FakeEngine()) as session:
        exe = Executable(program, None)
        (outcome,) = session._executor(program).run([(Cell(Row("0", {"text": "really?"})), exe)])
    assert outcome.error is None
    assert outcome.value is not None
    first, second, third = outcome.value["scores"]
    assert first == third
    assert first <= 0
    assert second <= 0


def test_every_row_and_call_is_told_of() -> None:
    bus, heard = EventBus(), []
    bus.subscribe(heard.append)
    program, inputs = CASES["chain"]
    with Session(model=FakeEngine(), bus=bus) as session:
        session.run(program, rows(inputs))
    kinds = Counter(e.kind for e in heard)
    assert kinds["row.start"] == kinds["row.end"] == len(inputs)
    assert kinds["node.start"] == kinds["node.end"] == 2 * len(inputs)
    assert kinds["request.done"] == session.usage.calls - session.usage.stored_calls


TWINS = module(
    f"""%a = prog.predict(%text) {predict("0")} : ({{label: str}})
        %b = prog.predict(%text) {predict("1")} : ({{label: str}})
        %x = prog.field(%a) {{field = "label"}} : (str)
        %y = prog.field(%b) {{field = "label"}} : (str)
        %r = prog.pack(%x, %y) {{names = ["x", "y"]}} : ({{x: str, y: str}})
        prog.return(%r) : ()""",
    returns="{x: str, y: str}",
)


@pytest.mark.parametrize("rollout", [0, 1, 2])
def test_merged_greedy_calls_answer_as_unmerged_ones_in_every_rollout(rollout: int) -> None:
    cells = [Cell(r, rollout=rollout) for r in rows([{"text": t} for t in ("red", "blue")])]
    with Session(model=FakeEngine()) as session:
        merged = values(session.run_cells(TWINS, cells))
    with Session(model=FakeEngine()) as session:
        whole = lower(TWINS, lambda name: session.target(TWINS, name), pipeline="lower-prompts,lower-kv")
        exe = Executable(whole, None)
        apart = values(session._executor(TWINS).run([(c, exe) for c in cells]))
    assert merged == apart


def test_a_failed_row_accounts_for_all_its_calls() -> None:
    program = module(
        f"""%a = prog.predict(%text) {predict("0")} : ({{label: str}})
            %l = prog.field(%a) {{field = "label"}} : (str)
            %n = prog.apply(%l) {{fn = "int"}} : (int)
            %other = prog.const() {{type = !str, value = "another, longer text"}} : (str)
            %b = prog.predict(%other) {predict("1", "max_tokens = 40")} : ({{label: str}})
            %m = prog.field(%b) {{field = "label"}} : (str)
            %s = prog.apply(%n) {{fn = "str"}} : (str)
            %r = prog.pack(%m, %s) {{names = ["m", "s"]}} : ({{m: str, s: str}})
            prog.return(%r) : ()""",
        returns="{m: str, s: str}",
    )
    reply = lambda prompt: "a long answer to it" if "another" in prompt else "word"  # noqa: E731
    with Session(model=FakeEngine(reply)) as session:
        (outcome,) = session.run(program, rows([{"text": "red"}]))
        assert outcome.error is not None
        assert outcome.usage.calls == session.usage.calls == 2
        assert session.desk.idle
        assert session.usage.computed_tokens == session.bound()


@pytest.mark.parametrize("slow", ["first", "other", ""])
def test_of_two_failures_the_first_in_program_order_is_told(slow: str) -> None:
    program = module(
        f"""%out = prog.map(%texts) do (%t: str, %i: int) {{
              %a = prog.predict(%t) {predict("0", "max_tokens = 40")} : ({{label: str}})
              %l = prog.field(%a) {{field = "label"}} : (str)
              %n = prog.apply(%l) {{fn = "int"}} : (int)
              %s = prog.apply(%n) {{fn = "str"}} : (str)
              prog.yield(%s) : ()
            }} : (list[str])
            %r = prog.pack(%out) {{names = ["out"]}} : ({{out: list[str]}})
            prog.return(%r) : ()""",
        args="%texts: list[str]",
        returns="{out: list[str]}",
    )

    def reply(prompt: str) -> str:
        said = "first" if "first" in prompt else "other"
        return f"{said} and so on" if said == slow else said

    inputs = {"texts": ["first", "other"]}
    with Session(model=FakeEngine(reply)) as session:
        (outcome,) = session.run(program, rows([inputs]))
        with pytest.raises(RowFailure) as raised:
            interpret(program, inputs, runner=session.runner(program), row="0")
    assert outcome.error is not None
    assert "first" in raised.value.message
    assert outcome.error == raised.value.row_error("0")
    assert outcome.usage.calls == 2


def test_a_rejected_prompt_is_not_part_of_the_bound() -> None:
    with Session(model=FakeEngine(context_length=64)) as session:
        outcomes = session.run(CALL, rows([{"text": "red"}, {"text": "red " * 100}]))
        assert [o.error is None for o in outcomes] == [True, False]
        assert session.usage.computed_tokens == session.bound()


def test_rows_of_one_name_are_told_apart_in_the_table() -> None:
    with Session(model=FakeEngine()) as session:
        table = CellTable(session, CALL, None)
        cells = [Cell(Row("9", {"text": t})) for t in ("one", "two")]
        table.run(cells)
        assert [c.row.inputs for c in cells] == [o.cell.row.inputs for c in cells if (o := table.get(c))]
        assert table.get(cells[0]).value != table.get(cells[1]).value  # type: ignore[union-attr]
