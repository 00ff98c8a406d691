"""What work costs: seconds of a step of an engine, fitted to steps that were measured.

A step costs what its rows cost (a curve that never falls, piecewise linear between powers of two: few rows cost what
reading the weights costs, many what multiplying costs), a share for every token that attention reads and for every
different one, for every row of logits and every one that is drawn from, and for every sequence in the step. No torch
here; `lampc.runtime.calibrate` measures.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.backend.steps import StepShape

KNOTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_SWEEPS = 4000


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds: `base` of any step, `slopes[i]` for each row between the rows `KNOTS[i]` and `KNOTS[i + 1]` (the last
    one beyond, too), and for each token read while decoding, different token of these, token read while computing
    prompts, row of logits,
    one that is drawn from, and sequence.

    `error` is the mean of |fitted / measured - 1| over the steps of the calibration, `steps` their number.
    """

    base: float
    slopes: tuple[float, ...]
    decode_read: float
    distinct_read: float
    prefill_read: float
    logits: float
    sampled: float
    sequence: float
    error: float = 0.0
    steps: int = 0

    def __call__(self, shape: StepShape) -> float:
        """Seconds of a step."""
        return _dot(_features(shape), self._weights())

    def prefill(self, tokens: int, known: int = 0, step: int = 512) -> float:
        """Seconds of a prompt of which `tokens` are to be computed behind `known` ones, `step` at a time."""
        from lampc.backend.steps import StepShape

        seconds = 0.0
        for start in range(0, tokens, step):
            count = min(step, tokens - start)
            first = known + start
            seconds += self(StepShape(0, 0, 0, count, 1, (2 * first + count + 1) * count // 2, start + count == tokens))
        return seconds

    def decode(self, requests: int, context: int) -> float:
        """Seconds of a step in which so many requests of so many tokens each, none of them shared, write one more."""
        from lampc.backend.steps import StepShape

        return self(StepShape(requests, requests * context, requests * context, logits=requests))

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @staticmethod
    def read(record: Mapping[str, Any]) -> StepCost:
        """From its record. Raises KeyError or TypeError for one of another version."""
        if len(record["slopes"]) != len(KNOTS) - 1:
            raise KeyError("slopes")
        return StepCost(**{**record, "slopes": tuple(map(float, record["slopes"]))})

    def _weights(self) -> tuple[float, ...]:
        return (
            self.base,
            self.decode_read,
            self.distinct_read,
            self.prefill_read,
            self.logits,
            self.sampled,
            self.sequence,
            *self.slopes,
        )


def fit(measured: Sequence[tuple[StepShape, float]]) -> StepCost:
    """The costs that fit measured steps best, by relative least squares with no cost below zero.

    Raises ValueError without steps.
    """
    found = [(shape, seconds) for shape, seconds in measured if seconds > 0]
    if not found:
        raise ValueError("there is no measured step to fit costs to")
    import numpy as np

    rows = np.array([_features(shape) for shape, _ in found])
    seconds = np.array([s for _, s in found])
    weighted = rows / seconds[:, None]
    scale = np.where(weighted.max(0) > 0, weighted.max(0), 1.0)
    solved = _least_squares(weighted / scale) / scale
    errors = [abs(_dot(_features(shape), solved.tolist()) / s - 1) for shape, s in found]
    base, decode_read, distinct_read, prefill_read, logits, sampled, sequence, *slopes = solved.tolist()
    known = max(i for i, knot in enumerate(KNOTS[:-1]) if knot < max(shape.rows for shape, _ in found))
    slopes = [slope if i <= known else slopes[known] for i, slope in enumerate(slopes)]
    return StepCost(
        base,
        tuple(slopes),
        decode_read,
        distinct_read,
        prefill_read,
        logits,
        sampled,
        sequence,
        statistics.fmean(errors),
        len(found),
    )


def _features(shape: StepShape) -> list[float]:
    """What the weights of a cost are multiplied with."""
    rows = shape.rows
    spans = [float(min(max(rows - low, 0), high - low)) for low, high in pairwise(KNOTS)]
    spans[-1] += max(rows - KNOTS[-1], 0)
    return [
        1.0,
        float(shape.decode_reads),
        float(shape.distinct),
        float(shape.prefill_reads),
        float(shape.logits),
        float(shape.sampled),
        float(shape.decoding + shape.chunks),
        *spans,
    ]


def _dot(features: Sequence[float], weights: Sequence[float]) -> float:
    return sum(f * w for f, w in zip(features, weights, strict=True))


def _least_squares(matrix: Any) -> Any:
    """The x >= 0 for which `matrix @ x` comes closest to ones: coordinate descent on the normal equations."""
    import numpy as np

    gram, wanted = matrix.T @ matrix, matrix.sum(0)
    x = np.zeros(matrix.shape[1])
    slope = -wanted
    for _ in range(_SWEEPS):
        moved = 0.0
        for j in range(len(x)):
            if gram[j, j] <= 0:
                continue
            new = max(0.0, x[j] - slope[j] / gram[j, j])
            if new != x[j]:
                slope += (new - x[j]) * gram[j]
                moved = max(moved, abs(new - x[j]))
                x[j] = new
        if moved < 1e-9:
            break
    return x
