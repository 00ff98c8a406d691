"""DSPy's GEPA: instructions that evolve by reflection on what the metric says of single calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.module import Module, predictor_symbols
from lampc.ir.modelnames import model_name
from lampc.ir.settings import settings
from lampc.runtime.configure import as_lm
from lampc.runtime.host_sources import code_identity
from lampc.runtime.optimizers.base import Teleprompter, improve, module_of
from lampc.runtime.optimizers.gepa_result import details
from lampc.runtime.optimizers.instruction_proposer import InstructionProposer
from lampc.runtime.optimizers.mipro import proposal_tokens
from lampc.runtime.optimizers.proposing_code import ProposingCode

if TYPE_CHECKING:
    from lampc.passes.optimize import GEPA as Strategy

_AUTO = ("light", "medium", "heavy")
_PASSED_ON = ("merge_val_overlap_floor", "parents", "mutations", "keep", "accept_equal", "pool")
_ACCEPT = {"strict_improvement": False, "improvement_or_equal": True}


class GEPA(Teleprompter):
    """Arguments and defaults are DSPy's; with the same proposals it makes the same candidates.

    `metric(gold, pred, trace, pred_name, pred_trace)` gives a score, or a prediction of `score` and `feedback`.
    `instruction_proposer` is an `InstructionProposer` (the default), code of DSPy's form, or one of `"pool"`, `"edits"`
    and `"templates"`, which need no model that can write. `gepa_kwargs` takes the strategies of the package `gepa` that
    propose several candidates an iteration (`sampling_strategy`, `selection_strategy`), `acceptance_criterion`,
    `merge_val_overlap_floor`, and ours: `parents`, `mutations`, `keep`, `accept_equal`, and the texts of a `pool`.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        auto: str | None = None,
        max_full_evals: int | None = None,
        max_metric_calls: int | None = None,
        reflection_minibatch_size: int = 3,
        candidate_selection_strategy: str = "pareto",
        reflection_lm: Any | None = None,
        skip_perfect_score: bool = True,
        add_format_failure_as_feedback: bool = False,
        instruction_proposer: Any | None = None,
        code_proposer: Any | None = None,
        component_selector: Any = "round_robin",
        use_merge: bool = True,
        max_merge_invocations: int | None = 5,
        num_threads: int | None = None,
        failure_score: float = 0.0,
        perfect_score: float = 1.0,
        log_dir: str | None = None,
        track_stats: bool = False,
        use_wandb: bool = False,
        wandb_api_key: str | None = None,
        wandb_init_kwargs: dict[str, Any] | None = None,
        track_best_outputs: bool = False,
        warn_on_score_mismatch: bool = True,
        use_mlflow: bool = False,
        seed: int | None = 0,
        gepa_kwargs: dict[str, Any] | None = None,
    ) -> None:
        try:
            inspect.signature(metric).bind(None, None, None, None, None)
        except TypeError as e:
            raise TypeError(
                "GEPA calls its metric with five arguments, (gold, pred, trace, pred_name, pred_trace); "
                f"this one does not take them: {e}"
            ) from e
        budgets = {"max_metric_calls": max_metric_calls, "max_full_evals": max_full_evals, "auto": auto}
        if sum(v is not None for v in budgets.values()) != 1:
            said = ", ".join(f"{k}={v!r}" for k, v in budgets.items())
            raise ValueError(f"exactly one of {', '.join(budgets)} has to be given, not {said}")
        if auto is not None and auto not in _AUTO:
            raise ValueError(f"auto is one of {', '.join(_AUTO)}, not {auto!r}")
        if reflection_lm is None and instruction_proposer is None:
            raise ValueError(
                "give a `reflection_lm` that can write instructions, or an `instruction_proposer` "
                '("edits", "templates" and "pool" need no such model)'
            )
        if use_wandb or use_mlflow:
            raise ValueError("nothing is logged to W&B or MLflow; `log_dir` keeps a record that `lampc report` shows")
        if code_proposer is not None:
            raise ValueError("programs whose code is optimized (`dspy.Flex`) are not supported, so nothing asks a "
                             "`code_proposer`")  # fmt: skip
        if track_best_outputs and not track_stats:
            raise ValueError("track_best_outputs is kept in the statistics: give track_stats=True, too")
        self.metric_fn = metric
        self.auto, self.max_full_evals, self.max_metric_calls = auto, max_full_evals, max_metric_calls
        self.reflection_minibatch_size = reflection_minibatch_size
        self.candidate_selection_strategy = candidate_selection_strategy
        self.reflection_lm = as_lm(reflection_lm) if reflection_lm is not None else None
        self.skip_perfect_score = skip_perfect_score
        self.add_format_failure_as_feedback = add_format_failure_as_feedback
        self.custom_instruction_proposer = instruction_proposer
        self.component_selector = component_selector
        self.use_merge, self.max_merge_invocations = use_merge, max_merge_invocations
        self.num_threads, self.log_dir = num_threads, log_dir
        self.failure_score, self.perfect_score = failure_score, perfect_score
        self.track_stats, self.track_best_outputs = track_stats, track_best_outputs
        self.warn_on_score_mismatch, self.seed = warn_on_score_mismatch, seed
        self.gepa_kwargs = dict(gepa_kwargs or {})
        self._more = _options(self.gepa_kwargs)

    def auto_budget(
        self, num_preds: int, num_candidates: int, valset_size: int, minibatch_size: int = 35, full_eval_steps: int = 5
    ) -> int:
        """Metric calls of an automatic budget."""
        from lampc.passes.optimize.gepa import auto_budget

        if valset_size < 0 or minibatch_size < 0 or full_eval_steps < 1:
            raise ValueError("sizes cannot be negative, and full_eval_steps is at least 1")
        return auto_budget(num_preds, num_candidates, valset_size, minibatch_size, full_eval_steps)

    def compile(
        self,
        student: Module,
        *,
        trainset: Sequence[Any],
        teacher: Module | None = None,
        valset: Sequence[Any] | None = None,
    ) -> Module:
        """A copy of `student` with the instructions that score best on `valset`, or on `trainset` without one.

        With `track_stats` the result has `detailed_results` (a `DspyGEPAResult`). With `log_dir`, what is finished
        stands there: the same call goes on from it.
        """
        if not trainset:
            raise ValueError("the trainset is empty")
        if teacher is not None:
            raise ValueError("GEPA asks no teacher")
        strategy = self.strategy(module_of(student))
        found = improve(
            student, strategy, trainset=trainset, valset=valset, metric=self.metric_fn, num_threads=self.num_threads,
            log_dir=self.log_dir,
        )  # fmt: skip
        made: Any = found.module
        made._compiled = student._compiled
        if self.track_stats:
            made.detailed_results = details(found, self.track_best_outputs, self.log_dir, self.seed)
        return found.module

    def strategy(self, student: Module) -> Strategy:
        """The search that `compile` makes."""
        from lampc.passes.optimize import GEPA

        symbols = [symbol for symbol, _ in predictor_symbols(student)]
        names = dict(zip(symbols, (name for name, _ in student.named_predictors()), strict=True))
        selector = self.component_selector
        return GEPA(
            auto=self.auto or "",
            max_full_evals=self.max_full_evals or 0,
            max_metric_calls=self.max_metric_calls or 0,
            reflection_minibatch_size=self.reflection_minibatch_size,
            candidate_selection_strategy=self.candidate_selection_strategy,
            proposer=self._proposer(names),
            skip_perfect_score=self.skip_perfect_score,
            add_format_failure_as_feedback=self.add_format_failure_as_feedback,
            component_selector=Selector(selector, names, code_identity(selector)) if callable(selector) else selector,
            use_merge=self.use_merge,
            max_merge_invocations=1 << 30 if self.max_merge_invocations is None else self.max_merge_invocations,
            failure_score=self.failure_score,
            perfect_score=self.perfect_score,
            seed=self.seed or 0,
            remember_outputs=self.track_best_outputs,
            **self._more,
        )

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its reflection LM a model of the
        program, by name."""
        plain = ("auto", "max_full_evals", "max_metric_calls", "reflection_minibatch_size", "perfect_score",
                 "candidate_selection_strategy", "skip_perfect_score", "add_format_failure_as_feedback",
                 "component_selector", "use_merge", "max_merge_invocations", "failure_score", "seed")  # fmt: skip
        options = {n: v for n in plain if (v := getattr(self, n)) is not None}
        if self.reflection_lm is not None:
            options["reflection_model"] = self.reflection_lm.model
        if self.custom_instruction_proposer is not None:
            options["proposer"] = self.custom_instruction_proposer
        return "gepa", {**options, **self._more}

    def _proposer(self, names: Mapping[str, str]) -> Any:
        from lampc.passes.optimize.gepa_writers import ByFunction

        given = self.custom_instruction_proposer
        given = InstructionProposer() if given is None else given
        if isinstance(given, InstructionProposer):
            lm = self.reflection_lm
            return given.proposer("" if lm is None else model_name(lm), proposal_tokens(lm or settings.get("lm")))
        if isinstance(given, str) or hasattr(given, "begin") or not callable(given):
            return given

        identity = code_identity(given)
        code = ProposingCode(given, self.reflection_lm, identity, kept=self.log_dir is not None)
        return ByFunction(code, tuple(names.items()), identity)


@dataclass(frozen=True)
class Selector:
    """Code of the user's that chooses components, which it knows by DSPy's `names`."""

    function: Callable[..., Any] = field(repr=False)
    names: Mapping[str, str]
    identity: str = ""

    def __call__(self, state: Any, runs: Any, scores: Any, place: int, candidate: Mapping[str, str]) -> list[str]:
        back = {name: symbol for symbol, name in self.names.items()}
        known = {self.names[symbol]: text for symbol, text in candidate.items()}
        return [back.get(name, name) for name in self.function(state, runs, scores, place, known)]


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    """`gepa_kwargs` as options of the strategy. Raises ValueError for one that is not known."""
    out: dict[str, Any] = {}
    for name, value in given.items():
        kind = type(value).__name__
        match name:
            case "sampling_strategy" if kind in _SAMPLING:
                out["parents"], out["mutations"] = _SAMPLING[kind](value)
            case "selection_strategy" if kind in _SELECTION:
                out["keep"] = _SELECTION[kind](value)
            case "acceptance_criterion" if value in _ACCEPT:
                out["accept_equal"] = _ACCEPT[value]
            case "frontier_type" if value == "instance":
                pass
            case _ if name in _PASSED_ON:
                out[name] = value
            case "sampling_strategy" | "selection_strategy" | "acceptance_criterion" | "frontier_type":
                raise ValueError(f"gepa_kwargs: {name}={value!r} is not supported")
            case _:
                known = ", ".join(("sampling_strategy", "selection_strategy", "acceptance_criterion", *_PASSED_ON))
                raise ValueError(f"gepa_kwargs: {name!r} is not supported; supported are {known}")
    return out


_SAMPLING: dict[str, Callable[[Any], tuple[int, int]]] = {
    "SingleMutationSampling": lambda s: (1, 1),
    "SameParentSampling": lambda s: (1, s.n),
    "IndependentSampling": lambda s: (s.n, 1),
    "PxNSampling": lambda s: (s.p, s.n),
}
_SELECTION: dict[str, Callable[[Any], int]] = {
    "NoneType": lambda s: 0,
    "AllImprovements": lambda s: 0,
    "BestImprovement": lambda s: 1,
    "TopKImprovements": lambda s: s.k,
}
