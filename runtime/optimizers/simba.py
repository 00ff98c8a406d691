"""DSPy's SIMBA: demos and rules out of the runs that differ most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.module import Module
from lampc.ir.modelnames import model_name
from lampc.ir.settings import settings
from lampc.runtime.configure import as_lm
from lampc.runtime.optimizers.base import Found, Teleprompter, improve, module_of
from lampc.runtime.optimizers.mipro import proposal_tokens

if TYPE_CHECKING:
    from lampc.passes.optimize import SIMBA as Strategy


class SIMBA(Teleprompter):
    """Arguments and defaults are DSPy's; with the same answers of models it makes the same programs.

    All runs of a step are made together. `prompt_model` writes the rules; with `rules=False`, which is ours, there are
    demos only, and no model has to write. Of `teacher_settings` the `lm` is heeded: it makes the first run of each row.
    """

    def __init__(
        self,
        *,
        metric: Callable[..., Any],
        bsize: int = 32,
        num_candidates: int = 6,
        max_steps: int = 8,
        max_demos: int = 4,
        prompt_model: Any | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        demo_input_field_maxlen: int = 100_000,
        num_threads: int | None = None,
        temperature_for_sampling: float = 0.2,
        temperature_for_candidates: float = 0.2,
        rules: bool = True,
    ) -> None:
        self.metric = metric
        self.bsize, self.num_candidates, self.max_steps, self.max_demos = bsize, num_candidates, max_steps, max_demos
        self.prompt_model = as_lm(prompt_model) if prompt_model is not None else None
        self.teacher_settings = dict(teacher_settings or {})
        self.demo_input_field_maxlen = demo_input_field_maxlen
        self.num_threads = num_threads
        self.temperature_for_sampling = temperature_for_sampling
        self.temperature_for_candidates = temperature_for_candidates
        self.rules = rules

    def compile(self, student: Module, *, trainset: Sequence[Any], seed: int = 0) -> Module:
        """A copy of `student` with demos and rules, the best on all of `trainset` among the winners of the steps.

        The result has `candidate_programs`, those scored on all rows, best first, and `trial_logs` by step.
        """
        if unknown := [name for name in self.teacher_settings if name != "lm"]:
            raise ValueError(f"teacher_settings: {unknown[0]!r} is not supported; `lm` is")
        found = improve(
            module_of(student), self.strategy(seed), trainset=trainset, metric=self.metric,
            num_threads=self.num_threads,
        )  # fmt: skip
        made = found.module
        made._compiled = student._compiled
        _attach(made, found, self.max_steps)
        return made

    def strategy(self, seed: int = 0) -> Strategy:
        """The search that `compile` makes."""
        from lampc.passes.optimize import SIMBA

        teacher = self.teacher_settings.get("lm")
        return SIMBA(
            prompt_model=model_name(self.prompt_model) if self.prompt_model is not None else "",
            max_proposal_tokens=proposal_tokens(self.prompt_model or settings.get("lm")),
            teacher_model="" if not self.teacher_settings else model_name(None if teacher is None else as_lm(teacher)),
            seed=seed,
            **self._plain(),
        )

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its models those of the program, by
        name."""
        models = {"prompt_model": self.prompt_model, "teacher_model": self.teacher_settings.get("lm")}
        return "simba", {**self._plain(), **{n: as_lm(m).model for n, m in models.items() if m is not None}}

    def _plain(self) -> dict[str, Any]:
        names = (
            "bsize", "num_candidates", "max_steps", "max_demos", "demo_input_field_maxlen", "temperature_for_sampling",
            "temperature_for_candidates", "rules",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def _attach(made: Any, found: Found, steps: int) -> None:
    """What DSPy's result knows of how it was found."""
    scored = [(c.assignment, c.facts["mean"]) for c in found.result.history if "winner" in c.facts]
    logs: dict[int, dict[str, Any]] = {step: {} for step in range(steps)}
    for place, (_, mean) in enumerate(scored[1:]):
        logs[place]["train_score"] = mean
    programs: list[dict[str, Any]] = [{"score": mean, "program": found.program(a)} for a, mean in scored]
    for entry in programs:
        entry["program"]._compiled = made._compiled
    made.candidate_programs = sorted(programs, key=lambda p: -p["score"])
    made.trial_logs = logs
