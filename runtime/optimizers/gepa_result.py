"""What DSPy's GEPA tells of a run: `detailed_results`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.module import Module
from lampc.ir import Obj, thaw
from lampc.runtime.optimizers.base import Found


class ScoreWithFeedback(Prediction):
    """What a metric gives GEPA: a score, and a remark on the call that it was asked about."""

    score: float
    feedback: str
    objective_scores: dict[str, float] | None


@dataclass(frozen=True)
class DspyGEPAResult:
    """The accepted candidates as modules, from which each was made (the first from none), their mean scores on the
    validation rows and the scores by row; which of them are best on which row, and how many metric calls there had
    been when each was found. With `track_best_outputs` also what they put out on the rows where they are best."""

    candidates: list[Module]
    parents: list[list[int | None]]
    val_aggregate_scores: list[float]
    val_subscores: list[dict[Any, float]]
    per_val_instance_best_candidates: dict[Any, set[int]]
    discovery_eval_counts: list[int]
    best_outputs_valset: dict[Any, list[tuple[int, Prediction]]] | None = None
    total_metric_calls: int | None = None
    num_full_val_evals: int | None = None
    log_dir: str | None = None
    seed: int | None = None
    val_aggregate_subscores: list[dict[str, float]] | None = None
    per_objective_best_candidates: dict[str, set[int]] | None = None
    objective_pareto_front: dict[str, float] | None = None

    @property
    def best_idx(self) -> int:
        scores = self.val_aggregate_scores
        return scores.index(max(scores))

    @property
    def best_candidate(self) -> Module:
        return self.candidates[self.best_idx]

    @property
    def highest_score_achieved_per_val_task(self) -> dict[Any, float]:
        best = self.per_val_instance_best_candidates
        return {row: self.val_subscores[min(places)][row] for row, places in best.items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain values; candidates as their instructions by predictor."""
        texts = [{name: p.signature.instructions for name, p in c.named_predictors()} for c in self.candidates]
        best = {row: sorted(places) for row, places in self.per_val_instance_best_candidates.items()}
        return {
            "candidates": texts,
            "parents": self.parents,
            "val_aggregate_scores": self.val_aggregate_scores,
            "best_outputs_valset": self.best_outputs_valset,
            "val_subscores": self.val_subscores,
            "per_val_instance_best_candidates": best,
            "val_aggregate_subscores": self.val_aggregate_subscores,
            "per_objective_best_candidates": self.per_objective_best_candidates,
            "objective_pareto_front": self.objective_pareto_front,
            "discovery_eval_counts": self.discovery_eval_counts,
            "total_metric_calls": self.total_metric_calls,
            "num_full_val_evals": self.num_full_val_evals,
            "log_dir": self.log_dir,
            "seed": self.seed,
            "best_idx": self.best_idx,
        }


def details(found: Found, outputs: bool, log_dir: str | None, seed: int | None) -> DspyGEPAResult:
    """From the history of a run."""
    history = [c for c in found.result.history if c.step == "gepa"]
    facts: list[dict[str, Any]] = [dict(c.facts) for c in history]
    accepted = [i for i, f in enumerate(facts) if "place" in f]
    place = {i: n for n, i in enumerate(accepted)}
    scores = [list(facts[i]["scores"]) for i in accepted]
    rows = range(len(scores[0]) if scores else 0)
    top = [max(s[r] for s in scores) for r in rows]
    best = {r: {n for n, s in enumerate(scores) if s[r] == top[r]} for r in rows}
    kept = None
    if outputs:
        kept = {r: [(n, _prediction(facts[accepted[n]]["outputs"][r])) for n in sorted(best[r])] for r in rows}
    return DspyGEPAResult(
        candidates=[found.program(history[i].assignment) for i in accepted],
        parents=[[place[p] for p in history[i].parents] or [None] for i in accepted],
        val_aggregate_scores=[sum(s) / len(s) for s in scores],
        val_subscores=[dict(enumerate(s)) for s in scores],
        per_val_instance_best_candidates=best,
        discovery_eval_counts=[facts[i]["metric_calls_before"] for i in accepted],
        best_outputs_valset=kept,
        total_metric_calls=facts[0].get("metric_calls"),
        num_full_val_evals=facts[0].get("full_evaluations"),
        log_dir=log_dir,
        seed=seed,
    )


def _prediction(outputs: Obj | None) -> Any:
    return None if outputs is None else Prediction(thaw(outputs))
