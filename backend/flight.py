"""Steps that were launched and are not taken yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lampc.backend.job import Drawn
from lampc.backend.plan import Pending, Plan


@dataclass(frozen=True, slots=True)
class Ready:
    """A step that is computed: see `lampc.backend.plan.Pending`."""

    plan: Plan
    results: Sequence[Drawn | int]

    def drawn(self) -> Sequence[Drawn | int]:
        """What it gave."""
        return self.results

    def replace(self, tokens: Sequence[int | None]) -> None:
        """Nothing goes on from what was drawn: other tokens change nothing."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step that could not be launched; waiting for it raises the error."""

    plan: Plan
    error: Exception

    def drawn(self) -> Sequence[Drawn | int]:
        """Raises."""
        raise self.error


@dataclass(frozen=True, slots=True)
class Flight:
    """Step `number`, launched at time `start`."""

    plan: Plan
    pending: Pending
    number: int
    start: float

    @property
    def failed(self) -> bool:
        """Whether it was not even launched."""
        return isinstance(self.pending, Failed)


def launch(runner: Any, plan: Plan, before: Flight | None) -> Pending:
    """Has a runner start a step. An Exception that it raises is raised when the step is waited for."""
    try:
        pending: Pending = runner.launch(plan, None if before is None else before.pending)
        return pending
    except Exception as error:
        return Failed(plan, error)
