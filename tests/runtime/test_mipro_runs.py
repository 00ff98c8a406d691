"""MIPROv2 and COPRO run: from `.lmp` with a model of its own that writes, and in Python with what is written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.lmp import compile_lmp
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import COPRO, MIPROv2, OptimizeError, optimizer, optimizers
from lampc.runtime.driver import optimize, problem_of
from lampc.runtime.dryrun import dry_run
from lampc.runtime.metrics import build_metric
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session
from tests.python.both import Judged, answered, output, program, rows, state, task_model
from tests.runtime.loopback import Loopback, Messages
from tests.runtime.tuning import DEV, TRAIN, Counting, engine

SOURCE = """
model writer = endpoint("{url}", model: "loop");
signature Turn(text: str) -> (label: str) {{ "Do it." }}
module Main(text: str) -> (label: str) {{
  use p = Predict(Turn);
  let found = p(text: text);
  return (label: found.label);
}}
"""
BETTER = "Reverse the word, letter by letter."


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


def writes(messages: Messages) -> str:
    """Prose for whatever is asked for."""
    name = output(messages)
    texts = {"proposed_instruction": f'New instruction: "{BETTER}"', "summary": "Words, each with itself backwards."}
    return answered(**{name: texts.get(name, "It turns words around.")})


ZERO_SHOT = {"max_bootstrapped_demos": 0, "max_labeled_demos": 0}


@pytest.mark.parametrize(
    ("step", "calls"),
    [
        (("mipro", {"auto": "light", "prompt_model": "writer"}), 3 + 2 + 2),  # the data, what it is for, instructions
        (("mipro", {"prompt_model": "writer", **ZERO_SHOT}), 3 + 5 * 3),  # each is written from other demos
        (("copro", {"breadth": 3, "depth": 2, "prompt_model": "writer"}), 2 + 3),
    ],
)
def test_a_declared_model_writes_and_another_does_the_task(step: tuple[str, dict[str, Any]], calls: int) -> None:
    reply = Counting()
    with Loopback(writes) as server:
        unit = compile_lmp(SOURCE.format(url=server.url), "turn.lmp")
        with Session() as root:
            session = root.using(engine(reply))  # in the place of the main model alone
            result = optimize(
                unit, session, steps=optimizers([step]), train=TRAIN, select=DEV, metric=build_metric("exact_match")
            )
        asked = [m["messages"][-1]["content"] for m in server.requests]
    assert not any("Reverse the word" in p and "proposed_instruction" in p for p in reply.prompts)
    assert len(asked) == calls
    assert all("text: " not in a.splitlines()[0] for a in asked)
    assert result.score_before is not None
    assert result.score_after is not None
    assert result.score_after > result.score_before
    assert step[0] == "mipro" or BETTER in result.assignment.get("p.instruction")


@pytest.mark.parametrize("name", ["mipro", "copro"])
@pytest.mark.parametrize("options", [{"proposer": "templates"}, {"prompt_model": "writer"}])
def test_a_dry_run_needs_no_model(name: str, options: dict[str, Any]) -> None:
    unit = compile_lmp(SOURCE.format(url="http://127.0.0.1:9"), "turn.lmp")
    plan = dry_run(problem_of(unit, TRAIN, DEV), optimizers([(name, options)]))
    assert plan.wanted.least > len(DEV)


def test_in_python_instructions_come_from_a_pool_and_runs_leave_files(tmp_path: Path) -> None:
    judged = Judged()
    lampc.configure(lm=task_model(lampc))
    pool = [f"Follow variant {i}." for i in range(6)]
    optimizer = lampc.MIPROv2(metric=judged.metric(), pool=pool, log_dir=str(tmp_path), q=3)
    student = program(lampc, 2)
    plan = optimizer.dry_run(student, trainset=rows(lampc, 30))
    assert not judged.asked
    made: Any = optimizer.compile(student, trainset=rows(lampc, 30))
    assert plan.runs.most is not None
    assert len(made.trial_logs) == 1 + 20
    assert made.score == max(c["score"] for c in made.candidate_programs) > made.trial_logs[1]["full_eval_score"]
    assert {i for _, i, _ in state(made)} <= {*pool, *(i for _, i, _ in state(student))}
    paths = [log["full_eval_program_path"] for log in made.trial_logs.values()]
    read = program(lampc, 2)
    read.load(paths[-1])
    assert state(read) == state(made.trial_logs[21]["full_eval_program"])
    assert Path(paths[0]).name == "program_-1.json"
    assert state(student) == state(program(lampc, 2))


def test_a_proposer_may_be_an_object() -> None:
    judged = Judged()
    lampc.configure(lm=task_model(lampc))
    student = program(lampc, 1)
    student.say.signature = student.say.signature.with_instructions("Say it. Follow variant 2. Be glad.")
    made: Any = lampc.COPRO(
        metric=judged.metric(), breadth=4, depth=2, proposer=lampc.propose.Edits(("drop",))
    ).compile(student, trainset=rows(lampc, 12))
    tried = {c["instruction"] for c in made.candidate_programs}
    assert {"Follow variant 2. Be glad.", "Say it. Be glad.", "Say it. Follow variant 2."} < tried
    assert made.say.demos == []


def test_as_steps_of_a_declaration() -> None:
    big = lampc.LM("openai/big", api_base="http://127.0.0.1:9/v1")
    lampc.configure(lm=task_model(lampc))
    made = lampc.MIPROv2(metric=lambda e, p: 1.0, auto="heavy", prompt_model=big, max_labeled_demos=0, pool=["A."])
    assert optimizer(*made.step()) == MIPROv2(
        auto="heavy", prompt_model=big.model, max_labeled_demos=0, pool=["A."], proposer=""
    )
    counts = lampc.MIPROv2(metric=lambda e, p: 1.0, auto=None, num_candidates=5)
    assert optimizer(*counts.step()) == MIPROv2(auto=None, num_candidates=5)
    assert optimizer(*lampc.COPRO(breadth=4, proposer="edits").step()) == COPRO(breadth=4, proposer="edits")


def test_dspys_rules_for_arguments() -> None:
    with pytest.raises(ValueError, match="give prompt_model and task_model"):
        lampc.MIPROv2(metric=lambda e, p: 1.0)
    lampc.configure(lm=task_model(lampc))
    with pytest.raises(ValueError, match="auto is light, medium, heavy or None"):
        lampc.MIPROv2(metric=lambda e, p: 1.0, auto="huge")  # type: ignore[arg-type]
    optimizer = lampc.MIPROv2(metric=lambda e, p: 1.0)
    for given, message in (
        ({"trainset": []}, "the trainset is empty"),
        ({"trainset": rows(lampc, 1)}, "needs two rows"),
        ({"trainset": rows(lampc, 3), "valset": []}, "the valset is empty"),
        ({"trainset": rows(lampc, 3), "requires_permission_to_run": True}, "was removed"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.compile(program(lampc, 1), **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="breadth must be greater than 1"):
        lampc.COPRO(metric=lambda e, p: 1.0, breadth=1)


def test_wrong_arguments_are_value_errors_or_type_errors() -> None:
    lampc.configure(lm=DummyLM([{"answer": "a"}] * 9))
    assert lampc.OptimizeError is OptimizeError
    assert issubclass(OptimizeError, ValueError)
    student, data = lampc.Predict("question -> answer"), rows(lampc, 4)
    with pytest.raises(ValueError, match="auto"):
        lampc.MIPROv2(metric=lambda e, p: 1.0, auto="light", num_candidates=3).compile(student, trainset=data)
    optimizer = lampc.COPRO(metric=lambda e, p: 1.0, proposer="edits", verbose=True)
    with pytest.raises(TypeError, match="Evaluate has no option `nthreads`"):
        optimizer.compile(student, trainset=data, eval_kwargs={"nthreads": 2})
    with pytest.raises(TypeError, match="COPRO has no argument `bredth`; did you mean `breadth`"):
        lampc.COPRO(metric=lambda e, p: 1.0, bredth=2)
