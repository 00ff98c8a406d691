"""Fused eager mode: rows as greenlets, calls in batches, tools journaled, errors that end one row."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.ir import Assignment, Demo, DemoSet, Diagnostic, Module, Obj, Unit
from lampc.ir.lookup import Hit, Lookup
from lampc.ir.runner import NoSession
from lampc.runtime.eager import EagerAnswer, EagerCall, EagerRun
from lampc.runtime.failures import RowFailure
from lampc.runtime.host_sources import code_identity, module_identity
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Outcome, Row, Usage

ask = lampc.Predict("question -> answer", symbol="ask")


class FakeCompleter:
    """Answers with the question in capitals; records what was asked together."""

    def __init__(self, answer: Callable[[EagerCall], EagerAnswer] | None = None) -> None:
        self.batches: list[list[EagerCall]] = []
        self.answer = answer or (lambda c: EagerAnswer({"answer": c.inputs["question"].upper()}, "text"))

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        self.batches.append(list(calls))
        return [self.answer(c) for c in calls]

    def lookup(self, asks: Sequence[Lookup]) -> list[list[Hit] | Exception]:
        return [[Hit(f"{a.definition.symbol}/{a.definition.source}: {a.query}")][: a.k] for a in asks]


def cells(n: int, **inputs: Any) -> list[Cell]:
    return [Cell(Row(str(i), {"question": f"q{i}", **inputs})) for i in range(n)]


def chain(question: str, times: int = 2) -> dict[str, Any]:
    answer = question
    for _ in range(times):
        answer = ask(question=answer + "x").answer
    return {"answer": answer}


def run(entry: Callable[..., dict[str, Any]], table: list[Cell], **options: Any) -> tuple[list[Outcome], FakeCompleter]:
    completer = options.pop("completer", None) or FakeCompleter()
    return EagerRun(entry, completer, options.pop("store", None), **options).run(table), completer


def test_calls_of_all_rows_go_out_together() -> None:
    outcomes, completer = run(chain, cells(5))
    assert [o.value for o in outcomes] == [{"answer": f"Q{i}XX"} for i in range(5)]
    assert [len(b) for b in completer.batches] == [5, 5]
    assert [s.predictor for s in outcomes[0].trace] == ["ask", "ask"]
    assert outcomes[0].trace[0].where.startswith(__file__)
    assert outcomes[0].usage.calls == 2


def test_equal_calls_of_rows_cost_once() -> None:
    unit = Unit(Module(), "chain", dynamic=Diagnostic("L0701", "made up"), host_entry=chain)
    with Session(model=FakeEngine(lambda prompt: "[[ ## answer ## ]]\nso\n")) as session:
        outcomes = session.run(unit, [Row(str(i), {"question": "why"}) for i in range(3)])
        assert [o.error for o in outcomes] == [None] * 3
        total = sum((o.usage for o in outcomes), Usage())
        assert total == replace(session.usage, seconds=0.0)
    assert (total.calls, total.stored_calls) == (6, 4)
    assert total.prompt_tokens == total.computed_tokens + total.cached_tokens + total.stored_tokens


def test_live_rows_are_bounded() -> None:
    outcomes, completer = run(chain, cells(10), live=4)
    assert max(len(b) for b in completer.batches) == 4
    assert all(o.value is not None for o in outcomes)


def test_draws_do_not_depend_on_the_company() -> None:
    together = run(chain, cells(4))[1]
    alone = run(chain, cells(4), live=1)[1]
    draws = [{(c.draw.row, c.draw.key.path) for b in x.batches for c in b} for x in (together, alone)]
    assert draws[0] == draws[1] == {(str(i), (f"ask#{n}",)) for i in range(4) for n in range(2)}


def test_rows_of_different_lengths() -> None:
    table = [Cell(Row(str(i), {"question": "q", "times": i})) for i in range(4)]
    done: list[int] = []
    completer = FakeCompleter()
    outcomes = EagerRun(chain, completer).run(table, lambda i, _: done.append(i))
    assert [o.value for o in outcomes] == [{"answer": a} for a in ("q", "QX", "QXX", "QXXX")]
    assert done == [0, 1, 2, 3]
    assert [len(b) for b in completer.batches] == [3, 2, 1]


def test_an_exception_ends_its_row_only() -> None:
    def entry(question: str) -> dict[str, Any]:
        if question == "q1":
            raise KeyError("no such thing")
        return chain(question)

    outcomes, _ = run(entry, cells(3))
    assert outcomes[0].value == {"answer": "Q0XX"}
    assert outcomes[1].value is None
    error = outcomes[1].error
    assert error is not None
    assert error.kind == "host"
    assert "no such thing" in error.message
    assert error.where.startswith(f"{__file__}:")
    assert error.row == "1"


def test_a_failing_answer_may_be_caught() -> None:
    def entry(question: str) -> dict[str, Any]:
        try:
            return {"answer": ask(question=question).answer}
        except RowFailure as e:
            return {"answer": e.message}

    failing = FakeCompleter(lambda c: EagerAnswer(error=RowFailure("the model is gone", kind="model")))
    assert run(entry, cells(1), completer=failing)[0][0].value == {"answer": "the model is gone"}
    outcomes, _ = run(chain, cells(1), completer=failing)
    assert outcomes[0].error is not None
    assert (outcomes[0].error.kind, outcomes[0].error.message) == ("model", "the model is gone")


def test_a_candidate_is_bound_to_calls() -> None:
    demos = DemoSet((Demo(Obj({"question": "a", "answer": "b"})),))
    chosen = Assignment().updated(**{"ask.instruction": "Say it loud.", "ask.demos": demos})
    _, completer = run(chain, [Cell(Row("0", {"question": "q"}), chosen)])
    bound = completer.batches[0][0].bound
    assert (bound.instruction, bound.demos) == ("Say it loud.", demos)


def test_several_draws_are_one_step() -> None:
    many = lampc.Predict("question -> answer", symbol="many", n=3, temperature=0.9)

    def entry(question: str) -> dict[str, Any]:
        found = many(question=question)
        return {"answer": found.completions.answer, "first": found.answer}

    outcomes, completer = run(entry, cells(2))
    assert [len(b) for b in completer.batches] == [6]
    assert len({c.draw.bits() for c in completer.batches[0]}) == 6
    assert outcomes[0].value == {"answer": ["Q0"] * 3, "first": "Q0"}


def test_retrievers_and_tuned_values() -> None:
    notes = lampc.retriever("notes", "notes.jsonl", k=1)
    k = lampc.tune("k", 1, [0, 1])

    def entry(question: str) -> dict[str, Any]:
        return {"found": notes.search(question, k=k), "k": k + 0}

    assert run(entry, cells(1))[0][0].value == {"found": ["notes/notes.jsonl: q0"], "k": 1}
    other = [Cell(Row("0", {"question": "q"}), Assignment().updated(k=0))]
    assert run(entry, other)[0][0].value == {"found": [], "k": 0}


def test_tool_results_are_journaled(tmp_path: Path) -> None:
    called: list[str] = []

    @lampc.tool
    def send(text: str) -> tuple[str, int]:
        called.append(text)
        return text, len(text)

    def entry(question: str) -> dict[str, Any]:
        first = send(question)
        answer = ask(question=question).answer
        return {"sent": [first, send(answer)]}

    wanted = [{"sent": [["q0", 2], ["Q0", 2]]}, {"sent": [["q1", 2], ["Q1", 2]]}]
    with Store(tmp_path / "journal") as store:
        outcomes, _ = run(entry, cells(2), store=store, identity="p")
        assert [o.value for o in outcomes] == wanted
        assert store.count("tool") == 4
    with Store(tmp_path / "journal") as store:
        outcomes, _ = run(entry, cells(2), store=store, identity="p")
        assert [o.value for o in outcomes] == wanted
        assert called == ["q0", "q1", "Q0", "Q1"]
        run(entry, cells(1), store=store, identity="another program")
        assert len(called) == 6


def told(instruction: str) -> lampc.Predict:
    return lampc.Predict(lampc.Signature("question -> answer", instruction))


def a_program(instruction: str) -> Any:
    asked = told(instruction)

    def look(question: str) -> str:
        answer: str = asked(question=question).answer
        return answer

    return lampc.program(look)


class Looked(lampc.Module):
    def __init__(self, instruction: str) -> None:
        super().__init__()
        self.ask = told(instruction)

    def forward(self, question: str) -> str:
        answer: str = self.ask(question=question).answer
        return answer


@pytest.mark.parametrize("make", [a_program, Looked, lambda i: a_program_with(lampc.Tool(a_program(i), "inner"))])
def test_a_tool_that_is_a_changed_program_is_called_again(make: Callable[[str], Any], tmp_path: Path) -> None:
    def entry(tool: lampc.Tool) -> Callable[..., dict[str, Any]]:
        return lambda question: {"found": tool(question=question)}

    completer = FakeCompleter(lambda c: EagerAnswer({"answer": c.bound.instruction}, "text"))
    found = []
    for instruction in ("Be short.", "Be long.", "Be short."):
        with Store(tmp_path / "journal") as store:
            run(entry(lampc.Tool(make(instruction), "look")), cells(1), store=store, completer=completer)
            outcomes, _ = run(entry(lampc.Tool(make(instruction), "look")), cells(1), store=store, completer=completer)
        found.append(outcomes[0].value)
    assert found == [{"found": "Be short."}, {"found": "Be long."}, {"found": "Be short."}]
    assert len(completer.batches) == 2, "one that is the same is not called again"


def a_program_with(tool: lampc.Tool) -> Any:
    def outer(question: str) -> Any:
        return tool(question=question)

    return lampc.program(outer)


class Asks(lampc.Module):
    def __init__(self, asked: Any) -> None:
        super().__init__()
        self.tools = [lampc.Tool(asked, "again")]

    def forward(self, question: str) -> Any:
        return self.tools[0](question=question)


@lampc.program
def asks_again(question: str) -> Any:
    return ASKS(question=question)


ASKS = Asks(asks_again)


@pytest.mark.parametrize("program", [asks_again, ASKS])
def test_who_is_a_tool_of_itself_has_an_identity(program: Any) -> None:
    made = {code_identity(p) for p in (program, program, a_program_with(lampc.Tool(program, "t")))}
    assert len(made) == 2
    assert module_identity(Asks(program))


def test_what_cannot_be_resumed_calls_its_tools() -> None:
    called: list[str] = []

    @lampc.tool
    def send(text: str) -> str:
        called.append(text)
        return str(len(called))

    def entry(question: str) -> dict[str, Any]:
        return {"sent": send(question)}

    with Store(None) as store:
        sent = [run(entry, cells(1), store=store, identity="p")[0][0].value for _ in range(2)]
    assert sent == [{"sent": "1"}, {"sent": "2"}]


def test_a_killed_run_does_not_repeat_tools(tmp_path: Path) -> None:
    called: list[str] = []

    @lampc.tool
    def pay(who: str) -> str:
        called.append(who)
        return f"paid {who}"

    def entry(question: str) -> dict[str, Any]:
        receipt = pay(question)
        return {"answer": ask(question=receipt).answer}

    def killed(call: EagerCall) -> EagerAnswer:
        raise KeyboardInterrupt

    with Store(tmp_path / "journal") as store:
        with pytest.raises(KeyboardInterrupt):
            run(entry, cells(3), store=store, completer=FakeCompleter(killed))
        assert called == ["q0", "q1", "q2"]
        outcomes, _ = run(entry, cells(3), store=store)
        assert [o.value for o in outcomes] == [{"answer": f"PAID Q{i}"} for i in range(3)]
        assert len(called) == 3


def test_blocking_tools_run_beside_each_other() -> None:
    names: set[str] = set()

    @lampc.tool(blocking=True)
    def fetch(question: str) -> str:
        names.add(threading.current_thread().name)
        time.sleep(0.05)
        return question

    started = time.perf_counter()
    outcomes, _ = run(lambda question: {"answer": fetch(question)}, cells(6))
    assert [o.value for o in outcomes] == [{"answer": f"q{i}"} for i in range(6)]
    assert threading.current_thread().name not in names
    assert time.perf_counter() - started < 0.05 * 6


def test_calls_from_own_threads_are_refused() -> None:
    def entry(question: str) -> dict[str, Any]:
        seen: list[BaseException] = []

        def work() -> None:
            try:
                ask(question=question)
            except (RuntimeError, NoSession) as e:
                seen.append(e)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return {"answer": type(seen[0]).__name__}

    assert run(entry, cells(1))[0][0].value == {"answer": "NoSession"}


def test_without_a_session_the_error_says_what_to_do() -> None:
    with pytest.raises(NoSession, match=r"predictor `ask`: no model is set. Call lampc.configure"):
        ask(question="q")
    with pytest.raises(TypeError, match="`ask` lacks `question` and does not take `text`; its inputs are question"):
        ask(text="q")
    with pytest.raises(ValueError, match="by name"):
        ask("q")
