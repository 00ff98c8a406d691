"""A spent budget: nothing more is asked of a model, proposals included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from lampc.ir import STR, Field, Obj, Sampling, Signature
from lampc.passes.optimize import CallJob, Candidate, Demand, EvaluateJob, Job, Problem
from lampc.runtime.cells import Budget
from lampc.runtime.driver import optimize
from lampc.runtime.session import Session
from tests.runtime.tuning import DEV, Counting, answer, engine, options, unit

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
