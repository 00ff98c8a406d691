"""Two forms of a program scored on the same held-out rows, for the gate (`lampc.passes.gate`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampc.ir import Assignment, Module
from lampc.ir.unit import Unit
from lampc.passes.gate import Gate, GateRecord, judge
from lampc.runtime.evaluate import Evaluation, evaluate
from lampc.runtime.metrics import RowMetric
from lampc.runtime.types import Row

if TYPE_CHECKING:
    from lampc.runtime.session import Session


@dataclass(frozen=True)
class Form:
    """One form of a program: what runs, under which parameters."""

    program: Unit | Module
    assignment: Assignment = Assignment()
    entry: str | None = None

    def score(self, session: Session, rows: Sequence[Row], metric: RowMetric, label: str) -> Evaluation:
        """Its scores on rows, equal calls of an earlier run not made again. Raises MetricError, ValueError."""
        return evaluate(
            session, self.program, rows, metric, self.assignment, entry=self.entry, strict=True, label=label
        )


def judge_forms(
    session: Session,
    before: Form,
    after: Form,
    rows: Sequence[Row],
    metric: RowMetric,
    *,
    change: str,
    gate: Gate | None = None,
    cold: bool = False,
) -> tuple[GateRecord, Evaluation, Evaluation]:
    """Run both forms on held-out rows and judge the change; gives the record, and what each form scored.

    A row that fails scores 0 on its side. `cold` forms find nothing of earlier runs (`Session.cold`), so that
    their usage can be compared; else calls that both make are made once. Raises MetricError, ValueError for no rows,
    and the session's errors.
    """
    first = before.score(session.cold() if cold else session, rows, metric, "as written")
    second = after.score(session.cold() if cold else session, rows, metric, "changed")
    return judge(first.scores, second.scores, change=change, gate=gate), first, second
