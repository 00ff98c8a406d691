"""Tools of compiled programs: those that wait do so beside each other, in order within a row, with the same results."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lampc.backend import FakeEngine
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Module
from lampc.runtime.interp import interpret
from lampc.runtime.session import Session
from lampc.runtime.types import Cell, Row
from tests.runtime import waiting_tools
from tests.runtime.programs import module, predict


def program(*functions: str, effect: str = "pure") -> Module:
    """One call of each function after the other, each of the one before it, then of a model."""
    lines, last = [], "%text"
    for i, name in enumerate(functions):
        lines.append(
            f'%v{i} = prog.py({last}) {{effect = "{effect}", returns = !str, '
            f'ref = #host<target = "tests.runtime.waiting_tools:{name}">}} : (str)'
        )
        last = f"%v{i}"
    lines.append(f"%r = prog.predict({last}) {predict('0')} : ({{label: str}}) prog.return(%r) : ()")
    return module("\n".join(lines))


def rows(count: int) -> list[Row]:
    return [Row(str(i), {"text": f"t{i}"}) for i in range(count)]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[waiting_tools.Noted]:
    made = waiting_tools.Noted()
    monkeypatch.setattr(waiting_tools, "noted", made)
    yield made
    assert made.now == 0


def test_calls_that_wait_overlap_and_change_nothing(noted: waiting_tools.Noted) -> None:
    made = program("look")
    with Session(model=FakeEngine()) as session:
        outcomes = session.run(made, rows(24))
    assert noted.most > 4
    for row, outcome in zip(rows(24), outcomes, strict=True):
        with Session(model=FakeEngine()) as session:
            alone = interpret(made, row.inputs, runner=session.runner(made), row=row.id)
        assert outcome.value == alone


def test_code_that_computes_stays_on_the_thread_of_the_run(noted: waiting_tools.Noted) -> None:
    with Session(model=FakeEngine()) as session:
        session.run(program("count"), rows(24))
    assert noted.threads == {threading.get_ident()}


def test_a_tool_that_says_so_is_on_a_thread_from_the_first_call(noted: waiting_tools.Noted) -> None:
    with Session(model=FakeEngine()) as session:
        session.run(program("declared"), rows(3))
    assert len(noted.calls) == 3
    assert threading.get_ident() not in noted.threads


TOOL = """
tool ask(text: str) -> str = python("tests.runtime.waiting_tools:{name}");
signature S(text: str) -> (label: str) {{ }}
module Main(text: str) -> (label: str) {{ use p = Predict(S); return p(text: ask(text: text)); }}
"""


def test_a_tool_that_waits_never_stops_the_other_rows(noted: waiting_tools.Noted) -> None:
    with Session(model=FakeEngine()) as session:
        outcomes = session.run(compile_lmp(TOOL.format(name="linger"), "tool.lmp"), rows(12))
    assert all(o.error is None for o in outcomes)
    assert noted.most > 4
    assert threading.get_ident() not in noted.threads


def test_a_tool_that_computes_is_tried_on_a_thread_and_goes_on_in_order(noted: waiting_tools.Noted) -> None:
    for name in ("count", "reckon"):
        noted.calls.clear()
        with Session(model=FakeEngine()) as session:
            session.run(compile_lmp(TOOL.format(name=name), "tool.lmp"), rows(24))
        assert noted.calls == [(name, f"t{i}") for i in range(24)]
        assert threading.get_ident() in noted.threads
    assert noted.most == 1


def test_a_tool_of_a_single_row_is_called_on_its_thread(noted: waiting_tools.Noted) -> None:
    with Session(model=FakeEngine()) as session:
        session.run(compile_lmp(TOOL.format(name="count"), "tool.lmp"), rows(1))
    assert noted.threads == {threading.get_ident()}


def test_effects_keep_their_order_within_a_row(noted: waiting_tools.Noted) -> None:
    with Session(model=FakeEngine()) as session:
        session.run(program("look", "send", "look", effect="effect"), rows(12))
    for i in range(12):
        assert [name for name, text in noted.calls if text.split()[-1] == f"t{i}"] == ["look", "send", "look"]
    assert noted.most > 2


def test_a_failure_on_a_thread_is_its_row_s(noted: waiting_tools.Noted) -> None:
    some = [*rows(6), Row("bad", {"text": "bad"}), *rows(3)]
    some = [Row(str(i), r.inputs) for i, r in enumerate(some)]
    with Session(model=FakeEngine()) as session:
        outcomes = session.run(program("fail"), some)
    failed = [o for o in outcomes if o.error is not None]
    assert [o.cell.row.id for o in failed] == ["6"]
    assert "no such page" in str(failed[0].error)


def test_ctrl_c_meanwhile_ends_the_run(noted: waiting_tools.Noted) -> None:
    ended = []

    def stop(index: int, outcome: object) -> None:
        ended.append(index)
        raise KeyboardInterrupt

    with Session(model=FakeEngine()) as session:
        with pytest.raises(KeyboardInterrupt):
            session.run_cells(program("look"), [Cell(r) for r in rows(40)], None, stop)
        assert len(ended) == 1
        again = session.run(program("count"), rows(3))
    assert all(o.error is None for o in again)
    while noted.now:
        threading.Event().wait(0.005)
