"""A spent budget: nothing more is asked of a model, proposals included."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

import lampc
from lampc.ir import STR, Field, Obj, Sampling, Signature, Unit, parse_module
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import (
    CallJob,
    Candidate,
    Demand,
    EvaluateJob,
    InstructionSearch,
    Job,
    OptimizeError,
    Problem,
)
from lampc.runtime.budget import Budget
from lampc.runtime.driver import optimize
from lampc.runtime.lm import LM
from lampc.runtime.optimizers.base import improve
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.runtime.loopback import Loopback
from tests.runtime.tuning import DEV, MODULE, POOL, Counting, answer, engine, options, unit

SIGNATURE = Signature((Field("task", STR),), (Field("idea", STR),), "Propose an instruction.")


@dataclass(frozen=True)
class Both:
    """A strategy that asks for runs and for a proposal at once."""

    name: ClassVar[str] = "both"

    def begin(self, problem: Problem) -> Any:
        return _Both(problem)


class _Both:
    def __init__(self, problem: Problem) -> None:
        self.best, self.done, self.problem = problem.start, False, problem
        self.history: list[Candidate] = []
        self.told: list[Any] = []

    def ask(self, n: int) -> list[Job]:
        changed = self.problem.start.updated(**{"p.instruction": "Reverse it."})
        run = EvaluateJob(changed, self.problem.select_split, self.problem.select_rows())
        return [run, CallJob(SIGNATURE, Obj({"task": "x"}), Sampling(max_tokens=40))]

    def tell(self, job: Job, result: Any) -> None:
        self.told.append(result)
        self.done = len(self.told) == 2

    def demand(self) -> Demand:
        return Demand(calls=1)


def proposals(budget: Budget) -> tuple[int, str]:
    """How many proposals were asked for, and what stopped the run."""
    reply = Counting(lambda prompt: "idea: Think." if "Propose" in prompt else answer(prompt))
    with Session(model=engine(reply)) as session:
        result = optimize(unit(), session, **options(steps=[Both()], budget=budget))
    return sum("Propose" in p for p in reply.prompts), result.stopped


def test_no_proposal_is_asked_for_once_the_budget_is_spent() -> None:
    assert proposals(Budget()) == (1, "")
    assert proposals(Budget(runs=len(DEV) + 3)) == (0, "runs")


def test_money_is_bounded_by_the_prices_of_models(tmp_path: Path) -> None:
    def run(server: Loopback, money: float, store: Store, **lm: Any) -> Any:
        model = LM(server.url, price=(1e4, 1e5), **lm) if lm.pop("priced", True) else LM(server.url)
        with Session(model=model, store=store) as session:
            return optimize(
                unit(), session, **options(steps=[InstructionSearch(pool=POOL)], budget=Budget(money=money))
            )

    def reply(messages: Any) -> str:
        return answer("\n".join(str(m["content"]) for m in messages))

    with Loopback(reply) as server, Store(tmp_path / "store") as store:
        first = run(server, 0.5, store)
        assert first.stopped == "money"
        assert first.usage.cost >= 0.5  # what was under way is paid too
        asked = len(server.requests)
        whole = run(server, 1e6, store)
        assert not whole.stopped
        assert first.usage.cost < whole.usage.cost
        assert whole.usage.calls == len(DEV) * (1 + len(POOL))
        assert asked < len(server.requests) == whole.usage.calls  # what was under way was kept
        again = run(server, 1e6, store)
        assert (again.again, again.usage.cost) == (True, whole.usage.cost)
        with pytest.raises(OptimizeError, match=r"a budget of money needs prices, and no model \(main\) has one"):
            run(server, 1.0, store, priced=False)


def test_a_price_may_stand_in_the_program() -> None:
    module = 'prog.def_model @main() {source = "URL", options = {"price": [10000, 100000]}} : ()\n  prog.def_predictor'
    with Loopback(lambda messages: "label: x") as server:
        text = MODULE.replace("prog.def_predictor", module.replace("URL", server.url), 1).replace(
            "func @main", "func @f"
        )
        with Session() as session:
            program = Unit(parse_module(text), "f")
            result = optimize(program, session, **options(steps=[], budget=Budget(money=0.5)))
    assert result.stopped == "money"
    assert result.usage.cost >= 0.5


@pytest.mark.parametrize("limit", [Budget(tokens=900), Budget(calls=20)])
def test_a_resumed_run_ends_where_one_that_was_not_interrupted_ends(limit: Budget) -> None:
    """Calls that the store answers count like those that a model answered."""
    with Session(model=engine()) as session:
        whole = optimize(unit(), session, **options(budget=limit))
    store = Store(None)
    with Session(model=engine(), store=store) as session, contextlib.suppress(KeyboardInterrupt):
        optimize(unit(), Session(model=engine(Counting(fail_at=13)), store=store), **options(budget=limit))
    with Session(model=engine(), store=store) as session:
        again = optimize(unit(), session, **options(budget=limit))
    assert again.stopped == whole.stopped != ""
    assert (again.runs, again.usage.calls, again.usage.tokens) == (whole.runs, whole.usage.calls, whole.usage.tokens)
    assert again.fresh < whole.fresh


def test_what_judges_ask_counts_once() -> None:
    lampc.configure(lm=DummyLM(lambda messages: {"answer": "5"}))
    judge = lampc.Predict("question -> answer: int")

    def metric(example: Any, prediction: Any, trace: Any = None) -> float:
        return float(judge(question=f"how good is {prediction.answer}?").answer)

    rows = [lampc.Example(question=f"q{i}", answer="").with_inputs("question") for i in range(3)]
    search = [InstructionSearch(pool=("One.",)), InstructionSearch(pool=("One.",))]
    found = improve(lampc.Predict("question -> answer"), search, trainset=rows, valset=rows, metric=metric)
    set_default_runner(None)
    settings.reset()
    assert found.result.runs == 6
    assert found.result.usage.calls == 12


class Thrice(lampc.Module):
    """Three calls a row, in plain Python."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")
        self.opaque = object()

    def forward(self, question: str) -> Any:
        found = None
        for word in ("one", "two", "three"):
            try:
                found = self.ask(question=f"{question} {word}")
            except ZeroDivisionError:
                raise
        return found


@pytest.mark.parametrize("program", [lampc.Predict("question -> answer"), Thrice()])
@pytest.mark.parametrize("limit", [1, 10])
def test_a_model_that_is_code_is_asked_no_more_either(program: Any, limit: int) -> None:
    calls = []

    def model(messages: list[dict[str, str]]) -> str:
        calls.append(messages)
        return "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"

    rows = [lampc.Example(question=f"q{i}", answer="yes").with_inputs("question") for i in range(60)]
    with lampc.context(lm=LM("m", engine=model, cache=False)):
        found = improve(
            program,
            InstructionSearch(pool=["Be brief.", "Think."]),
            trainset=rows,
            valset=rows,
            metric=lambda example, prediction, trace=None: example.answer == prediction.answer,
            budget=Budget(calls=limit),
            num_threads=1,
        )
    assert found.result.stopped == "calls"
    assert len(calls) == found.result.usage.calls
    assert limit <= len(calls) <= limit + 1
