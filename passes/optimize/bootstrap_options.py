"""What all optimizers that bootstrap demos are told about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lampc.passes.optimize.protocol import OptimizeError, Problem, check_count

_COUNTS = ("max_bootstrapped_demos", "max_labeled_demos", "max_errors")


@dataclass(frozen=True)
class BootstrapOptions:
    """Options as in DSPy.

    A run succeeds if the metric's score is at least `metric_threshold`, or, without one, not 0. The teacher is
    the program (or the problem's teacher) with `max_labeled_demos` labelled demos (never the row's own), run by
    `teacher_model` (a model symbol) if given; with `keep_demos` it has its own demos instead. Each predictor gets up to
    `max_bootstrapped_demos` traced demos, filled up to `max_labeled_demos` with labelled rows that were not
    bootstrapped. `max_errors` failing runs end the search with an error, and so does a search in which every run
    failed (0: never). `speculate` times the rows still needed are asked for at once, and more if many fail; 1 or less
    asks for nothing that could turn out unneeded. Rows that are frozen demos are not run: they would see themselves.
    """

    name: ClassVar[str] = "bootstrap"
    max_bootstrapped_demos: int = 4
    max_labeled_demos: int = 16
    max_rounds: int = 1
    metric_threshold: float | None = None
    max_errors: int = 0
    teacher_model: str = ""
    speculate: float = 2.0
    seed: int = 0
    keep_demos: bool = False

    def check(self, problem: Problem) -> None:
        """Raises OptimizeError if a bootstrap of `problem` cannot begin with these options."""
        check_count(self.name, **{n: getattr(self, n) for n in _COUNTS})
        if self.max_rounds < 1:
            raise OptimizeError(f"{self.name}: `max_rounds` is {self.max_rounds}; at least one is needed")
        if not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows to run")
        module = (problem.teacher or problem).module
        if self.teacher_model not in ("", "main") and module.lookup(self.teacher_model) is None:
            raise OptimizeError(f"{self.name}: the program defines no model `{self.teacher_model}` for a teacher")
