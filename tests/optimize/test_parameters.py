"""Parameter search: tuned values, retrievers' number of passages and store, one after another."""

from __future__ import annotations

from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.ir import Assignment
from lampc.passes.optimize import OptimizeError, ParameterSearch, optimizer
from lampc.passes.optimize.parameters import parameters
from lampc.retrievers import BM25
from lampc.runtime.driver import optimize
from lampc.runtime.metrics import RowMetric
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.optimize.problems import drive, problem, scores

WORTH = {("compact", "compact"): 0.1, ("chat", "compact"): 0.2, ("chat", "json"): 0.9, ("compact", "json"): 0.15}


def by_layout(a: Assignment) -> float:
    return WORTH.get((a.get("first.layout", "compact"), a.get("second.layout", "compact")), 0.0)


def test_each_parameter_gets_the_best_choice_given_the_others() -> None:
    layouts = ["chat", "json"]
    search = ParameterSearch({"first.layout": layouts, "second.layout": layouts}).begin(problem())
    demand = search.demand()
    jobs = drive(search, scores(by_layout))
    assert search.best.values.get("first.layout") == "chat"
    assert search.best.values.get("second.layout") == "json"
    assert len(jobs) == 6
    assert len({j.assignment for j in jobs}) * 4 == demand.least == demand.most  # what is known costs nothing
    assert [c.note for c in search.history][:2] == ["first.layout = 'compact'", "first.layout = 'chat'"]
    one = ParameterSearch({"first.layout": layouts, "second.layout": layouts}).begin(problem())
    drive(one, scores(by_layout), n=1)
    assert one.best == search.best
    again = ParameterSearch({"second.layout": layouts, "first.layout": layouts}, rounds=3).begin(problem())
    drive(again, scores(by_layout))
    assert again.best == search.best
    kept = ParameterSearch({"first.layout": layouts}).begin(problem())
    drive(kept, scores(lambda a: 0.5))
    assert kept.best == Assignment()


def test_what_cannot_be_chosen_is_named() -> None:
    with pytest.raises(OptimizeError, match=r"no parameter `first\.layot` \(did you mean `first\.layout`\?\)"):
        ParameterSearch({"first.layot": ["chat"]}).begin(problem())
    with pytest.raises(OptimizeError, match=r"the choices of `first\.layout` are a list, not 'chat'"):
        ParameterSearch({"first.layout": "chat"}).begin(problem())
    with pytest.raises(OptimizeError, match="nothing to choose"):
        ParameterSearch().begin(problem())
    with pytest.raises(OptimizeError, match="no rows to score on"):
        ParameterSearch({"first.layout": ["chat"]}).begin(problem(select=0))
    assert isinstance(optimizer("parameters", {"choices": {"a": [1]}, "rounds": 2}), ParameterSearch)


CORPUS = [f"{word} is number {i}" for i, word in enumerate(["lamp", "river", "state", "light", "glass", "old"])]


def test_the_store_its_k_and_a_tuned_value_are_moved() -> None:
    facts = lampc.retriever("facts", k=1)
    tail = lampc.tune("tail", "", ["", " is"])
    look = lampc.Predict("passages: list[str], question -> answer")

    @lampc.program
    def main(question: str) -> Any:
        found = facts(question + tail)
        return {"found": found, "answer": look(passages=found, question=question).answer}

    unit = trace(main)
    assert {"facts.k", "facts.store", "tail", "look.layout"} <= set(parameters(unit.module))
    rows = [Row(str(i), {"question": "number"}, {"found": CORPUS[i]}) for i in range(4)]
    share = RowMetric("found", lambda row, out, trace: row.labels["found"] in out["found"], "found")
    search = ParameterSearch({"facts.store": ["whole", "short"], "facts.k": [2, 4, 6]})
    stores = {"facts": BM25(CORPUS[5:]), "whole": BM25(CORPUS), "short": BM25(CORPUS[:1])}
    with Session(model=FakeEngine(reply=lambda prompt: "answer: x"), retrievers=stores) as session:
        result = optimize(
            unit, session, steps=[search], train=[], select=rows, metric=share, program=unit.entry
        )  # fmt: skip
        best = result.assignment
        assert (best.get("facts.store"), best.get("facts.k")) == ("whole", 4)
        assert best.get("tail") is None
        outcomes = session.run(unit, rows, assignment=best)
    assert all(o.value is not None and o.value["found"] == CORPUS[:4] for o in outcomes)
