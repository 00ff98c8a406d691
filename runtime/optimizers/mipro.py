"""DSPy's MIPROv2: proposed instructions and bootstrapped demos, combined by Bayesian search."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.ir import Assignment, thaw
from lampc.ir.modelnames import model_name
from lampc.ir.settings import settings
from lampc.ir.sources import source_of
from lampc.runtime.configure import as_lm, context
from lampc.runtime.optimizers.base import Found, Teleprompter, examples_of, improve, module_of
from lampc.runtime.optimizers.bootstrap import bootstrap_step

logger = logging.getLogger(__name__)

Auto = Literal["light", "medium", "heavy"]


class MIPROv2(Teleprompter):
    """Arguments and defaults are DSPy's; with the same proposals it makes the same trials.

    Ours: `proposer` (`"pool"`, `"templates"`, `"edits"` need no model that can write; or an object) and `pool`, its
    texts; and `q`, how many trials are sampled and run together. Above 1 the sampler knows less when it draws, so the
    trials are not DSPy's. A row that fails scores 0; it does not make its whole trial score 0.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        prompt_model: Any | None = None,
        task_model: Any | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 4,
        auto: Auto | None = "light",
        num_candidates: int | None = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        seed: int = 9,
        init_temperature: float = 1.0,
        verbose: bool = False,
        track_stats: bool = True,
        log_dir: str | None = None,
        metric_threshold: float | None = None,
        *,
        proposer: Any = "",
        pool: Any = (),
        q: int = 1,
    ) -> None:
        if auto not in (None, "light", "medium", "heavy"):
            raise ValueError(f"auto is light, medium, heavy or None, not {auto!r}")
        self.task_model = as_lm(task_model) if task_model else settings.get("lm")
        self.prompt_model = as_lm(prompt_model) if prompt_model else settings.get("lm")
        if not self.prompt_model or not self.task_model:
            raise ValueError("give prompt_model and task_model, or a default: lampc.configure(lm=...)")
        self.metric, self.metric_threshold = metric, metric_threshold
        self.teacher_settings = dict(teacher_settings or {})
        self.max_bootstrapped_demos, self.max_labeled_demos = max_bootstrapped_demos, max_labeled_demos
        self.auto: Auto | None = auto
        self.num_candidates, self.num_threads, self.max_errors = num_candidates, num_threads, max_errors
        self.seed, self.init_temperature = seed, init_temperature
        self.verbose, self.track_stats, self.log_dir = verbose, track_stats, log_dir
        self.proposer, self.pool, self.q = proposer, pool, q

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its prompt model and its teacher's are
        models of the program, by name."""
        plain = ("num_candidates", "max_bootstrapped_demos", "max_labeled_demos", "metric_threshold", "max_errors",
                 "seed", "init_temperature", "proposer", "pool", "q")  # fmt: skip
        options = {n: getattr(self, n) for n in plain}
        if self.prompt_model is not self.task_model:
            options["prompt_model"] = self.prompt_model.model
        return "mipro", {"auto": self.auto, **bootstrap_step(options, self.teacher_settings)}

    def compile(
        self,
        student: Module,
        *,
        trainset: Sequence[Any],
        teacher: Module | None = None,
        valset: Sequence[Any] | None = None,
        num_trials: int | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        seed: int | None = None,
        minibatch: bool = True,
        minibatch_size: int = 35,
        minibatch_full_eval_steps: int = 5,
        program_aware_proposer: bool = True,
        data_aware_proposer: bool = True,
        view_data_batch_size: int = 10,
        tip_aware_proposer: bool = True,
        fewshot_aware_proposer: bool = True,
        requires_permission_to_run: bool | None = None,
        provide_traceback: bool | None = None,
    ) -> Module:
        """A copy of `student` with the best instructions and demos. Without a `valset`, the last four fifths of the
        training rows are it (1000 at most). A seed of 0 is one.

        With `verbose` progress is told on stderr where that is no terminal, too. With `track_stats` the result
        has `trial_logs`, `score`, `candidate_programs` (scored on all rows) and
        `mb_candidate_programs` (on minibatches), best first. Raises ValueError, and what `improve` raises.
        """
        from lampc.passes.optimize import MIPROv2 as Strategy
        from lampc.passes.optimize.mipro.plan import select_sample

        if requires_permission_to_run:
            raise ValueError("requires_permission_to_run was removed: nobody is asked; see dry_run()")
        train, val = _split(examples_of(trainset), valset)
        taught = module_of(student if teacher is None else teacher)
        most, seed = self.max_errors, self.seed if seed is None else seed
        labeled = self.max_labeled_demos if max_labeled_demos is None else max_labeled_demos
        strategy = Strategy(
            auto=self.auto,
            num_candidates=self.num_candidates,
            num_trials=num_trials,
            max_bootstrapped_demos=self.max_bootstrapped_demos
            if max_bootstrapped_demos is None
            else max_bootstrapped_demos,
            max_labeled_demos=labeled,
            metric_threshold=self.metric_threshold,
            max_errors=settings.max_errors or 0 if most is None else most,
            minibatch=minibatch,
            minibatch_size=minibatch_size,
            minibatch_full_eval_steps=minibatch_full_eval_steps,
            program_aware_proposer=program_aware_proposer,
            data_aware_proposer=data_aware_proposer,
            view_data_batch_size=view_data_batch_size,
            tip_aware_proposer=tip_aware_proposer,
            fewshot_aware_proposer=fewshot_aware_proposer,
            init_temperature=self.init_temperature,
            prompt_model="" if self.prompt_model is self.task_model else model_name(self.prompt_model),
            max_proposal_tokens=proposal_tokens(self.prompt_model),
            proposer=self.proposer,
            pool=self.pool,
            q=self.q,
            seed=seed,
            keep_demos=taught._compiled,
            drawn_from=len(val) if self.auto else 0,
            program_code=_source(student),
        )
        rows = select_sample(self.auto, seed, len(val))
        with context(lm=self.task_model):
            found = improve(
                module_of(student), strategy, trainset=train, valset=[val[i] for i in rows], metric=self.metric,
                teacher=teacher, teacher_settings=self.teacher_settings, num_threads=self.num_threads,
                log_dir=self.log_dir, verbose=self.verbose,
            )  # fmt: skip
        made = found.module
        made._compiled = student._compiled
        if self.track_stats:
            _attach(made, found, len(rows), self.log_dir)
        return made


def proposal_tokens(prompt_model: Any) -> int:
    """How long an answer of a model that writes may be: as the model says, else 1024."""
    return int(getattr(prompt_model, "kwargs", {}).get("max_tokens") or 1024)


def _split(trainset: list[Example], valset: Sequence[Any] | None) -> tuple[list[Example], list[Example]]:
    if not trainset:
        raise ValueError("the trainset is empty")
    if valset is not None:
        if not valset:
            raise ValueError("the valset is empty")
        return trainset, examples_of(valset)
    if len(trainset) < 2:
        raise ValueError("without a valset, the trainset is split, and needs two rows for that")
    cutoff = len(trainset) - min(1000, max(1, int(len(trainset) * 0.80)))
    return trainset[:cutoff], trainset[cutoff:]


def _source(student: Module) -> str:
    """The source of the program's class, for who writes instructions; empty where a predictor is all there is to it."""
    if isinstance(student, Predict | ChainOfThought):
        return ""
    with suppress(OSError, TypeError):
        return source_of(type(student))
    return ""


def _attach(made: Any, found: Found, rows: int, log_dir: str | None) -> None:
    """What DSPy's result knows of how it was found."""
    programs: dict[Assignment, Module] = {}
    logs: dict[int, dict[str, Any]] = {}
    scored: list[dict[str, Any]] = []
    calls = 0
    best = float("-inf")
    for candidate in found.result.history:
        facts = thaw(candidate.facts)
        if "trial" not in facts:
            continue
        program = programs.get(candidate.assignment)
        if program is None:
            program = programs[candidate.assignment] = found.program(candidate.assignment)
            program._compiled = made._compiled
        number, kind, score = facts["trial"], facts["kind"], candidate.score
        assert score is not None
        calls += candidate.rows
        sampled = kind == "minibatch" or (kind == "full" and facts["sampled"])
        prefix = "mb" if kind == "minibatch" else "full_eval"
        logs[number] = {
            **(facts["params"] if sampled else {}),
            f"{prefix}_program_path": _saved(program, log_dir, number, kind, sampled),
            f"{prefix}_score": score,
            "total_eval_calls_so_far": calls,
            f"{prefix}_program": program,
        }
        scored.append({"score": score, "program": program, "full_eval": candidate.rows >= rows})
        best = max(best, score) if kind != "minibatch" else best
    ranked = sorted(scored, key=lambda s: -s["score"])
    made.trial_logs, made.score = logs, best
    made.prompt_model_total_calls = made.total_calls = 0  # as there, where nothing counts them
    made.mb_candidate_programs = [s for s in ranked if not s["full_eval"]]
    made.candidate_programs = [s for s in ranked if s["full_eval"]]


def _saved(program: Module, log_dir: str | None, number: int, kind: str, sampled: bool) -> str | None:
    if log_dir is None:
        return None
    folder = Path(log_dir) / "evaluated_programs"
    folder.mkdir(parents=True, exist_ok=True)
    name = "-1" if kind == "start" else f"{number}" if sampled else f"{number}_full_eval"
    path = folder / f"program_{name}.json"
    program.save(str(path))
    return str(path)
