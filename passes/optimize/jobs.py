"""What optimizers ask for and what they are told: jobs and their results, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lampc.ir import Assignment, Obj, Sampling, Signature

_NOTHING = Obj()

TEACHER = "teacher"
"""What a RunJob's `program` says to run the problem's teacher."""


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """Score a candidate on rows (by index) of a split."""

    assignment: Assignment
    split: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """One score per row asked for, in that order; `errors` of them are failures, scored as such.

    `tokens` are those of each row's calls, prompt and generated, whoever computed or stored them: they follow from the
    candidate alone, not from what ran before. Rows in `cut` were not run, because the candidate fell behind in a race:
    their scores and tokens are stand-ins.
    """

    scores: tuple[float, ...]
    errors: int = 0
    tokens: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Mean score times 100; 0 for no rows."""
        return 100.0 * sum(self.scores) / len(self.scores) if self.scores else 0.0


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run a candidate on one row of a split and hand over its trace. Rollouts from 1 on draw anew.

    A `temperature` stands in the place of that of all its calls. `program` is empty for the program that is improved,
    or `TEACHER` for the problem's teacher, whose parameters `assignment` then are. The metric is shown the trace only
    if `traced`: many give another score then.
    """

    assignment: Assignment
    split: str
    row: int
    rollout: int = 0
    temperature: float | None = None
    program: str = ""
    traced: bool = True


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One LM call of a run: the predictor's symbol, what went in and what came out.

    `text` is what the model wrote, `error` why that could not be read; then there are no outputs. `score` is the
    log-probability of the text, in nats, where the proxy of a cascade wrote it.
    """

    predictor: str
    inputs: Obj
    outputs: Obj
    text: str = ""
    error: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """The metric's score of one run, its calls in program order, its error.

    `feedback` is what the metric said beside the score, `extra` what else it gave by name, `outputs` what the program
    returned; `tokens` as in `EvaluateResult`.
    """

    score: float
    trace: tuple[TracedCall, ...] = ()
    error: str | None = None
    feedback: str = ""
    extra: Obj = _NOTHING
    outputs: Obj | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class FeedbackJob:
    """Ask the metric about one call of a run that was made: what it says of a predictor.

    `call` is the call's place in the run's trace. The metric is called as GEPA calls it, with the predictor's name and
    that call alone as its trace; one that does not take those is asked about the whole run.
    """

    run: RunJob
    predictor: str
    call: int


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """The score and the text that the metric gave; an empty text if it gave none."""

    score: float
    feedback: str = ""
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


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """Vectors of texts by an embedder of the session (empty: its only one)."""

    texts: tuple[str, ...]
    embedder: str = ""


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """One vector per text, in their order."""

    vectors: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train an adapter of a model (a symbol of the module) on pairs: what is sent, and what it should have answered.

    Pairs are calls of predictors with the outputs wanted, rendered by the runtime as the program renders them under
    `assignment`. `options` are the trainer's by name.
    """

    assignment: Assignment
    model: str
    calls: tuple[TracedCall, ...]
    options: Obj = _NOTHING


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The name under which the session now has the model with its adapter, and what the trainer reports."""

    model: str
    report: Obj = _NOTHING
    error: str | None = None


Job: TypeAlias = EvaluateJob | RunJob | CallJob | FeedbackJob | EmbedJob | TrainJob
Result: TypeAlias = EvaluateResult | RunResult | CallResult | FeedbackResult | EmbedResult | TrainResult
