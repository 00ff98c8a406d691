"""GEPA and DSPy's on scripted models: the same candidates, parents, minibatches, scores and winner."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import dspy
import pytest
from gepa.strategies.proposal_sampling import IndependentSampling, PxNSampling, SameParentSampling
from gepa.strategies.proposal_selection import BestImprovement, TopKImprovements

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from tests.python.both import answered, chance, reply

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    loggers = [logging.getLogger(n) for n in ("dspy", "gepa")]
    levels = [x.level for x in loggers]
    for x in loggers:
        x.setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
    for x, level in zip(loggers, levels, strict=True):
        x.setLevel(level)
    set_default_runner(None)
    settings.reset()


def task_model(d: Any, seed: int, unread: float = 0.0) -> Any:
    """Right or not by a hash of instruction and input, more often the longer the instruction; with probability `unread`
    it writes what cannot be read."""

    class Task(d.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            told = messages[0]["content"].split("your objective is:", 1)[1].strip()
            asked = messages[-1]["content"].split("Respond with")[0]
            fields = re.findall(r"\[\[ ## (\w+) ## \]\]", messages[-1]["content"].split("Respond with")[1])[:-1]
            word = re.findall(r"\[\[ ## word ## \]\]\n(\w+)", asked)[0]
            if chance("unread", seed, told, asked) < unread:
                return reply(self.model, "I would rather not.")
            right = chance(seed, told, asked) < 0.2 + 0.08 * min(8, told.count("step"))
            return reply(self.model, answered(**dict.fromkeys(fields, word if right else "?")))

    return Task("task", cache=False)


def reflection_model(d: Any) -> Any:
    """Real prose, as a function of what is to be improved and of a count; written as the prompt wants it."""

    class Reflection(d.BaseLM):  # type: ignore[misc]
        seen: list[str]

        def copy(self, **kwargs: Any) -> Any:
            return self

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            said = messages[-1]["content"]
            now = said.split("[[ ## current_instruction ## ]]\n", 1)[1].split("\n\n[[ ## ", 1)[0]
            self.seen.append(said)
            text = f"{now} Take step {len(self.seen)} with care, and name it."
            if "JSON object" in said:
                return reply(self.model, json.dumps({"new_instruction": text}))
            return reply(self.model, answered(new_instruction=text))

    made = Reflection("reflection", cache=False)
    made.seen = []
    return made


def proposer() -> Any:
    """Code of DSPy's form that writes prose by what the component was told and a count; `seen` is what it was shown."""

    def propose(candidate: Any, reflective_dataset: Any, components_to_update: Any) -> dict[str, str]:
        propose.seen.append((dict(candidate), reflective_dataset, list(components_to_update)))  # type: ignore[attr-defined]
        n = len(propose.seen)  # type: ignore[attr-defined]
        return {name: f"{candidate[name]} Take step {n} with care." for name in components_to_update}

    propose.seen = []  # type: ignore[attr-defined]
    return propose


def program(d: Any, predictors: int) -> Any:
    class One(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.say = d.Predict("word -> answer")

        def forward(self, word: str) -> Any:
            return self.say(word=word)

    class Two(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hear = d.Predict("word -> sound, tone")  # what names none of two fields cannot be read
            self.say = d.Predict("word, sound -> answer, tone")

        def forward(self, word: str) -> Any:
            return self.say(word=word, sound=self.hear(word=word).sound)

    return One() if predictors == 1 else Two()


def rows(d: Any, n: int, first: int = 0) -> list[Any]:
    return [d.Example(word=f"w{i}", answer=f"w{i}").with_inputs("word") for i in range(first, first + n)]


def judge(d: Any) -> Any:
    """A score, with a remark on a predictor if asked about one; `asked` are all questions in order."""

    def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        score = float(gold.answer == pred.answer)
        if pred_name is None:
            metric.asked.append((gold.word, pred.answer, trace is None))  # type: ignore[attr-defined]
            return score
        ((_, given, made),) = pred_trace
        shown = f"{sorted(given.items())} gave {sorted(made.items())} in {len(trace)} calls"
        return d.Prediction(score=score, feedback=f"{pred_name}: {shown}; wanted {gold.answer}.")

    metric.asked = []  # type: ignore[attr-defined]
    return metric


def compiled(d: Any, predictors: int, seed: int, unread: float = 0.0, valset: bool = True, **options: Any) -> Any:
    """The tuned program, the metric and who wrote."""
    metric = judge(d)
    writer = options.setdefault("instruction_proposer", proposer() if "reflection_lm" not in options else None)
    if options.get("reflection_lm") == "scripted":
        writer = options["reflection_lm"] = reflection_model(d)
    options.setdefault("max_metric_calls", 160)
    optimizer = d.GEPA(metric=metric, track_stats=True, seed=seed, num_threads=1, **options)
    lm = task_model(d, seed, unread)
    val = {"valset": rows(d, 7, 50)} if valset else {}
    if d is lampc:
        lampc.configure(lm=lm, adapter=lampc.ChatAdapter(use_json_adapter_fallback=False))
        return optimizer.compile(program(d, predictors), trainset=rows(d, 10), **val), metric, writer
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    with dspy.context(lm=lm, num_threads=1, disable_history=True, adapter=adapter):
        return optimizer.compile(program(d, predictors), trainset=rows(d, 10), **val), metric, writer


def same(predictors: int, seed: int, **options: Any) -> tuple[Any, Any, Any]:
    """Both, held against each other; ours."""
    (ours, asked, wrote), (theirs, ask, write) = (compiled(d, predictors, seed, **options) for d in (lampc, dspy))
    one, other = ours.detailed_results.to_dict(), theirs.detailed_results.to_dict()
    for found in (one, other):
        found["per_val_instance_best_candidates"] = {
            k: sorted(v) for k, v in found["per_val_instance_best_candidates"].items()
        }
        found["best_outputs_valset"] = {
            k: [(i, dict(p.items())) for i, p in v] for k, v in (found["best_outputs_valset"] or {}).items()
        }
    assert one == other
    assert {n: p.signature.instructions for n, p in ours.named_predictors()} == {
        n: p.signature.instructions for n, p in theirs.named_predictors()
    }
    assert ours.detailed_results.best_idx == theirs.detailed_results.best_idx
    assert (
        ours.detailed_results.highest_score_achieved_per_val_task
        == theirs.detailed_results.highest_score_achieved_per_val_task
    )
    assert len(wrote.seen) == len(write.seen)
    if not isinstance(wrote, lampc.BaseLM):
        assert wrote.seen == write.seen  # what proposers are shown, too
    return ours, asked, ask


@pytest.mark.parametrize(("merge", "predictors"), [(True, 2), (False, 1)])
def test_the_search_is_dspys(merge: bool, predictors: int) -> None:
    ours, asked, ask = same(predictors, 0, use_merge=merge)
    assert len(ours.detailed_results.candidates) > 2
    assert set(asked.asked) == set(ask.asked)


@pytest.mark.parametrize("unread", [0.0, 0.15])
def test_with_a_model_that_reflects_and_answers_that_cannot_be_read(unread: float) -> None:
    ours, *_ = same(2, 4, reflection_lm="scripted", unread=unread)
    assert len(ours.detailed_results.candidates) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"component_selector": "all", "track_best_outputs": True},
        {"gepa_kwargs": {"sampling_strategy": PxNSampling(2, 2), "selection_strategy": TopKImprovements(2)}},
    ],
    ids="-".join,
)
def test_with_options(options: dict[str, Any]) -> None:
    same(2, 1, **options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(
    "options",
    [
        {}, {"reflection_minibatch_size": 4}, {"candidate_selection_strategy": "current_best"}, {"perfect_score": 2.0},
        {"skip_perfect_score": False}, {"valset": False}, {"auto": "light", "max_metric_calls": None},
        {"max_full_evals": 9, "max_metric_calls": None}, {"max_merge_invocations": 1}, {"unread": 0.1},
        {"failure_score": -0.5, "unread": 0.1, "use_merge": False},
        {"component_selector": lambda state, trajectories, scores, place, candidate: ["say"]},
        {"gepa_kwargs": {"sampling_strategy": IndependentSampling(3)}},
        {"gepa_kwargs": {"sampling_strategy": SameParentSampling(2)}},
        {"gepa_kwargs": {"sampling_strategy": IndependentSampling(4), "selection_strategy": BestImprovement()}},
        {"gepa_kwargs": {"acceptance_criterion": "improvement_or_equal"}},
        {"gepa_kwargs": {"merge_val_overlap_floor": 8}},
    ],
    ids="-".join,
)  # fmt: skip
def test_with_more_options(options: dict[str, Any], seed: int) -> None:
    same(2, seed, **options)


def test_calls_that_cannot_be_read_are_shown_if_they_count() -> None:
    """The search is theirs; of such a call the predictor's own inputs are shown, there those of the program."""
    found = [compiled(d, 2, 4, 0.15, add_format_failure_as_feedback=True) for d in (lampc, dspy)]
    (ours, _, wrote), (theirs, _, write) = found
    assert ours.detailed_results.to_dict() == theirs.detailed_results.to_dict()
    lost = 0
    for (_, own, names), (_, other, asked) in zip(wrote.seen, write.seen, strict=True):
        assert names == asked
        for record, twin in zip(own[names[0]], other[names[0]], strict=True):
            if isinstance(twin["Generated Outputs"], str):
                lost += 1
                assert record["Generated Outputs"] == "I would rather not."
                assert record["Generated Outputs"] in twin["Generated Outputs"]
                assert record["Inputs"]["word"] == twin["Inputs"]["word"]
                assert "could not be read" in record["Feedback"]
            else:
                assert record == twin
    assert lost > 3
