"""How much a run of MIPROv2 does: the table of `auto`, and what follows from it, as in DSPy."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from lampc.passes.optimize.protocol import Demand, OptimizeError

AUTO = {"light": (6, 100), "medium": (12, 300), "heavy": (18, 1000)}
"""Candidates, and rows to score on at most."""

MINIBATCH_ABOVE = 50
"""With `auto`, minibatches are used for more rows than these."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`rows` of the select split are scored; `minibatch` of them a trial (0: all), with a full evaluation after every
    `full_steps` trials and at the end. `sets` of demos and `instructions` of each predictor, those it has included."""

    rows: tuple[int, ...]
    trials: int
    minibatch: int
    full_steps: int
    sets: int
    instructions: int

    @property
    def full_evaluations(self) -> int:
        """Besides that of the program as found."""
        return -(-self.trials // self.full_steps) if self.minibatch else 0

    def demand(self) -> Demand:
        """Program runs of the search, the evaluation of the program as found included: exact."""
        each = self.minibatch or len(self.rows)
        cells = len(self.rows) * (1 + self.full_evaluations) + self.trials * each
        return Demand(cells, cells)


def trials_for(candidates: int, variables: int) -> int:
    return int(max(2 * variables * math.log2(candidates), 1.5 * candidates))


def make_plan(
    *,
    auto: str | None,
    num_candidates: int | None,
    num_trials: int | None,
    minibatch: bool,
    minibatch_size: int,
    full_steps: int,
    zeroshot: bool,
    variables: int,
    select: int,
    drawn_from: int,
    rng: random.Random,
) -> Plan:
    """The plan for a select split of so many rows. With `auto`, the rows to score on are drawn from it with `rng`; if
    `drawn_from` is not 0, the split is itself that draw from so many. Raises OptimizeError for options that do not go
    together, saying which would."""
    candidates, trials = _counts(auto, num_candidates, num_trials, variables)
    if full_steps < 1:
        raise OptimizeError(f"mipro: `minibatch_full_eval_steps` is {full_steps}; at least 1 is needed")
    if not select:
        raise OptimizeError("mipro: there are no rows to score on")
    rows = tuple(range(select))
    instructions = candidates
    if auto:
        most = AUTO[auto][1]
        drawn = rng.sample(range(drawn_from or select), min(most, drawn_from or select))
        rows = rows if drawn_from else tuple(drawn)
        minibatch = len(rows) > MINIBATCH_ABOVE
        instructions = candidates if zeroshot else candidates // 2
    if minibatch and not 1 <= minibatch_size <= len(rows):
        raise OptimizeError(
            f"mipro: `minibatch_size` is {minibatch_size}; there are {len(rows)} rows to draw from: choose a smaller "
            "one, or `minibatch` false, which scores all rows every time"
        )
    return Plan(rows, trials, minibatch_size if minibatch else 0, full_steps, candidates, instructions)


def _counts(auto: str | None, candidates: int | None, trials: int | None, variables: int) -> tuple[int, int]:
    """Candidates and trials."""
    if auto is not None:
        if auto not in AUTO:
            raise OptimizeError(f"mipro: `auto` is one of {', '.join(AUTO)}, or null, not {auto!r}")
        if candidates is not None or trials is not None:
            raise OptimizeError(
                "mipro: `auto` says how many candidates and trials there are; leave `num_candidates` and `num_trials` "
                "out, or make `auto` null"
            )
        return AUTO[auto][0], trials_for(AUTO[auto][0], variables)
    if candidates is None or candidates < 1:
        raise OptimizeError("mipro: without `auto`, `num_candidates` and `num_trials` are needed, each at least 1")
    if trials is None or trials < 1:
        good = trials_for(max(2, candidates), variables)
        raise OptimizeError(f"mipro: without `auto`, `num_trials` is needed; about {good} suit {candidates} candidates")
    return candidates, trials


def select_sample(auto: str | None, seed: int, rows: int) -> tuple[int, ...]:
    """The rows that a run with these options would score on, for who runs it on these alone (see `drawn_from`)."""
    if auto is None or auto not in AUTO:
        return tuple(range(rows))
    return tuple(random.Random(seed).sample(range(rows), min(AUTO[auto][1], rows)))
