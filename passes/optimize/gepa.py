"""GEPA: instructions evolve. A candidate's runs on a few rows are reflected on, which gives a child; what is better on
those rows is scored on all validation rows, and parents are drawn from what is best on some of them.

Source of the algorithm: "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning" (arXiv 2507.19457),
as DSPy 3.4.1 and the package `gepa` have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lampc.passes.optimize.gepa_pool import SELECTORS
from lampc.passes.optimize.gepa_writers import ByProposer, Writer, writer
from lampc.passes.optimize.proposers.reflect import Reflect
from lampc.passes.optimize.protocol import OptimizeError, Problem, check_count, check_model

if TYPE_CHECKING:
    from lampc.passes.optimize.gepa_run import Evolution

AUTO = {"light": 6, "medium": 12, "heavy": 18}
"""Candidates that an automatic budget is reckoned for."""

_COUNTS = ("max_full_evals", "max_metric_calls", "max_merge_invocations", "keep", "seed")
_POSITIVE = ("reflection_minibatch_size", "parents", "mutations", "merge_val_overlap_floor")


@dataclass(frozen=True)
class GEPA:
    """Options as in DSPy; scores are held against the select split, or the train split if that has no rows.

    One budget in metric calls, each the score of one row: `auto` (light, medium, heavy), `max_full_evals` times all
    rows, or `max_metric_calls`; light if none is given.

    `proposer` writes the new texts: `reflect` (the default: a model, `reflection_model`, reads calls with the metric's
    remarks and writes `max_proposal_tokens` at most), `edits`, `templates`, `pool` (texts of `pool`; the default if
    that is given), or an object. `component_selector` is `round_robin`, `all`, or code that is given (state,
    trajectories, scores, place, candidate).

    An iteration draws `parents` times a parent, and `mutations` times a minibatch for each; these are all run,
    reflected on and scored together, and of the children that are better (or, with `accept_equal`, not worse) the
    `keep` best enter (0: all). With 1 of each and without `keep` it is the sequential algorithm. `remember_outputs`
    keeps the best outputs of each validation row.
    """

    name: ClassVar[str] = "gepa"
    auto: str = ""
    max_full_evals: int = 0
    max_metric_calls: int = 0
    reflection_minibatch_size: int = 3
    candidate_selection_strategy: str = "pareto"
    reflection_model: str = ""
    max_proposal_tokens: int = 1024
    proposer: Any = ""
    pool: Any = ()
    skip_perfect_score: bool = True
    add_format_failure_as_feedback: bool = False
    component_selector: Any = "round_robin"
    use_merge: bool = True
    max_merge_invocations: int = 5
    merge_val_overlap_floor: int = 5
    failure_score: float = 0.0
    perfect_score: float = 1.0
    seed: int = 0
    parents: int = 1
    mutations: int = 1
    keep: int = 0
    accept_equal: bool = False
    remember_outputs: bool = False
    base: Path = field(default=Path("."), repr=False)

    def begin(self, problem: Problem) -> Evolution:
        from lampc.passes.optimize.gepa_run import Evolution

        check_count(self.name, **{n: getattr(self, n) for n in _COUNTS})
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise OptimizeError(f"{self.name}: `{name}` is {getattr(self, name)}; at least one is needed")
        _known(self.name, "candidate_selection_strategy", self.candidate_selection_strategy, SELECTORS)
        if not callable(self.component_selector):
            _known(self.name, "component_selector", self.component_selector, ("round_robin", "all"))
        if not problem.train:
            raise OptimizeError(f"{self.name}: split `{problem.train_split}` has no rows to reflect on")
        if not problem.tunable("instruction"):
            raise OptimizeError(f"{self.name}: no predictor has an instruction that may be changed")
        check_model(self.name, "reflection_model", self.reflection_model, problem.module)
        return Evolution(self, problem)

    def texts(self, problem: Problem) -> object:
        """What is read from files, which options do not say."""
        made = self.writer()
        return made.proposer.files(problem) if isinstance(made, ByProposer) else None

    def writer(self) -> Writer:
        """Who writes the new texts, with nothing written yet."""
        written = Reflect(prompt_model=self.reflection_model, max_tokens=self.max_proposal_tokens)
        return writer(self.proposer, self.pool, self.base, written, self.seed)

    def budget(self, problem: Problem) -> int:
        """Metric calls after which no iteration begins. Raises OptimizeError for more than one budget."""
        given = {"auto": self.auto, "max_full_evals": self.max_full_evals, "max_metric_calls": self.max_metric_calls}
        said = [name for name, value in given.items() if value]
        if len(said) > 1:
            raise OptimizeError(f"{self.name}: give one of {', '.join(given)}, not {' and '.join(said)}")
        if self.max_metric_calls:
            return self.max_metric_calls
        if self.max_full_evals:
            return self.max_full_evals * (len(problem.train) + problem.select_size)
        _known(self.name, "auto", self.auto or "light", tuple(AUTO))
        components = len(problem.tunable("instruction"))
        return auto_budget(components, AUTO[self.auto or "light"], problem.select_size or len(problem.train))


def auto_budget(components: int, candidates: int, rows: int, minibatch: int = 35, every: int = 5) -> int:
    """Metric calls that a search of MIPROv2's size would make: the program and each fifth trial on all `rows`, each
    trial on a minibatch, five runs for each candidate."""
    trials = int(max(2 * (components * 2) * math.log2(candidates), 1.5 * candidates))
    full = (trials + 1) // every + 1 + (trials < every)
    return rows + candidates * 5 + trials * minibatch + full * rows


def _known(who: str, option: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptimizeError(f"{who}: `{option}` is {value!r}; known: {', '.join(known)}")
