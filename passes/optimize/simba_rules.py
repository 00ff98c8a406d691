"""SIMBA's rules: a model compares a run that went well with one that went badly, and advises each predictor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.ir import STR, Field, MapOf, Obj, Sampling, Signature, thaw
from lampc.passes.optimize.jobs import CallJob, CallResult, RunResult
from lampc.passes.optimize.proposers.program_text import program_text
from lampc.passes.optimize.protocol import Problem

_GUIDE = """A program makes several calls of a language model to do a task. You are given the program, one input, what \
the input's labels are, and two runs of the program on it, one that scored better than the other. One of the two may \
be missing.
Find out what made the difference, and advise the predictors of the program, so that they do better on inputs like \
this one. A predictor sees only its own instruction, to which your advice is added, and no run.
- Advise a predictor on its own part of the task alone, as a rule: if it gets inputs of such a kind, it should do such \
a thing, and not such another.
- Be concrete enough that following the rule changes what it answers, and general enough for other inputs.
- Leave out what everybody knows. Give no predictor more than one piece of advice."""

ADVISE = Signature(
    (
        Field("program", STR, "its predictors, and what it does with them"),
        Field("predictors", STR, "the names of those to advise"),
        Field("program_input", STR),
        Field("labels", STR, "what is known of the right answer; the program does not see it"),
        Field("worse_run", STR, "the calls of the run that scored lower, what came out, its score, and remarks on it"),
        Field("better_run", STR, "the same of the run that scored higher"),
    ),
    (
        Field("discussion", STR, "which predictors did what wrong, or right"),
        Field("module_advice", MapOf(STR), "the advice for each predictor, by its name"),
    ),
    _GUIDE,
    "advise",
)
MISSING = "not available"


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two runs of a row to be told apart; one of them may be missing."""

    row: int
    better: RunResult | None
    worse: RunResult | None

    def call(self, problem: Problem, predictors: Sequence[str], model: str, number: int) -> CallJob:
        """What the model is asked."""
        example = problem.train[self.row]
        values = {
            "program": program_text(problem),
            "predictors": ", ".join(predictors),
            "program_input": _json(example.inputs),
            "labels": _json(example.labels),
            "worse_run": _told(self.worse),
            "better_run": _told(self.better),
        }
        return CallJob(ADVISE, Obj({f.name: values[f.name] for f in ADVISE.inputs}), Sampling(), model, "chat", number)


def contrast(row: int, bucket: Sequence[RunResult], low: float, high: float) -> Contrast | None:
    """The best and the worst run of a row, unless they tell nothing: the best is no better than most of all runs are
    bad (`low`, their tenth percentile), or the worst as good as the best of them (`high`, their ninetieth)."""
    good, bad = bucket[0], bucket[-1]
    if good.score <= low or bad.score >= high:
        return None
    if good.score > bad.score:
        return Contrast(row, good, bad)
    return Contrast(row, good, None) if good.score > high else Contrast(row, None, bad)


def advice(answer: CallResult) -> Mapping[str, str] | None:
    """Advice by predictor; None if the model gave no readable answer."""
    found = thaw(answer.outputs.get("module_advice")) if answer.error is None else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else None


def _told(run: RunResult | None) -> str:
    if run is None:
        return MISSING
    calls = [{"predictor": c.predictor, "inputs": thaw(c.inputs), "outputs": thaw(c.outputs)} for c in run.trace]
    said = {"feedback": run.feedback} if run.feedback else {}
    told: dict[str, Any] = {
        "calls": calls,
        "result": MISSING if run.outputs is None else thaw(run.outputs),
        "score": run.score,
        **({"error": run.error} if run.error else {}),
        **({"remarks": {**said, **thaw(run.extra)}} if run.extra or said else {}),
    }
    return _json(told)


def _json(value: Any) -> str:
    plain = dict(value) if isinstance(value, Mapping) else value
    return json.dumps(plain, ensure_ascii=False, indent=2, default=str)
