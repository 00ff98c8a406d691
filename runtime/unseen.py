"""Scores a tuned program, and what it was made of, on the rows that were set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lampc.ir import Assignment
from lampc.runtime.cells import CellTable
from lampc.runtime.evaluate import UNTRACED, judge_outcomes
from lampc.runtime.journal import assignment_text
from lampc.runtime.reports.unseen import Unseen
from lampc.runtime.types import Cell, Outcome, Row

if TYPE_CHECKING:
    from lampc.runtime.session import Session
    from lampc.runtime.setup import Task

SPLIT = "test"


def unseen_rows(task: Task) -> list[Row]:
    """The rows of a task's data that are set aside; none if they were trained or chosen on."""
    used = {name.rpartition(".")[2] for name in task.names}
    return [] if SPLIT in used else task.splits.get(SPLIT, [])


def score_unseen(task: Task, rows: Sequence[Row], tuned: Assignment, session: Session, run: str) -> Unseen:
    """Both programs on the same rows, in one batch; what is in the session's store is not run again. `run` is the run
    that found the tuned one.

    Raises the session's errors.
    """
    table = CellTable(session, task.unit, task.program)
    sides = [[Cell(row, assignment) for row in rows] for assignment in (task.start, tuned)]
    cells = [cell for side in sides for cell in side]
    done = 0

    def heard(_: Outcome) -> None:
        nonlocal done
        done += 1
        session.bus.emit("progress", label="unseen rows", done=done, total=len(cells))

    table.run(cells, heard)
    found = judge_outcomes(session, [(task.metric, outcome, UNTRACED) for c in cells if (outcome := table.get(c))])
    failed = sum(error is not None for _, error in found)
    scores = tuple(said.score for said, _ in found)
    before, after = scores[: len(rows)], scores[len(rows) :]
    return Unseen(SPLIT, run, assignment_text(tuned), before, after, failed)
