"""MIPROv2: instructions that are proposed and sets of demos that are bootstrapped, combined by Bayesian search.

Three stages: sets of demos, proposals grounded in data, program, demos and tips, then trials. One `Random(seed)` makes
all draws outside of the sampler, in DSPy's order, whoever proposes: with the same proposals the trials are DSPy's.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from lampc.ir import Demo, DemoSet
from lampc.passes.optimize.bootstrap import BootstrapFewShot
from lampc.passes.optimize.combining import Combining, Texts
from lampc.passes.optimize.demo_sets import DemoSets
from lampc.passes.optimize.mipro.plan import Plan, make_plan
from lampc.passes.optimize.mipro.search import Search, Variable
from lampc.passes.optimize.proposers.choose import chosen
from lampc.passes.optimize.proposers.grounded import TIPS, Grounded
from lampc.passes.optimize.proposers.protocol import Drafting, Proposer, Wish
from lampc.passes.optimize.protocol import Demand, OptimizeError, Problem, check_count
from lampc.passes.optimize.tpe import optuna_module

logger = logging.getLogger(__name__)

_COUNTS = ("max_bootstrapped_demos", "max_labeled_demos", "max_errors")
_DEMOS_SHOWN = 3  # to who writes an instruction; in zero-shot mode also how many are bootstrapped for that


@dataclass(frozen=True)
class MIPROv2:
    """Options as in DSPy.

    With both `max_..._demos` at 0 the demos stay as they are: zero-shot. `prompt_model` writes instructions, of
    `max_proposal_tokens` at most (0: no bound), and `teacher_model` runs bootstraps (symbols of models). `proposer` is
    `grounded` (a model writes), `pool`, `templates` or `edits`, or an object; `pool` holds the texts or templates. `q`
    trials are sampled and run together: above 1 the sampler knows less, and the trials are others than DSPy's. With
    `keep_demos` the teacher shows the demos that it has. `drawn_from`: see `make_plan`; `program_code` is what a writer
    is shown of the program beside its predictors, if not our own writing of it.
    """

    name: ClassVar[str] = "mipro"
    auto: Literal["light", "medium", "heavy"] | None = "light"
    num_candidates: int | None = None
    num_trials: int | None = None
    max_bootstrapped_demos: int = 4
    max_labeled_demos: int = 4
    metric_threshold: float | None = None
    max_errors: int = 0
    minibatch: bool = True
    minibatch_size: int = 35
    minibatch_full_eval_steps: int = 5
    program_aware_proposer: bool = True
    data_aware_proposer: bool = True
    view_data_batch_size: int = 10
    tip_aware_proposer: bool = True
    fewshot_aware_proposer: bool = True
    init_temperature: float = 1.0
    prompt_model: str = ""
    max_proposal_tokens: int = 1024
    teacher_model: str = ""
    proposer: Any = ""
    pool: Any = ()
    q: int = 1
    seed: int = 9
    keep_demos: bool = False
    drawn_from: int = 0
    program_code: str = field(default="", repr=False)
    base: Path = field(default=Path("."), repr=False)

    @property
    def zeroshot(self) -> bool:
        return not self.max_bootstrapped_demos and not self.max_labeled_demos

    def begin(self, problem: Problem) -> Mipro:
        check_count(self.name, **{n: getattr(self, n) for n in _COUNTS})
        if self.q < 1:
            raise OptimizeError(f"{self.name}: `q` is {self.q}; at least one trial is made at a time")
        optuna_module(self.name)
        return Mipro(self, problem)

    def texts(self, problem: Problem) -> object:
        """What is read from files, which options do not say."""
        return self._proposer().files(problem)

    def plan(self, problem: Problem, rng: random.Random) -> Plan:
        """Raises OptimizeError for options that do not suit the problem."""
        free = len(problem.tunable("instruction")) + (0 if self.zeroshot else len(problem.tunable("demos")))
        if not free:
            raise OptimizeError(f"{self.name}: nothing of the program may be changed")
        return make_plan(
            auto=self.auto, num_candidates=self.num_candidates, num_trials=self.num_trials, minibatch=self.minibatch,
            minibatch_size=self.minibatch_size, full_steps=self.minibatch_full_eval_steps, zeroshot=self.zeroshot,
            variables=free, select=problem.select_size, drawn_from=self.drawn_from, rng=rng,
        )  # fmt: skip

    def bootstrap(self) -> BootstrapFewShot:
        """How demos are made; in zero-shot mode they only inform proposals."""
        return BootstrapFewShot(
            max_bootstrapped_demos=_DEMOS_SHOWN if self.zeroshot else self.max_bootstrapped_demos,
            max_labeled_demos=self.max_labeled_demos,
            metric_threshold=self.metric_threshold,
            max_errors=self.max_errors,
            teacher_model=self.teacher_model,
            speculate=1.0,
            keep_demos=self.keep_demos or not self.max_labeled_demos,
        )

    def _proposer(self) -> Proposer:
        written = Grounded(
            prompt_model=self.prompt_model,
            temperature=self.init_temperature,
            max_tokens=self.max_proposal_tokens,
            data_aware=self.data_aware_proposer,
            program_aware=self.program_aware_proposer,
            view_data_batch_size=self.view_data_batch_size,
            program_code=self.program_code,
        )
        return chosen(self.name, self.proposer, self.pool, self.base, written, self.seed)


class Mipro(Combining[Search]):
    """A run under way: its stages one after another."""

    def __init__(self, options: MIPROv2, problem: Problem) -> None:
        self.options = options
        self._rng = random.Random(options.seed)
        proposer = options._proposer()
        self.plan = options.plan(problem, self._rng)
        if not problem.train:
            raise OptimizeError(f"{options.name}: split `{problem.train_split}` has no rows to make demos of")
        self._demos_free = {p.symbol for p in problem.tunable("demos")}
        self._told = {p.symbol: p for p in problem.tunable("instruction")}
        count = self.plan.sets if self._demos_free else 0
        super().__init__(problem, DemoSets(problem, count, options.bootstrap(), self._rng), proposer)
        self._step()

    def _of_trials(self) -> Demand:
        return self.plan.demand()

    def _begin(self, texts: Texts, drafting: Drafting) -> Search:
        lacking = len(self._wishes) - sum(map(len, texts.values()))
        if lacking:
            why = next(iter(getattr(drafting, "errors", [])), "the proposer has no more")
            logger.warning("%s: %d of %d proposals are missing: %s", self.options.name, lacking, len(self._wishes), why)
        o = self.options
        return Search(o.name, self.problem, self.plan, list(self._variables(texts)), o.seed, self._rng, o.q)

    def _wished(self) -> int:
        each = min(self.plan.instructions, self.plan.sets) if self._demos_free else self.plan.instructions
        return max(0, each - 1) * len(self._told)

    def _wish(self) -> Iterator[Wish]:
        """What is to be proposed. Of each predictor's instructions the first is the one that it has, so none is asked
        for; the draws for it are made all the same, as there."""
        each = self._wished() // max(1, len(self._told)) + 1
        for name, predictor in self._told.items():
            sets = self._sets.demos(name) if name in self._demos_free else []
            for i in range(each):
                tip = self._rng.choice(list(TIPS)) if self.options.tip_aware_proposer else "none"
                number = self._rng.randint(0, 10**9)
                if i:
                    shown = _shown(sets, i) if self.options.fewshot_aware_proposer else ()
                    instruction = self.problem.instruction(self.problem.start, predictor)
                    yield Wish(predictor, instruction, shown, tip=TIPS[tip], number=number)

    def _variables(self, texts: Texts) -> Iterator[Variable]:
        offered = 0
        for i, predictor in enumerate(self.problem.predictors()):
            name = predictor.symbol
            if name in self._told:
                values = (self.problem.instruction(self.problem.start, predictor), *texts.get(name, ()))
                offered += len(values) > 1
                yield Variable(f"{i}_predictor_instruction", f"{name}.instruction", values)
            if name in self._demos_free and not self.options.zeroshot:
                sets = tuple(DemoSet(demos) for demos in self._sets.demos(name))
                offered += len(sets) > 1
                yield Variable(f"{i}_predictor_demos", f"{name}.demos", sets)
        if not offered:
            raise OptimizeError(f"{self.options.name}: there is one choice of everything; no proposal could be had")


def _shown(sets: list[tuple[Demo, ...]], i: int) -> tuple[Demo, ...]:
    """Bootstrapped demos of the set `i` and, where they are too few, of those after it, then of those before."""
    rest = sets[i:] + sets[:i]
    return tuple(d for demos in rest for d in demos if d.augmented)[:_DEMOS_SHOWN]
