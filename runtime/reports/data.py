"""What a report says, as data: the JSON that tools read, and what the page is drawn from.

The shape is documented in docs/optimizing.md; `SCHEMA` grows when a field changes its meaning or goes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from lampc.passes.gate import GateRecord
from lampc.runtime.report import Interval
from lampc.runtime.reports.changes import Changes
from lampc.runtime.reports.unseen import Unseen

SCHEMA = "lampc.optimization/1"
COMPUTED, REUSED, CUT, NOT_ASKED = "c", "r", "x", "."
"""What became of a row in a trial, one letter each."""
EVALUATE = "evaluate"
"""Kind of the trials that score a candidate; others run a program, or a teacher, for its traces."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run had spent by then, since its beginning; `seconds` are None where nobody noted them."""

    runs: int = 0
    tokens: int = 0
    seconds: float | None = None


@dataclass(slots=True)
class Trial:
    """A candidate that was tried. Scores are 0 to 100; `interval` is of its mean over rows, `gain` that of the paired
    differences from the start on the rows that both were scored on.

    `rows` is how many rows the score is the mean of, `whole` whether those are all of the select split; `tokens` the
    mean of a row's; `scores` by row of the split (0 to 1, None where it was not scored) and `states` a letter for each
    row: c computed, r reused, x cut, `.` not asked. Both are empty where the run did not keep them. `kind` is
    `evaluate`, or, of runs for traces on training rows, `run` or `teach`; `role` is `start`, `result`, or empty.
    """

    number: int
    step: str
    note: str
    score: float | None = None
    rows: int = 0
    whole: bool = False
    tokens: float | None = None
    parents: tuple[int, ...] = ()
    role: str = ""
    interval: Interval | None = None
    gain: Interval | None = None
    spent: Spent | None = None
    scores: tuple[float | None, ...] = ()
    states: str = ""
    kind: str = EVALUATE


@dataclass(slots=True)
class Cost:
    """Prompt tokens are those asked for; of them `computed`, `cached` (reused by an engine) and `stored` (of calls that
    the journal answered). `money` is None unless prices are known. `nodes` has the counts of each predictor."""

    runs: int = 0
    calls: int = 0
    prompt: int = 0
    computed: int = 0
    cached: int = 0
    stored: int = 0
    generated: int = 0
    seconds: float = 0.0
    money: float | None = None
    nodes: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(slots=True)
class Report:
    """One optimisation. `front` are the numbers of the trials that no other beats in score and tokens at once; `gates`
    what was found of changes that may alter what the program means; `unseen` is what came of the rows that were set
    aside, if they were asked."""

    name: str
    program: str = ""
    state: str = ""
    stopped: str = ""
    steps: tuple[str, ...] = ()
    metric: str = ""
    model: str = ""
    seed: int = 0
    started: float | None = None
    rows: int = 0
    before: float | None = None
    after: float | None = None
    before_interval: Interval | None = None
    after_interval: Interval | None = None
    gain: Interval | None = None
    trials: list[Trial] = field(default_factory=list)
    front: tuple[int, ...] = ()
    changes: Changes | None = None
    cost: Cost = field(default_factory=Cost)
    errors: int = 0
    failures: tuple[str, ...] = ()
    gates: tuple[GateRecord, ...] = ()
    unseen: Unseen | None = None

    def json(self) -> str:
        """The report as JSON text."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, ensure_ascii=False, default=_plain) + "\n"

    def trial(self, role: str) -> Trial | None:
        """The first trial of a role."""
        return next((t for t in self.trials if t.role == role), None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)


def front(trials: list[Trial]) -> tuple[int, ...]:
    """Trials scored on all rows whose tokens are known and that no other beats: at most as many tokens, at least as
    high a score, one of them better. In order of tokens."""
    found = [t for t in trials if t.whole and t.score is not None and t.tokens is not None]
    best, out = float("-inf"), []
    for t in sorted(found, key=lambda t: (t.tokens, -(t.score or 0), t.number)):
        if t.score is not None and t.score > best:
            best = t.score
            out.append(t.number)
    return tuple(out)
