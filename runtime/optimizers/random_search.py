"""DSPy's BootstrapFewShotWithRandomSearch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of
from lampc.runtime.optimizers.bootstrap import bootstrap_options, bootstrap_step


class BootstrapFewShotWithRandomSearch(Teleprompter):
    """Many draws of demos, and the program that scores highest on `valset` (the trainset if there is none); options as
    in DSPy.

    The bootstraps of all candidates run together, and so does the scoring; with `stop_at_score` (0 to 100) candidates
    come one after another. Candidates, scores and winner are those of DSPy. A row that fails while candidates are
    scored scores 0, `max_errors` is for bootstraps. The program that comes out has `candidate_programs`: dicts of
    `score`, `subscores` (a score per row), `seed` and `program`, the best first.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 16,
        max_rounds: int = 1,
        num_candidate_programs: int = 16,
        num_threads: int | None = None,
        max_errors: int | None = None,
        stop_at_score: float | None = None,
        metric_threshold: float | None = None,
    ) -> None:
        self.metric = metric
        self.teacher_settings = dict(teacher_settings or {})
        self.max_rounds = max_rounds
        self.num_threads = num_threads
        self.stop_at_score = stop_at_score
        self.metric_threshold = metric_threshold
        self.min_num_samples = 1
        self.max_num_samples = max_bootstrapped_demos
        self.max_errors = max_errors
        self.num_candidate_sets = num_candidate_programs
        self.max_labeled_demos = max_labeled_demos

    def _options(self) -> dict[str, Any]:
        return {
            "max_bootstrapped_demos": self.max_num_samples,
            "max_labeled_demos": self.max_labeled_demos,
            "max_rounds": self.max_rounds,
            "metric_threshold": self.metric_threshold,
            "max_errors": self.max_errors,
        }

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`, as that of `BootstrapFewShot` is."""
        own = {"num_candidate_programs": self.num_candidate_sets, "stop_at_score": self.stop_at_score}
        return "random_search", bootstrap_step({**self._options(), **own}, self.teacher_settings)

    def compile(
        self,
        student: Module,
        *,
        teacher: Module | None = None,
        trainset: Sequence[Example],
        valset: Sequence[Example] | None = None,
        restrict: Iterable[int] | None = None,
        labeled_sample: bool = True,
    ) -> Module:
        """The best candidate; `restrict` are the numbers of those to make (-3: no demos, -2: labelled ones, -1: the
        trainset as it stands, from 0 on shuffled). Raises OptimizeError for a teacher of other predictors, where
        `restrict` leaves no candidate, and where too many runs of a bootstrap fail."""
        from lampc.passes.optimize import RandomSearch

        asked = module_of(student if teacher is None else teacher)
        strategy = RandomSearch(
            **bootstrap_options(self._options(), asked),
            num_candidate_programs=self.num_candidate_sets,
            stop_at_score=self.stop_at_score,
            restrict=None if restrict is None else tuple(restrict),
            labeled_sample=labeled_sample,
        )
        found = improve(
            module_of(student).reset_copy(), strategy, trainset=trainset, valset=valset or trainset, metric=self.metric,
            teacher=asked, teacher_settings=self.teacher_settings, num_threads=self.num_threads,
        )  # fmt: skip
        programs: list[dict[str, Any]] = []
        for number, tried in zip(strategy.numbers(), found.result.history, strict=False):
            program = found.program(tried.assignment)
            program._compiled = number >= -1  # as DSPy has them: the others are no bootstraps
            score = {"score": tried.score, "subscores": found.subscores(tried.assignment)}
            programs.append({**score, "seed": number, "program": program})
        programs.sort(key=lambda p: p["score"], reverse=True)
        best: Module = programs[0]["program"]
        best.candidate_programs = programs  # type: ignore[attr-defined]
        return best


BootstrapRS = BootstrapFewShotWithRandomSearch
