"""The trials of a run as a report shows them, out of `run.json`.

What was asked for stands there under `trials`, what was tried, with notes and parents, under `history`. A candidate may
be scored on some rows first and on others later: a trial shows the mean over all rows that were known by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.runtime.reports.data import COMPUTED, CUT, EVALUATE, NOT_ASKED, Spent, Trial

SELECT = "dev"
"""What runs call the split that candidates are chosen on."""
Record = Mapping[str, Any]


@dataclass(slots=True)
class _Known:
    """What is known of a candidate: scores by row, and tokens of so many runs."""

    scores: list[float | None]
    tokens: float = 0.0
    runs: int = 0
    first: int | None = None  # the first trial after which all rows were known
    last: Trial | None = None

    def add(self, record: Record) -> None:
        new = sum(self.scores[row] is None for row in record["rows"])
        for row, score in zip(record["rows"], record["scores"], strict=True):
            self.scores[row] = score
        self.tokens += record["tokens"] * new / len(record["rows"])  # rows that were known count once
        self.runs += new


def trials_of_run(run: Record) -> list[Trial]:
    """What was run, in order, under one candidate at a time; of records without that, what was tried."""
    records: Sequence[Record] = run.get("trials", ())
    history: Sequence[Record] = run.get("history", ())
    scoring = [r for r in records if r["kind"] == EVALUATE]
    if not scoring:
        return _tried(history, run.get("assignment"))
    split = SELECT if any(r["split"] == SELECT for r in scoring) else scoring[0]["split"]
    size = max(max(r["rows"], default=-1) + 1 for r in scoring if r["split"] == split)
    notes = {(step, c.get("candidate")): c for c in reversed(history) for step in ("", c["step"])}
    known: dict[str, _Known] = {}
    out: list[Trial] = []
    runs = tokens = 0.0
    for i, r in enumerate(records):
        done = sum(c != CUT for c in r["cells"])
        runs += r["cells"].count(COMPUTED)
        tokens += r["tokens"] * r["cells"].count(COMPUTED) / done if done else 0.0
        about = notes.get((r["step"], r["candidate"])) or notes.get(("", r["candidate"])) or {}
        trial = Trial(i, r["step"], about.get("note", ""), kind=r["kind"], rows=len(r["rows"]))
        trial.spent = Spent(int(runs), round(tokens), r.get("seconds"))
        if r["kind"] == EVALUATE and r["split"] == split:
            found = known.setdefault(r["candidate"], _Known([None] * size))
            if found.last is not None and not done:  # what a race cut stands with what it was cut after
                found.last.states = _with_cuts(found.last.states, r["rows"])
                continue
            found.last = trial
            trial.states = "".join(s or NOT_ASKED for s in _by_row(r["rows"], r["cells"], size))
            _score(trial, r, found)
        trial.parents = _parents(about, history, known)
        out.append(trial)
    _roles(out, run, known)
    return out


def _score(trial: Trial, record: Record, known: _Known) -> None:
    if not record["scores"]:
        return
    known.add(record)
    values = [s for s in known.scores if s is not None]
    trial.score, trial.rows = 100 * sum(values) / len(values), len(values)
    trial.scores, trial.whole = tuple(known.scores), len(values) == len(known.scores)
    trial.tokens = known.tokens / known.runs if known.tokens else None
    if trial.whole and known.first is None:
        known.first = trial.number


def _with_cuts(states: str, rows: Sequence[int]) -> str:
    out = list(states)
    for row in rows:
        out[row] = CUT if out[row] == NOT_ASKED else out[row]
    return "".join(out)


def _by_row(rows: Sequence[int], values: Sequence[Any], size: int) -> tuple[Any, ...]:
    """Values at the places of their rows; None elsewhere."""
    out: list[Any] = [None] * size
    for row, value in zip(rows, values, strict=True):
        out[row] = value
    return tuple(out)


def _parents(about: Record, history: Sequence[Record], known: Mapping[str, _Known]) -> tuple[int, ...]:
    """Trials of the candidates that one was made from: places in its step's own part of the history."""
    wanted = about.get("parents", ())
    own = [c.get("candidate") for c in history if c["step"] == about.get("step")] if wanted else []
    places = [known[own[p]].first for p in wanted if 0 <= p < len(own) and own[p] in known]
    return tuple(dict.fromkeys(p for p in places if p is not None))


def _roles(trials: Sequence[Trial], run: Record, known: Mapping[str, _Known]) -> None:
    """Mark the first trials on all rows of the program as found, and of the candidate that was chosen."""
    history: Sequence[Record] = run.get("history", ())
    chosen = next((c.get("candidate") for c in history if c["assignment"] == run.get("assignment")), None)
    for role, candidate in (("start", run.get("candidate")), ("result", chosen)):
        place = known[candidate].first if candidate is not None and candidate in known else None
        found = next((t for t in trials if t.number == place), None)
        if found is not None and not found.role:
            found.role = role
            found.note = "the program as found" if role == "start" else found.note


def _tried(history: Sequence[Record], result: str | None) -> list[Trial]:
    trials = []
    first: dict[str, int] = {}
    for i, c in enumerate(history):
        first.setdefault(c["assignment"], i)
        trials.append(Trial(i, c["step"], c["note"], c["score"], int(c.get("rows") or 0), tokens=c.get("tokens")))
        trials[-1].role = "start" if c["step"] == "start" else ""
    if result in first and not trials[first[result]].role:
        trials[first[result]].role = "result"
    most = max((t.rows for t in trials), default=0)
    for t in trials:
        t.whole = t.score is not None and t.rows in (0, most)
    return trials
