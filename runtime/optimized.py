"""What comes out of an optimization, and what is said when it is interrupted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, thaw
from lampc.passes.gate import GateRecord, read_record
from lampc.passes.optimize import Candidate
from lampc.runtime.cells import CellTable
from lampc.runtime.journal import read_assignment, read_history
from lampc.runtime.tool_journal import told_unkept
from lampc.runtime.trials import Trial
from lampc.runtime.types import Usage


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; the message says what is kept and how to go on."""


def told_interrupted(runs: int, kept: Path | None, unkept: Collection[str] = ()) -> str:
    """What is said of an interrupted run whose store is the file `kept`, or memory; `unkept` as in `told_unkept`."""
    if kept is None:
        why = "in memory alone and end with this process: a `log_dir` keeps them, and the same call goes on from there"
        return f"interrupted: {runs} finished runs are kept {why}"
    there = f"the same command goes on from there{told_unkept(unkept)}"
    return f"interrupted: {runs} finished runs are kept in {kept}; {there}"


@dataclass(slots=True)
class OptimizeResult:
    """The best candidate by the select split (ties: the earlier), and what led there.

    Scores are 0 to 100, None without rows to select on. `usage` counts all distinct runs, also those that an
    earlier process finished; `fresh` of the `runs` were run by this one. `stopped` names the budget that ended
    the search early. `again` is set if the whole run had been finished before and nothing was done. `trials` say which
    cells were wanted and where they came from, `proposals` how many calls outside of the program were asked for.
    """

    assignment: Assignment
    score_before: float | None = None
    score_after: float | None = None
    history: list[Candidate] = field(default_factory=list)
    usage: Usage = Usage()
    runs: int = 0
    fresh: int = 0
    errors: int = 0
    seconds: float = 0.0
    stopped: str = ""
    again: bool = False
    table: CellTable | None = field(default=None, repr=False)
    trials: list[Trial] = field(default_factory=list, repr=False)
    proposals: int = 0

    @property
    def gates(self) -> tuple[GateRecord, ...]:
        """What was found of changes that were held against rows, accepted or not."""
        found = (thaw(c.facts).get("gate") for c in self.history)
        return tuple(read_record(values) for values in found if values is not None)

    @property
    def wanted(self) -> int:
        """Cells that trials asked for, each as often as it was asked for."""
        return sum(t.wanted for t in self.trials)

    @property
    def reused(self) -> int:
        """Those of them that an earlier trial had asked for."""
        return sum(t.reused for t in self.trials)

    @property
    def cut(self) -> int:
        """Cells that were not run, because a budget was spent or candidates fell behind in a race."""
        return sum(t.cut for t in self.trials)


def restored(known: Mapping[str, Any], table: CellTable) -> OptimizeResult:
    """The result that an earlier process wrote down."""
    return OptimizeResult(
        read_assignment(known["assignment"]),
        known["score_before"],
        known["score_after"],
        read_history(known["history"]),
        Usage(**known["usage"]),
        known["runs"],
        0,
        known["errors"],
        known["seconds"],
        again=True,
        table=table,
        trials=[Trial.read(t) for t in known.get("trials", ())],
        proposals=known.get("proposals", 0),
    )
