"""JointSearch: instruction, demos, layout, retriever, k, model and tuned values chosen together, by score and tokens.

Three stages: sets of demos are bootstrapped, instructions proposed, then points of the whole space tried. Changing one
parameter at a time misses what only pays together: more passages and the layout that has room for them, a query and the
store that understands it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lampc.ir import DemoSet
from lampc.passes.optimize.bootstrap import BootstrapFewShot
from lampc.passes.optimize.combining import Combining, Texts
from lampc.passes.optimize.demo_sets import DemoSets
from lampc.passes.optimize.joint.front import Point
from lampc.passes.optimize.joint.search import Plan, Search
from lampc.passes.optimize.joint.space import make_space, static_axes
from lampc.passes.optimize.proposers.choose import chosen
from lampc.passes.optimize.proposers.grounded import Grounded
from lampc.passes.optimize.proposers.protocol import Drafting, Proposer, Wish
from lampc.passes.optimize.protocol import Demand, OptimizeError, Problem, check_count
from lampc.passes.optimize.tpe import optuna_module

LAYOUTS = ("compact", "chat", "json", "xml")


@dataclass(frozen=True)
class JointSearch:
    """The result is the best by `score - tokens / tokens_per_point` of what was scored on all rows: a point of score
    (of 100) is worth so many tokens a row. With `tokens_per_point` 0 score alone counts, and tokens between equals. The
    whole front is in the history.

    What is chosen from: `instructions` of each predictor, the one that it has included, by `proposer` (`pool`,
    `templates`, `edits`, or `grounded`, which asks `prompt_model`; empty: `pool` if one is given, else `edits`);
    `demo_sets` sets of up to `max_bootstrapped_demos` and `max_labeled_demos`, the first of them empty; `layouts`;
    `models` (symbols of the program); for each retriever half and twice its `k`; the declared values of what is tuned.
    `choices` gives those of a parameter itself: `{"facts.store": ["wiki", "news"], "facts.k": [1, 2, 4]}`. Frozen
    parameters stay.

    `trials` points are scored on `minibatch_size` rows each, `q` at a time; after every `full_steps` of them up to
    `width` members of the front are scored on all rows, and in the end up to `finals`. Every `front_steps`-th trial is
    for the front and not for the trade (0: none).
    """

    name: ClassVar[str] = "joint"
    tokens_per_point: float = 0.0
    trials: int = 40
    choices: Any = field(default_factory=dict)
    instructions: int = 4
    proposer: Any = ""
    pool: Any = ()
    prompt_model: str = ""
    demo_sets: int = 4
    max_bootstrapped_demos: int = 4
    max_labeled_demos: int = 4
    metric_threshold: float | None = None
    max_errors: int = 0
    teacher_model: str = ""
    layouts: tuple[str, ...] = LAYOUTS
    models: tuple[str, ...] = ()
    minibatch_size: int = 35
    full_steps: int = 10
    width: int = 2
    finals: int = 8
    front_steps: int = 6
    q: int = 4
    seed: int = 0
    base: Path = field(default=Path("."), repr=False)

    def begin(self, problem: Problem) -> Joint:
        names = (
            "tokens_per_point", "instructions", "demo_sets", "max_bootstrapped_demos", "max_labeled_demos",
            "max_errors", "width", "finals", "front_steps",
        )  # fmt: skip
        check_count(self.name, **{n: getattr(self, n) for n in names})
        for name in ("trials", "minibatch_size", "full_steps", "q"):
            if getattr(self, name) < 1:
                raise OptimizeError(f"{self.name}: `{name}` is {getattr(self, name)}; at least 1 is needed")
        if not problem.select_size:
            raise OptimizeError(f"{self.name}: split `{problem.select_split}` has no rows to score on")
        optuna_module(self.name)
        return Joint(self, problem)

    def worth(self, score: float, tokens: float) -> float:
        """A candidate's worth, in points of score."""
        return score - (tokens / self.tokens_per_point if self.tokens_per_point else 0.0)

    def texts(self, problem: Problem) -> object:
        """What is read from files, which options do not say."""
        return self.proposes().files(problem)

    def proposes(self) -> Proposer:
        written = Grounded(prompt_model=self.prompt_model)
        name = self.proposer or ("pool" if self.pool else "edits")
        return chosen(self.name, name, self.pool, self.base, written, self.seed)

    def bootstrap(self) -> BootstrapFewShot:
        return BootstrapFewShot(
            max_bootstrapped_demos=self.max_bootstrapped_demos,
            max_labeled_demos=self.max_labeled_demos,
            metric_threshold=self.metric_threshold,
            max_errors=self.max_errors,
            teacher_model=self.teacher_model,
            speculate=1.0,
            keep_demos=not self.max_labeled_demos,
        )


class Joint(Combining[Search]):
    """A run under way: its stages one after another."""

    def __init__(self, options: JointSearch, problem: Problem) -> None:
        self.options = options
        self._static = static_axes(problem, options.name, dict(options.choices), options.layouts, options.models)
        fixed = set(self._static)
        self._free = [p.symbol for p in problem.tunable("demos") if f"{p.symbol}.demos" not in fixed]
        self._told = [p for p in problem.tunable("instruction") if f"{p.symbol}.instruction" not in fixed]
        demos = bool(self._free and problem.train and (options.max_bootstrapped_demos or options.max_labeled_demos))
        rng = random.Random(f"{options.seed} demos")
        sets = DemoSets(problem, options.demo_sets if demos else 0, options.bootstrap(), rng)
        super().__init__(problem, sets, options.proposes())
        self._step()

    @property
    def front(self) -> list[Point]:
        return self.search.front if self.search is not None else []

    def _plan(self) -> Plan:
        o = self.options
        minibatch = min(o.minibatch_size, self.problem.select_size)
        return Plan(o.trials, minibatch, o.q, o.full_steps, o.width, o.finals, o.front_steps)

    def _of_trials(self) -> Demand:
        rows, plan = self.problem.select_size, self._plan()
        stations = max(0, (plan.trials - 1) // plan.full_steps) if plan.minibatch < rows else 0
        fulls = (stations * plan.width + plan.finals) * rows if plan.minibatch < rows else 0
        return Demand(rows, rows + plan.trials * plan.minibatch + fulls)

    def _wished(self) -> int:
        return max(0, self.options.instructions - 1) * len(self._told)

    def _wish(self) -> Iterator[Wish]:
        """Of each predictor's instructions the first is the one that it has, so none is asked for."""
        rng = random.Random(f"{self.options.seed} wishes")
        for predictor in self._told:
            instruction = self.problem.instruction(self.problem.start, predictor)
            for _ in range(self.options.instructions - 1):
                yield Wish(predictor, instruction, number=rng.randrange(10**9))

    def _begin(self, texts: Texts, drafting: Drafting) -> Search:
        sets = {n: [DemoSet(d) for d in self._sets.demos(n)] for n in self._free}
        space = make_space(self.problem, self._static, texts, sets)
        if not space.axes:
            raise OptimizeError(
                f"{self.options.name}: there is one choice of everything; give `choices`, `pool` or `layouts`, or "
                "training rows to make demos of"
            )
        options = self.options
        return Search(options.name, self.problem, space, self._plan(), options.worth, options.seed)
