"""`lampc.GEPA`, `lampc.SIMBA`, `InstructionProposer`: arguments, what is kept, and that no big model is needed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import OptimizeError
from lampc.runtime.optimized import Interrupted
from lampc.teleprompt.gepa import InstructionProposer
from lampc.teleprompt.gepa.gepa_utils import ScoreWithFeedback

ROWS = [lampc.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(8)]
WORDS = ("Mirror", "each", "letter", "kindly")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


class Task(lampc.BaseLM):
    """Right on one row of five more for every word of `WORDS` that it is told, and for a demo."""

    def __init__(self) -> None:
        super().__init__("task", cache=True)
        self.asked = 0

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked += 1
        question = messages[-1]["content"].split("[[ ## question ## ]]\n")[1].split("\n")[0]
        told = sum(w in messages[0]["content"] for w in WORDS) + (len(messages) > 2)
        right = int(question[1:]) % 5 < told
        thought = "[[ ## reasoning ## ]]\nHm.\n\n" * ("reasoning" in messages[0]["content"])
        answer = question.replace("q", "a") if right else "no"
        return f"{thought}[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"


class Writer(lampc.BaseLM):
    """Adds the next word that is missing."""

    def __init__(self) -> None:
        super().__init__("writer", cache=True, temperature=0.7)
        self.prompts: list[str] = []

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        assert kwargs.get("temperature", self.kwargs["temperature"]) == 0.7  # as it is set
        self.prompts.append("\n".join(m["content"] for m in messages))
        now = messages[-1]["content"].split("[[ ## current_instruction ## ]]\n")[1].split("\n\n[[ ## ")[0]
        new = f"{now} {next(w for w in (*WORDS, 'So.') if w not in now)}"
        if "JSON object" in messages[-1]["content"]:
            return json.dumps({"new_instruction": new})
        return f"[[ ## new_instruction ## ]]\n{new}\n\n[[ ## completed ## ]]"


class Asks(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.ask(question=question)


class Guards(Asks):
    def forward(self, question: str) -> Any:
        try:
            return self.ask(question=question)
        except ZeroDivisionError:
            return None


def judge(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    score = float(gold.answer == pred.answer)
    return ScoreWithFeedback(score=score, feedback=f"It is {gold.answer}.") if pred_name else score


def exact(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(example.answer == prediction.answer)


@pytest.mark.parametrize("name", ["GEPA", "SIMBA"])
def test_arguments_and_defaults_are_dspys(name: str) -> None:
    def given(d: Any) -> dict[str, Any]:
        found = inspect.signature(getattr(d, name).__init__).parameters
        return {n: (p.kind, p.default) for n, p in found.items()}

    ours, theirs = given(lampc), given(dspy)
    assert {n: ours[n] for n in theirs} == theirs
    assert set(ours) - set(theirs) <= {"rules"}
    assert list(inspect.signature(getattr(lampc, name).compile).parameters) == list(
        inspect.signature(getattr(dspy, name).compile).parameters
    )


@pytest.mark.parametrize("kind", [Asks, Guards], ids=["traced", "dynamic"])
def test_gepa_climbs_by_remarks_and_would_do_so_again(kind: type[Asks], tmp_path: Path) -> None:
    writer = Writer()
    lampc.configure(lm=Task(), adapter=lampc.ChatAdapter())
    student = kind()
    optimizer = lampc.GEPA(
        metric=judge, max_metric_calls=120, reflection_lm=writer, track_stats=True, track_best_outputs=True,
        log_dir=str(tmp_path),
    )  # fmt: skip
    made = optimizer.compile(student, trainset=ROWS[:4], valset=ROWS[4:])
    assert student.ask.signature.instructions == Asks().ask.signature.instructions
    assert all(word in made.ask.signature.instructions for word in WORDS[:3])
    found = made.detailed_results
    assert found.best_candidate.ask.signature.instructions == made.ask.signature.instructions
    assert found.val_aggregate_scores[found.best_idx] == max(found.val_aggregate_scores)
    assert found.best_outputs_valset[1][-1][1].answer == "a5"
    assert (tmp_path / "run.json").exists()
    assert "It is a" in writer.prompts[0]
    again = optimizer.compile(student, trainset=ROWS[:4], valset=ROWS[4:])
    assert again.detailed_results.to_dict() == found.to_dict()


@pytest.mark.parametrize("proposer", ["pool", "edits", "templates"])
def test_gepa_needs_no_model_that_writes(proposer: str) -> None:
    lampc.configure(lm=Task(), adapter=lampc.ChatAdapter())
    student = Asks()
    student.ask.signature = student.ask.signature.with_instructions("Answer. Mirror each letter. Be brief.")
    pool = {} if proposer == "edits" else {"pool": ["Mirror each letter kindly.", "{instruction} So, kindly."]}
    optimizer = lampc.GEPA(
        metric=judge, max_metric_calls=60, instruction_proposer=proposer, track_stats=True, gepa_kwargs=pool
    )
    made: Any = optimizer.compile(student, trainset=ROWS)
    assert made.detailed_results.total_metric_calls > 8
    assert ("kindly" in made.ask.signature.instructions) == (proposer != "edits")


def test_code_that_proposes_asks_the_reflection_model_and_knows_dspys_names() -> None:
    writer, seen = Writer(), list[Any]()
    lampc.configure(lm=Task(), adapter=lampc.ChatAdapter())

    def propose(candidate: dict[str, str], reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        seen.append((list(candidate), list(reflective_dataset), components_to_update))
        ask = lampc.Predict("current_instruction -> new_instruction")
        return {n: ask(current_instruction=candidate[n]).new_instruction for n in components_to_update}

    def select(state: Any, trajectories: Any, scores: Any, place: int, candidate: dict[str, str]) -> list[str]:
        return list(candidate)

    student = lampc.ChainOfThought("question -> answer")
    optimizer = lampc.GEPA(
        metric=judge, max_metric_calls=60, reflection_lm=writer, instruction_proposer=propose, component_selector=select
    )
    made: Any = optimizer.compile(student, trainset=ROWS)
    name = next(n for n, _ in student.named_predictors())
    assert seen[0] == ([name], [name], [name])
    assert len(writer.prompts) == len(seen)
    assert made.predict.signature.instructions != student.predict.signature.instructions


def test_code_that_proposes_is_not_asked_again_by_a_run_that_goes_on_nor_by_a_plan(tmp_path: Path) -> None:
    lampc.configure(lm=Task(), adapter=lampc.ChatAdapter())
    calls: list[int] = []

    def propose(candidate: dict[str, str], reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        if len(calls) == 3 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        calls.append(1)
        missing = [w for w in (*WORDS, "So.") if w not in candidate["ask"]]
        return {"ask": f"{candidate['ask']} {missing[0]}"}

    def optimizer(folder: Path) -> lampc.GEPA:
        return lampc.GEPA(
            metric=judge, max_metric_calls=100, instruction_proposer=propose, log_dir=str(folder), track_stats=True
        )

    plan = optimizer(tmp_path / "a").dry_run(Asks(), trainset=ROWS)
    assert calls == []
    assert plan.wanted.most is not None
    with pytest.raises(Interrupted):
        optimizer(tmp_path / "a").compile(Asks(), trainset=ROWS)
    assert len(calls) == 3
    (tmp_path / "again").touch()
    made: Any = optimizer(tmp_path / "a").compile(Asks(), trainset=ROWS)
    whole = len(calls)
    other: Any = optimizer(tmp_path / "b").compile(Asks(), trainset=ROWS)
    assert made.detailed_results.to_dict() | {"log_dir": ""} == other.detailed_results.to_dict() | {"log_dir": ""}
    assert len(calls) == 2 * whole
    assert made.detailed_results.total_metric_calls <= plan.wanted.most


def test_what_the_reflection_model_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "mirrors"
    folder.mkdir()
    (folder / "SKILL.md").write_text("A mirror shows it the other way round.")
    writer = Writer()
    lampc.configure(lm=Task(), adapter=lampc.ChatAdapter())
    proposer = InstructionProposer(
        skills=[folder, "Letters:\na to z."], additional_instructions="Write plainly.", base_instructions="Do better.",
        max_chars=4000, adapter=lampc.ChatAdapter(),
    )  # fmt: skip
    lampc.GEPA(metric=judge, max_metric_calls=20, reflection_lm=writer, instruction_proposer=proposer).compile(
        Asks(), trainset=ROWS
    )
    for told in ("the other way round", "a to z.", "Write plainly.", "Do better.", "at most 4000 characters"):
        assert told in writer.prompts[0]


def test_code_may_propose_by_means_of_the_usual_proposer() -> None:
    writer, usual = Writer(), InstructionProposer()
    lampc.configure(lm=Task(), adapter=lampc.ChatAdapter())

    def propose(**given: Any) -> dict[str, str]:
        return {name: f"{text} Please." for name, text in usual(**given).items()}

    made: Any = lampc.GEPA(
        metric=judge, max_metric_calls=60, reflection_lm=writer, instruction_proposer=propose
    ).compile(Asks(), trainset=ROWS)
    assert made.ask.signature.instructions.endswith("Please.")
    assert "remark:\nIt is a" in writer.prompts[0]
    assert usual(candidate={"a": "x"}, reflective_dataset={}, components_to_update=["a"]) == {}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"skills": ""}, ValueError, "is empty"),
        ({"skills": "./nothing/here"}, FileNotFoundError, "there is no file"),
        ({"skills": "notes.md"}, FileNotFoundError, "there is no file"),
        ({"max_chars": 0}, ValueError, "max_chars is a number above 0"),
        ({"max_chars": True}, ValueError, "max_chars is a number above 0"),
        ({"truncate_history_outputs": True}, ValueError, "not supported"),
        ({"adapter": 3}, TypeError, "adapter is an adapter or the name of one"),
    ],
)
def test_proposers_that_make_no_sense(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        InstructionProposer(**given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"metric": lambda gold, pred: 1.0}, TypeError, "five arguments"),
        ({}, ValueError, "exactly one of max_metric_calls, max_full_evals, auto"),
        ({"auto": "light", "max_full_evals": 2}, ValueError, "exactly one of"),
        ({"auto": "tiny"}, ValueError, "auto is one of light, medium, heavy"),
        ({"auto": "light", "instruction_proposer": None}, ValueError, "give a `reflection_lm`"),
        ({"auto": "light", "use_wandb": True}, ValueError, "lampc report"),
        ({"auto": "light", "code_proposer": print}, ValueError, "Flex"),
        ({"auto": "light", "track_best_outputs": True}, ValueError, "track_stats"),
        ({"auto": "light", "gepa_kwargs": {"frontier_type": "hybrid"}}, ValueError, "frontier_type='hybrid' is not"),
        (
            {"auto": "light", "gepa_kwargs": {"callbacks": []}},
            ValueError,
            "'callbacks' is not supported; supported are",
        ),
    ],
)
def test_gepas_that_make_no_sense(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lampc.GEPA(**{"metric": judge, "instruction_proposer": "edits", **given})


def test_compiling_with_what_it_cannot_use() -> None:
    lampc.configure(lm=Task())
    optimizer = lampc.GEPA(metric=judge, auto="light", instruction_proposer="edits")
    with pytest.raises(ValueError, match="the trainset is empty"):
        optimizer.compile(Asks(), trainset=[])
    with pytest.raises(ValueError, match="asks no teacher"):
        optimizer.compile(Asks(), trainset=ROWS, teacher=Asks())
    with pytest.raises(OptimizeError, match="has 8 rows, which makes no minibatch of 32"):
        lampc.SIMBA(metric=exact).compile(Asks(), trainset=ROWS)
    with pytest.raises(ValueError, match="'temperature' is not supported"):
        lampc.SIMBA(metric=exact, teacher_settings={"temperature": 1}).compile(Asks(), trainset=ROWS)


@pytest.mark.parametrize("kind", [Asks, Guards], ids=["traced", "dynamic"])
def test_simba_with_demos_only(kind: type[Asks]) -> None:
    lampc.configure(lm=(task := Task()), adapter=lampc.ChatAdapter())
    student = kind()
    student.ask.signature = student.ask.signature.with_instructions("Mirror")
    optimizer = lampc.SIMBA(metric=exact, bsize=4, num_candidates=3, max_steps=2, rules=False)
    plan = optimizer.dry_run(student, trainset=ROWS)
    assert task.asked == 0
    made: Any = optimizer.compile(student, trainset=ROWS)
    assert made.ask.demos
    assert all(d.augmented for d in made.ask.demos)
    assert student.ask.demos == []
    scores = [c["score"] for c in made.candidate_programs]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    assert set(made.trial_logs) == {0, 1}
    assert plan.runs.least <= plan.runs.most


def test_they_are_steps_of_a_declaration() -> None:
    name, options = lampc.GEPA(metric=judge, max_metric_calls=50, reflection_lm=Writer()).step()
    assert (name, options["max_metric_calls"], options["reflection_model"]) == ("gepa", 50, "writer")
    name, options = lampc.SIMBA(metric=exact, bsize=4, teacher_settings={"lm": Task()}).step()
    assert (name, options["bsize"], options["teacher_model"]) == ("simba", 4, "task")
