"""What optimizers ask for and what they are told: jobs and their results, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lampc.ir import Assignment, Obj, Sampling, Signature


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """Score a candidate on rows (by index) of a split."""

    assignment: Assignment
    split: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """One score per row asked for, in that order; `errors` of them are failures, scored as such."""

    scores: tuple[float, ...]
    errors: int = 0

    @property
    def mean(self) -> float:
        """Mean score times 100; 0 for no rows."""
        return 100.0 * sum(self.scores) / len(self.scores) if self.scores else 0.0


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run a candidate on one row of a split and hand over its trace. Rollouts from 1 on draw anew."""

    assignment: Assignment
    split: str
    row: int
    rollout: int = 0


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One LM call of a run: the predictor's symbol, what went in and what came out."""

    predictor: str
    inputs: Obj
    outputs: Obj


@dataclass(frozen=True, slots=True)
class RunResult:
    """The metric's score of one run (the metric sees the trace), its calls in program order, its error."""

    score: float
    trace: tuple[TracedCall, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CallJob:
    """Ask a model to fill a signature, outside of the program: what proposers of instructions do.

    `model` is a symbol of the module; `number` makes further draws of the same call differ.
    """

    signature: Signature
    inputs: Obj
    sampling: Sampling = Sampling()
    model: str = "main"
    layout: str = "compact"
    number: int = 0


@dataclass(frozen=True, slots=True)
class CallResult:
    """Outputs by name, the model's text, and why the outputs could not be read, if so."""

    outputs: Obj
    text: str = ""
    error: str | None = None


Job: TypeAlias = EvaluateJob | RunJob | CallJob
Result: TypeAlias = EvaluateResult | RunResult | CallResult
