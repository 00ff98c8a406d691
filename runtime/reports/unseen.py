"""The worth of a tuned program on rows that it was neither made on nor chosen by, as the folder of a run keeps it.

The score that an optimizer ends with is the best of many on the rows that it chose by, so that luck is in it; that of
other rows is not (Cawley and Talbot 2010, "On Over-fitting in Model Selection").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lampc.runtime.report import Interval
from lampc.runtime.reports.intervals import paired_gain
from lampc.runtime.reports.told import gain_text

UNSEEN_FILE = "unseen.json"


@dataclass(frozen=True, slots=True)
class Unseen:
    """Scores (0 to 1) of the program as found and of the tuned one, row by row of the same split. `run` is the run that
    made it and `tuned` what that found, both as `run.json` has them. `failed` runs scored 0."""

    split: str
    run: str
    tuned: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    failed: int = 0

    def __str__(self) -> str:
        before, after = (100 * sum(side) / len(side) for side in (self.before, self.after))
        said = f"{before:.1f} -> {after:.1f}, {gain_text(self.gain, len(self.before))}"
        return f"{said}; {self.failed} runs failed and scored 0" if self.failed else said

    @property
    def gain(self) -> Interval:
        """That of the tuned program, in percent."""
        return paired_gain(self.before, self.after)

    def write(self, folder: Path) -> None:
        """Into a run's folder."""
        (folder / UNSEEN_FILE).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


def read_unseen(folder: Path, run: Mapping[str, Any]) -> Unseen | None:
    """What a process found out about what this run ended with (`run` is `run.json`); None if that is not there, or
    cannot be read."""
    try:
        found = json.loads((folder / UNSEEN_FILE).read_text(encoding="utf-8"))
        before, after = (tuple(float(score) for score in found[side]) for side in ("before", "after"))
        unseen = Unseen(str(found["split"]), found["run"], found["tuned"], before, after, int(found["failed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = (unseen.run, unseen.tuned) == (run["run"], run.get("assignment"))
    return unseen if same and unseen.before and len(unseen.before) == len(unseen.after) else None
