"""Retrieval in programs: one search for all rows, stores by configuration, parameters that a candidate moves."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.ir import Assignment
from lampc.ir.lookup import Hit
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.ir.text import parse_module
from lampc.retrievers import BM25, ChromaStore, FaissStore, Store, Vectors
from lampc.runtime.cells import CellTable
from lampc.runtime.interp import interpret
from lampc.runtime.session import Session
from lampc.runtime.store import Store as Records
from lampc.runtime.types import Cell, Row

CORPUS = ("the lamp gives light", "a river flows", "light is fast", "the old state", "a lamp of glass", "river light")


class Counting(Store):
    """A store that says what it was asked."""

    lasting = True

    def __init__(self, inner: Any, name: str = "counting") -> None:
        self.inner, self.asked, self.identity = inner, [], name

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked.append((list(queries), k))
        if "boom" in queries:
            raise ValueError("no such thing")
        found: list[list[Hit]] = self.inner.search_many(queries, k)
        return found


def letters(texts: list[str]) -> Any:
    return np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for t in texts])


def reply(prompt: str) -> str:
    """The question's last word as a query; the number of passages as an answer."""
    if "query" in prompt:
        return "query: " + re.findall(r"question: ([^\n]*)", prompt)[-1].split()[-1]
    return f"answer: {len(re.findall(r'light|lamp|river|state', prompt))}"


class RAG(lampc.Module):
    def __init__(self, search: Any = None) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> query")
        self.search = search if search is not None else lampc.retriever("facts", k=2)
        self.answer = lampc.Predict("context: list[str], question -> answer")

    def forward(self, question: str) -> lampc.Prediction:
        query = self.ask(question=question).query
        context = self.search(query)
        return lampc.Prediction(context=context, answer=self.answer(context=context, question=question).answer)


class Passages(RAG):
    """Takes a retriever whose calls give predictions."""

    def forward(self, question: str) -> lampc.Prediction:
        return lampc.Prediction(context=self.search(question).passages)


class Eager(RAG):
    """Cannot be compiled ahead."""

    def forward(self, question: str) -> lampc.Prediction:
        with threading.Lock():
            context = self.search(self.ask(question=question).query)
        return lampc.Prediction(context=context)


def rows(*questions: str) -> list[Row]:
    return [Row(str(i), {"question": q}) for i, q in enumerate(questions)]


ROWS = rows("where is light", "what is a lamp", "see the light", "which river")


def contexts(outcomes: Any) -> list[Any]:
    return [o.value["context"] if o.value else str(o.error) for o in outcomes]


@pytest.mark.parametrize("program", [RAG, Eager])
def test_rows_are_searched_for_together_and_once(program: Any, tmp_path: Path) -> None:
    unit = trace(program())
    assert (unit.dynamic is None) is (program is RAG)
    wanted = [BM25(CORPUS).search(r.inputs["question"].split()[-1], 2) for r in ROWS]
    with Records(tmp_path / "s.store") as records:
        for first in (True, False):
            store = Counting(BM25(CORPUS))
            with Session(model=FakeEngine(reply=reply), retrievers={"facts": store}, store=records) as session:
                assert contexts(session.run(unit, ROWS)) == wanted
                asked = sorted(q for batch, _ in store.asked for q in batch)
                batches = len(store.asked)
                session.run(unit, ROWS)
            assert len(store.asked) == batches  # the second time all is known
            assert asked == (["lamp", "light", "river"] if first else [])  # an earlier process found them
            if first and program is Eager:
                assert batches == 1


def test_all_rows_of_a_run_are_one_search() -> None:
    @lampc.program
    def main(question: str) -> Any:
        return {"context": search(question)}

    search = lampc.retriever("facts", k=1)
    store = Counting(BM25(CORPUS))
    many = rows(*(CORPUS[i % 6] for i in range(100)))
    with Session(model=FakeEngine(reply=reply), retrievers={"facts": store}) as session:
        assert contexts(session.run(trace(main), many)) == [[CORPUS[i % 6]] for i in range(100)]
    assert store.asked == [(list(CORPUS), 1)]


@pytest.mark.parametrize("program", [RAG, Eager])
def test_a_failing_search_ends_its_row_only(program: Any) -> None:
    store = Counting(BM25(CORPUS))
    with Session(model=FakeEngine(reply=reply), retrievers={"facts": store}) as session:
        found = contexts(session.run(trace(program()), rows("a light", "go boom", "the river")))
    assert "ValueError: no such thing" in found[1]
    assert found[0] == BM25(CORPUS).search("light", 2)
    assert found[2] == BM25(CORPUS).search("river", 2)


def test_another_store_is_configuration_only() -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    pytest.importorskip("chromadb", reason="needs chromadb")
    unit = trace(RAG())
    stores = {
        "bm25": BM25(CORPUS),
        "vectors": Vectors(CORPUS, letters),
        "faiss": FaissStore(CORPUS, letters),
        "chroma": ChromaStore("swap", letters, CORPUS),
        "function": lambda query, k: [f"{query} {i}" for i in range(k)],
    }
    digests, found = set(), {}
    for name, store in stores.items():
        with Session(model=FakeEngine(reply=reply), retrievers={"facts": store}) as session:
            found[name] = contexts(session.run(unit, ROWS))
        digests.add(unit.module.digest())
        assert all(len(c) <= 2 for c in found[name])
    assert len(digests) == 1
    assert found["vectors"] == found["faiss"]
    assert found["function"][0] == ["light 0", "light 1"]
    # a module that holds another object is the same program, too
    one, two = (trace(Passages(lampc.Embeddings(corpus, letters, k=2))) for corpus in (CORPUS, CORPUS[:2]))
    assert one.module.digest() == two.module.digest()
    assert one.retrievers["search"] is not two.retrievers["search"]


def test_objects_that_bring_their_store() -> None:
    class Program(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.search = lampc.EmbeddingsWithScores(CORPUS, lampc.Embedder(letters), k=2)

        def forward(self, question: str) -> lampc.Prediction:
            found = self.search(question)
            return lampc.Prediction(context=found.passages, best=found.indices[0], scores=found.scores)

    program = Program()
    wanted = program(question="light")
    assert wanted.context[0] == CORPUS[wanted.best]
    unit = trace(program)
    assert unit.dynamic is None
    assert [op.op_name for op in unit.module.walk()].count("prog.retrieve") == 1
    assert parse_module(str(unit.module)) == unit.module
    with Session(model=FakeEngine(reply=reply)) as session:
        (found,) = session.run(unit, rows("light"))
        assert found.value == wanted.toDict()
        again = interpret(unit.module, {"question": "light"}, entry=unit.entry, runner=session.runner(unit))
        assert again == found.value
    other = Counting(Vectors(CORPUS[::-1], letters))
    with Session(model=FakeEngine(reply=reply), retrievers={"search": other}) as session:
        (found,) = session.run(unit, rows("light"))
        assert other.asked == [(["light"], 2)]
        assert found.value is not None
        assert found.value["context"][0] == wanted.context[0]
    copied = program.deepcopy()
    assert copied.search.store is program.search.store


@pytest.mark.parametrize("program", [RAG, Eager])
def test_k_store_and_query_are_parameters(program: Any) -> None:
    unit = trace(program())
    stores = {"facts": BM25(CORPUS), "other": BM25([p.upper() for p in CORPUS])}
    with Session(model=FakeEngine(reply=reply), retrievers=stores) as session:

        def run(**values: Any) -> list[Any]:
            chosen = Assignment().updated(**{k.replace("__", "."): v for k, v in values.items()})
            return contexts(session.run_cells(unit, [Cell(r, chosen) for r in ROWS[:1]]))

        wanted = BM25(CORPUS).search("light", 3)
        assert run() == [wanted[:2]]
        assert run(facts__k=1) == [wanted[:1]]
        assert run(facts__k=3, facts__store="other") == [[p.upper() for p in wanted]]
        assert len(run(facts__k=3)[0]) == 3
        assert "the session has no store `gone`; it has facts, other" in run(facts__store="gone")[0]
        # the query's predictor is a predictor like any other
        assert "ask.instruction" in {
            f"{op.symbol}.instruction" for op in unit.module.body.ops if hasattr(op, "signature")
        }
        table = CellTable(session, unit, unit.entry)
        keys = {table.key(Cell(ROWS[0], Assignment().updated(**{"facts.k": k}))) for k in (1, 2, 3)}
        assert len(keys) == 3
    with Session(model=FakeEngine(reply=reply), retrievers={"facts": BM25(CORPUS[1:])}) as session:
        assert CellTable(session, unit, unit.entry).key(Cell(ROWS[0])) not in keys


def test_what_was_found_is_known_to_later_processes() -> None:
    """Identities follow from what is searched, not from the process that searches."""
    code = (
        "import numpy as np\nfrom lampc.retrievers import BM25, Embedder, Vectors\n"
        "from lampc.runtime.retrieval.protocol import as_store\nimport textwrap\n"
        "embed = Embedder(lambda texts: np.array([[len(t), 1.0] for t in texts]))\n"
        "print(BM25(['a', 'b']).identity, Vectors(['a', 'bb'], embed).identity, as_store(textwrap.dedent).identity)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(lampc.__file__).parent.parent)}
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != "", runs[0].stderr
    embed = lampc.Embedder(letters)
    assert Vectors(CORPUS, embed).identity != Vectors(CORPUS[1:], embed).identity
    assert BM25(CORPUS).identity != BM25(CORPUS, b=0.5).identity


def test_tuned_k_and_given_k() -> None:
    search = lampc.retriever("facts", k=4)
    few = lampc.tune("few", 1, [1, 2])

    @lampc.program
    def main(question: str) -> Any:
        return {"context": search(question, k=few)}

    with Session(model=FakeEngine(reply=reply), retrievers={"facts": BM25(CORPUS)}) as session:
        more = Assignment().updated(few=2)
        unit = trace(main)
        assert [len(c) for c in contexts(session.run(unit, rows("light")))] == [1]
        assert [len(c) for c in contexts(session.run(unit, rows("light"), assignment=more))] == [2]


def test_a_retriever_without_a_store_says_how_to_give_it_one() -> None:
    with Session(model=FakeEngine(reply=reply)) as session:
        (found,) = session.run(trace(RAG()), rows("a light"))
    assert "retriever `facts` has no store: lampc.configure(rm=...), or Session(retrievers={'facts': ...})" in str(
        found.error
    )


def test_retrieve_as_in_dspy() -> None:
    class Program(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.retrieve = lampc.Retrieve(k=3)

        def forward(self, question: str) -> lampc.Prediction:
            return lampc.Prediction(context=self.retrieve(question).passages)

    rm = lambda query, k: [lampc.Example(long_text=f"{query} {i}") for i in range(k)]  # noqa: E731
    unit = trace(Program())
    assert unit.dynamic is None
    with settings.context(rm=rm):
        assert lampc.Retrieve(k=2)("q").passages == ["q 0", "q 1"]
        assert Program()(question="x").context == ["x 0", "x 1", "x 2"]
        with Session(model=FakeEngine(reply=reply)) as session:
            assert contexts(session.run(unit, rows("x"))) == [["x 0", "x 1", "x 2"]]
    state = Program().retrieve.dump_state()
    assert state == {"k": 3}


def test_the_interpreter_finds_what_the_executor_finds() -> None:
    unit = trace(RAG())
    stores = {"facts": BM25(CORPUS), "other": BM25(CORPUS[::-1])}
    with Session(model=FakeEngine(reply=reply), retrievers=stores) as session:
        for values in ({}, {"facts.k": 1}, {"facts.k": 3, "facts.store": "other"}):
            chosen = Assignment().updated(**values)
            (found,) = session.run(unit, ROWS[:1], assignment=chosen)
            inputs, runner = ROWS[0].inputs, session.runner(unit)
            assert interpret(unit.module, inputs, entry=unit.entry, runner=runner, assignment=chosen) == found.value


def test_plain_calls_threads_and_tasks_are_searched_together() -> None:
    store = Counting(BM25(CORPUS))
    try:
        lampc.configure(model=FakeEngine(reply=reply), retrievers={"facts": store})
        search = lampc.retriever("facts", k=1)
        assert search("river") == ["river light"]
        assert search.search("river", 2) == ["river light", "a river flows"]

        async def main() -> list[Any]:
            return await asyncio.gather(*(Eager(search).acall(question=f"is {w}") for w in ("lamp", "state", "glass")))

        found = asyncio.run(main())
        assert [f.context for f in found] == [BM25(CORPUS).search(w, 1) for w in ("lamp", "state", "glass")]
    finally:
        set_default_runner(None)
        settings.reset()


def test_programs_are_written_and_read_as_lmp() -> None:
    from lampc.frontend.lmp import compile_lmp, emit_lmp

    facts = lampc.retriever("facts", k=2)
    answer = lampc.Predict("context: list[str], question: str -> answer: str")

    @lampc.program
    def main(question: str) -> Any:
        context = facts(question)
        return {"context": context, "answer": answer(context=context, question=question).answer}

    unit = trace(main)
    text = emit_lmp(unit)
    assert "retriever facts = bound(k: 2);" in text
    with Session(model=FakeEngine(reply=reply), retrievers={"facts": BM25(CORPUS)}) as session:
        again = compile_lmp(text)
        assert contexts(session.run(again, ROWS)) == contexts(session.run(unit, ROWS))


def test_what_a_function_finds_may_change_at_any_time() -> None:
    passages = ["old"]

    class Live:
        def search(self, query: str, k: int) -> list[str]:
            return passages

    def live(query: str, k: int) -> list[str]:
        return passages

    for store in (live, Live()):
        with Session(model=FakeEngine(reply=reply), retrievers={"facts": store}) as session:
            for now in ("old", "new"):
                passages[:] = [now]
                assert contexts(session.run(trace(RAG()), rows("a light"))) == [[now]]


class Down(Exception):
    """The index is out of reach."""


class Falling(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.search = lampc.Retrieve(k=1)

    def forward(self, question: str) -> lampc.Prediction:
        try:
            return lampc.Prediction(found=self.search(question).passages)
        except Down:
            return lampc.Prediction(found=["nothing"])


def test_programs_catch_what_a_store_raises() -> None:
    def broken(query: str, k: int) -> list[str]:
        raise Down("no index")

    with lampc.context(lm=lampc.utils.DummyLM([]), rm=broken):
        assert Falling()(question="x").found == ["nothing"]
        (one,) = Falling().batch([lampc.Example(question="x").with_inputs("question")])
        assert one.found == ["nothing"]
    with lampc.context(lm=lampc.utils.DummyLM([]), rm=None), pytest.raises(AssertionError, match="has no store"):
        Falling()(question="x")
