"""What GEPA's proposers are shown: calls of one component, each with what the metric said of it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from lampc.ir import Assignment, Obj, thaw
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.jobs import FeedbackJob, FeedbackResult, RunJob, RunResult, TracedCall


@dataclass(frozen=True, slots=True)
class Record:
    """A call: inputs by name, outputs by name (or, unread, the model's text), and what is to be learnt from it."""

    inputs: Obj
    outputs: Obj
    text: str
    feedback: str
    read: bool = True

    def shown(self) -> str:
        """As text, for a model that writes instructions."""
        answer = _shown(self.outputs) if self.read else self.text
        return f"given:\n{_shown(self.inputs)}\nanswered:\n{answer}\nremark:\n{self.feedback}"


@dataclass(frozen=True, slots=True)
class Reflection:
    """A candidate, by the text of each component, the components that are to get new texts, and calls of these, as
    far as there are any to learn from.
    `number` counts reflections.
    """

    texts: dict[str, str]
    components: tuple[str, ...]
    records: dict[str, tuple[Record, ...]]
    number: int


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run on a row of a minibatch that left a trace behind: it ended well, or with an answer that cannot be read."""

    job: RunJob
    result: RunResult

    @property
    def unread(self) -> bool:
        return any(c.error for c in self.result.trace)


def trajectories(jobs: Sequence[RunJob], results: Sequence[RunResult]) -> list[Trajectory]:
    """The runs that can be learnt from, in order; others failed for reasons that no instruction mends."""
    found = [Trajectory(j, r) for j, r in zip(jobs, results, strict=True)]
    return [t for t in found if t.result.error is None or t.unread]


@dataclass(slots=True)
class Chosen:
    """Calls of a component that its record will be made of, and the metric's answers, as far as it is asked."""

    component: str
    signature_text: str
    calls: list[tuple[Trajectory, TracedCall]] = field(default_factory=list)
    jobs: list[FeedbackJob] = field(default_factory=list)

    def records(self, answers: Sequence[FeedbackResult]) -> tuple[Record, ...]:
        """One record per call; `answers` are those to `jobs`."""
        told = iter(answers)
        out = []
        for trajectory, call in self.calls:
            if call.error:
                out.append(Record(call.inputs, Obj(), call.text, self._unreadable(call), read=False))
                continue
            said = next(told)
            score = trajectory.result.score if said.error is not None else said.score
            feedback = said.feedback if said.error is None else ""
            out.append(Record(call.inputs, call.outputs, call.text, feedback or f"The score of this run was {score}."))
        return tuple(out)

    def _unreadable(self, call: TracedCall) -> str:
        return f"The answer could not be read: {call.error}. It has to be of this form: {self.signature_text}"


def choose(predictor: DefPredictor, runs: Sequence[Trajectory], unread: bool, rng: random.Random) -> Chosen:
    """For each run one call of the predictor: one that could not be read if these count (`unread`), else any.

    A run that ended with an unreadable answer teaches nothing else.
    """
    name, signature = predictor.symbol, predictor.signature
    form = ", ".join(f"{f.name} ({f.type})" for f in signature.outputs)
    chosen = Chosen(name, form)
    for run in runs:
        calls = [(i, c) for i, c in enumerate(run.result.trace) if c.predictor == name and (unread or not c.error)]
        if not calls:
            continue
        failed = next((pair for pair in calls if pair[1].error), None)
        if failed is None and run.unread:
            continue
        at, call = failed or rng.choice(calls)
        chosen.calls.append((run, call))
        if not call.error:
            chosen.jobs.append(FeedbackJob(run.job, name, at))
    return chosen


def assignment(start: Assignment, texts: dict[str, str]) -> Assignment:
    """`start` with the instructions of some predictors replaced."""
    return start.updated(**{f"{name}.instruction": text for name, text in texts.items()})


def _shown(values: Obj) -> str:
    items = ((n, thaw(v)) for n, v in values.items())
    return "\n".join(f"  {n}: {v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)}" for n, v in items)
