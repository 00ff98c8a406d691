"""What a dry run says of every registered optimizer, held against what really is asked for."""

from __future__ import annotations

from typing import Any

import pytest

import lampc
from lampc.ir import STR, Field, Obj, Signature
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import (
    OPTIMIZERS,
    BootstrapFewShot,
    CallJob,
    Demand,
    EmbedJob,
    FeedbackJob,
    InstructionSearch,
    LabeledFewShot,
    OptimizeError,
    RunJob,
    Strategy,
    TrainJob,
)
from lampc.runtime.driver import problem_of
from lampc.runtime.dryrun import DryRun, dry_run
from lampc.runtime.metrics import build_metric
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.perform import Program
from lampc.runtime.session import Session
from lampc.runtime.structure import Range
from tests.optimize.behaviour import BehaviourLM, Planted
from tests.optimize.registered import names, run, strategy

IDEA = Signature((Field("task", STR),), (Field("idea", STR),), "Propose.")
FIXED = {"copro", "instructions", "labeled", "parameters", "random"}
"""Optimizers that ask for as many runs whatever comes of them."""
SAME = FIXED - {"copro"}
"""Those that ask for the same runs."""


def planned(task: Planted, *steps: Strategy) -> DryRun:
    problem = problem_of(task.unit, task.train, task.dev, task.unit.entry)
    model = BehaviourLM(task)
    with Session(model=model) as session:
        student = Program(task.unit, session, build_metric("exact_match"), problem.entry)
        plan = dry_run(problem, steps, student=student, splits={"train": task.train, "dev": task.dev})
    assert model.calls == []
    return plan


def held(plan: DryRun, result: OptimizeResult) -> None:
    """A plan against the run."""
    assert result.wanted in plan.wanted
    assert result.proposals in plan.proposals
    assert result.usage.calls <= (plan.calls.most or 0)
    assert plan.runs.most is not None
    assert result.runs <= plan.runs.most
    steps: dict[str, int] = {}
    for t in result.trials:
        steps[t.step] = steps.get(t.step, 0) + t.wanted
    if len(plan.steps) == 2:
        assert all(steps.get(name, 0) in demanded for name, demanded in plan.steps)


@pytest.mark.parametrize("name", names())
def test_the_demand_of_every_optimizer_is_known_beforehand(name: str) -> None:
    task = Planted(1)
    chosen = strategy(name, task)
    plan, result = planned(task, chosen), run(task, chosen).result
    held(plan, result)
    assert plan.wanted.exact or name not in FIXED
    if plan.wanted.exact:
        assert plan.wanted.most == result.wanted
    if name in SAME:
        assert plan.runs.exact
        assert plan.runs.most == plan.expected_runs == result.runs
        assert plan.expected_calls == result.usage.calls
    assert 0.4 <= plan.expected_runs / result.runs <= 2.5  # what proposers repeat nobody knows


@pytest.mark.parametrize("name", sorted({"instructions", "mipro"} & set(OPTIMIZERS)))
def test_two_predictors_share_what_is_upstream(name: str) -> None:
    task = Planted(2, predictors=2)
    chosen = strategy(name, task)
    plan, result = planned(task, chosen), run(task, chosen).result
    held(plan, result)
    assert plan.expected_calls is not None
    computed = result.usage.calls - result.usage.stored_calls
    assert plan.expected_calls < 2 * plan.expected_runs
    assert 0.5 <= plan.expected_calls / computed <= 2.0


def test_tokens_are_those_of_the_run_where_prompts_are_known() -> None:
    """Instructions out of a pool: nothing in the prompts hangs on an answer."""
    from tests.runtime import tuning

    steps = [InstructionSearch(pool=tuning.POOL)]
    with Session(model=tuning.engine()) as session:
        problem = problem_of(tuning.unit(), tuning.TRAIN, tuning.DEV)
        splits = {"train": tuning.TRAIN, "dev": tuning.DEV}
        student = Program(tuning.unit(), session, tuning.metric(), problem.entry)
        plan = dry_run(problem, steps, student=student, splits=splits)
        assert session.usage.calls == 0
        result = tuning.optimized(session, steps)
    assert plan.tokens is not None
    used = result.usage
    assert plan.tokens.prompt == pytest.approx(used.prompt_tokens, rel=0.05)
    assert plan.tokens.distinct <= plan.tokens.prompt
    assert plan.tokens.distinct == pytest.approx(used.computed_tokens, rel=0.5)
    assert "tokens in prompts" in str(plan)


def test_money_is_told_where_models_have_prices() -> None:
    task = Planted(1)
    model = BehaviourLM(task)
    model.kwargs["price"] = (1e6, 0.0)
    with Session(model=model) as session:
        problem = problem_of(task.unit, task.train, task.dev, task.unit.entry)
        student = Program(task.unit, session, build_metric("exact_match"), problem.entry)
        plan = dry_run(problem, [LabeledFewShot(k=2)], student=student, splits={"train": task.train, "dev": task.dev})
    assert plan.tokens is not None
    assert plan.tokens.cost == pytest.approx(plan.tokens.prompt, rel=0.02)
    assert "cost " in str(plan)


class Asks(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        try:
            return self.ask(question=question)
        except ZeroDivisionError:
            return None


ROWS = [lampc.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(6)]


def test_a_program_of_plain_python_has_runs_and_no_tokens() -> None:
    lampc.configure(model="firefly")
    plan = lampc.BootstrapFewShot(max_bootstrapped_demos=2).dry_run(Asks(), trainset=ROWS)
    assert (plan.wanted.least, plan.wanted.most, plan.tokens) == (2, 6, None)
    assert str(plan).endswith("tokens are not known: the program is plain Python")
    taught = lampc.BootstrapFewShot(teacher_settings={"lm": lampc.LM("firefly", temperature=0.7)})
    plan = taught.dry_run(lampc.Predict("question -> answer"), trainset=ROWS)
    assert (plan.wanted.least, plan.wanted.most) == (4, 6)
    assert plan.tokens is not None
    assert plan.tokens.prompt > 100


class Odd:
    """Asks for one job of each of the rarer kinds."""

    name = "odd"

    def begin(self, problem: Any) -> Any:
        run = RunJob(problem.start, "train", 0)
        jobs = [run, FeedbackJob(run, "place", 0), EmbedJob(("a", "b")), TrainJob(problem.start, "main", ())]
        call = CallJob(IDEA, Obj({"task": "x"}), model="main")

        class Once:
            best, history, told = problem.start, (), 0

            @property
            def done(self) -> bool:
                return self.told == 6

            def ask(self, n: int) -> list[Any]:
                return [*jobs, call, call]

            def tell(self, job: Any, result: Any) -> None:
                assert type(result).__name__ == type(job).__name__.replace("Job", "Result")
                self.told += 1

            def demand(self) -> Demand:
                return Demand(2, 2, 2)

        return Once()


def test_jobs_of_every_kind_are_counted() -> None:
    task = Planted(1)
    plan = planned(task, Odd())  # type: ignore[arg-type]
    assert dict(plan.steps)["odd"] == Range(2 + len(task.dev), 2 + len(task.dev))
    assert (plan.proposals, plan.texts, plan.trainings) == (Range(2, 2), Range(2, 2), Range(1, 1))
    assert plan.expected_calls == len(task.dev) + 1 + 1  # equal proposals are one, and so is the run
    assert "and 2 proposals: " in str(plan)
    assert "besides: 2 texts to embed, 1 trainings" in str(plan)


def test_what_cannot_begin_says_so() -> None:
    task = Planted(1)
    with pytest.raises(OptimizeError, match="`max_rounds` is 0"):
        planned(task, BootstrapFewShot(max_rounds=0))


@pytest.fixture(autouse=True)
def fresh() -> Any:
    yield
    set_default_runner(None)
    settings.reset()
