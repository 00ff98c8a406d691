"""The gate of passes labelled G: whether a rewritten program may stand in for what its author wrote.

Both forms are scored on the same held-out rows. The rewritten one is accepted if, one-sided and at 95 %, its mean
score is not more than 0.01 below the author's (paired bootstrap). What was found is a record that stays with the
program; `Pipeline.run` applies no pass labelled G without one that says `accepted`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from lampc.passes.resample import resampled_means


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of a change. Scores and bounds are 0 to 1.

    `least` is how low the mean difference (rewritten minus author's) may be at the one-sided lower bound of `level`.
    Fewer than `rows` rows decide nothing: on a handful of equal scores a bootstrap is certain of what it did not see.
    """

    least: float = -0.01
    level: float = 0.95
    rows: int = 20
    draws: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1 or self.draws < 100 or self.rows < 1 or not math.isfinite(self.least):
            raise ValueError(
                f"a gate takes a level from 0.5 to below 1, at least 100 draws, at least 1 row and a finite bound; "
                f"got level={self.level}, draws={self.draws}, rows={self.rows}, least={self.least}"
            )

    def lacks(self, rows: int) -> str:
        """Why so many rows decide nothing; empty if they may."""
        return "" if rows >= self.rows else f"{rows} rows are too few to tell, {self.rows} are needed"


@dataclass(frozen=True, slots=True)
class GateRecord:
    """What the gate found of one change.

    `change` says what was changed: of a pass its text in a pipeline (`lampc.passes.options.write_pass`), of parameters
    their new values. `delta` is the mean difference over `rows` rows, `low` and `high` its two-sided interval at
    `level`, `bound` its one-sided lower bound at `level`, `least` what was asked for; scores are 0 to 1. `why` says in
    words what decided.
    """

    change: str
    rows: int
    before: float
    after: float
    delta: float
    low: float
    high: float
    bound: float
    least: float
    level: float
    accepted: bool
    why: str

    def __str__(self) -> str:
        """`gated: +0.4 pp [-0.8, +1.7], 200 rows`."""
        verdict = "gated" if self.accepted else "refused"
        points = f"{100 * self.delta:+.1f} pp [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        return f"{verdict}: {points}, {self.rows} rows"

    def values(self) -> dict[str, Any]:
        """As JSON values, for artefacts; `read_record` reads them."""
        return asdict(self)


def judge(before: Sequence[float], after: Sequence[float], *, change: str, gate: Gate | None = None) -> GateRecord:
    """Judge a change by the scores (0 to 1) of the same held-out rows in the same order, without and with it.

    The same scores and gate give the same record. Raises ValueError if the two differ in length, are empty, or hold
    what is no number.
    """
    import numpy as np

    gate = gate or Gate()
    if len(before) != len(after) or not before:
        raise ValueError(f"a gate needs the same rows on both sides, at least one: {len(before)} and {len(after)}")
    wrong = next(
        (i for i, pair in enumerate(zip(before, after, strict=True)) if not all(map(math.isfinite, pair))), None
    )
    if wrong is not None:
        raise ValueError(f"row {wrong} has no score: {before[wrong]} without the change, {after[wrong]} with it")
    differences = [a - b for b, a in zip(before, after, strict=True)]
    n, delta = len(differences), sum(differences) / len(differences)
    means = resampled_means(differences, gate.draws, gate.seed)
    tail = 1 - gate.level
    low, bound, high = (float(q) for q in np.quantile(means, [tail / 2, tail, 1 - tail / 2]))
    few = gate.lacks(n)
    accepted = not few and bound >= gate.least - 1e-12  # sums in another order may differ in the last bits
    share = f"{100 * gate.level:g} %"
    if few:
        why = few
    else:
        sign = ">=" if accepted else "<"
        why = f"the one-sided {share} lower bound {100 * bound:+.2f} pp {sign} {100 * gate.least:+.2f} pp"
    return GateRecord(
        change, n, sum(before) / n, sum(after) / n, delta, low, high, bound, gate.least, gate.level, accepted, why
    )  # fmt: skip


def read_record(values: Mapping[str, Any]) -> GateRecord:
    """A record from the JSON values of an artefact. Raises ValueError naming what is missing or of the wrong type."""
    known: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "bool": bool}
    for f in fields(GateRecord):
        found = values.get(f.name)
        if not isinstance(found, known[str(f.type)]) or (f.type != "bool" and isinstance(found, bool)):
            raise ValueError(f"a gate's record needs `{f.name}` of type {f.type}, found {found!r}")
    return GateRecord(**{f.name: values[f.name] for f in fields(GateRecord)})


def accepted(records: Iterable[GateRecord], change: str) -> GateRecord | None:
    """The accepted record of a change; None if there is none, or a later one refuses it."""
    found = [r for r in records if r.change == change]
    return found[-1] if found and found[-1].accepted else None
