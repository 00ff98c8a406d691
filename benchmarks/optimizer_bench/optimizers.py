"""The optimizers that are compared, each called as a user of either library calls it: same name, same settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optimizer_bench.proposer import Script, proposer
from optimizer_bench.tasks import Task


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to do: rows of each split, and what optimizers search."""

    train: int = 24
    val: int = 60
    test: int = 50
    candidates: int = 6
    trials: int = 12
    minibatch: int = 20
    breadth: int = 5
    depth: int = 3
    steps: int = 5
    batch: int = 16
    metric_calls: int = 150


SMALL = Size(6, 6, 6, 2, 3, 3, 2, 2, 1, 4, 20)
"""For a test of the command itself."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One compilation: library `d`, its task and rows, how many threads DSPy may use, and the seed."""

    d: Any
    task: Task
    train: list[Any]
    val: list[Any]
    size: Size
    seed: int
    threads: int
    dspy: bool

    @property
    def metric(self) -> Any:
        return self.task.metric(self.d)

    def proposer(self, skip: int = 0) -> Any:
        """The scripted model. `skip`: how many of a predictor's proposals DSPy throws away first."""
        starts = {n: str(p.signature.instructions) for n, p in self.task.program(self.d).named_predictors()}
        return proposer(self.d, Script(self.task.pools, starts, skip if self.dspy else 0))


def bootstrap(a: Ask) -> Any:
    made = a.d.BootstrapFewShot(metric=a.metric, max_bootstrapped_demos=4, max_labeled_demos=4)
    return made.compile(a.task.program(a.d), trainset=a.train)


def random_search(a: Ask) -> Any:
    made = a.d.BootstrapFewShotWithRandomSearch(
        metric=a.metric,
        max_bootstrapped_demos=4,
        max_labeled_demos=4,
        num_candidate_programs=a.size.candidates,
        num_threads=a.threads,
    )
    return made.compile(a.task.program(a.d), trainset=a.train, valset=a.val)


def mipro(a: Ask) -> Any:
    made = a.d.MIPROv2(
        metric=a.metric,
        prompt_model=a.proposer(skip=1),
        auto=None,
        num_candidates=a.size.candidates,
        max_bootstrapped_demos=2,
        max_labeled_demos=2,
        num_threads=a.threads,
        seed=9 + a.seed,
        verbose=False,
    )
    return made.compile(
        a.task.program(a.d),
        trainset=a.train,
        valset=a.val,
        num_trials=a.size.trials,
        minibatch=True,
        minibatch_size=a.size.minibatch,
        minibatch_full_eval_steps=4,
    )


def copro(a: Ask) -> Any:
    made = a.d.COPRO(prompt_model=a.proposer(), metric=a.metric, breadth=a.size.breadth, depth=a.size.depth)
    kwargs = {"num_threads": a.threads, "display_progress": False, "display_table": 0}
    return made.compile(a.task.program(a.d), trainset=a.val, eval_kwargs=kwargs)


def simba(a: Ask) -> Any:
    made = a.d.SIMBA(
        metric=a.metric,
        bsize=a.size.batch,
        num_candidates=4,
        max_steps=a.size.steps,
        max_demos=3,
        prompt_model=a.proposer(),
        num_threads=a.threads,
    )
    return made.compile(a.task.program(a.d), trainset=a.train, seed=a.seed)


def gepa(a: Ask) -> Any:
    made = a.d.GEPA(
        metric=a.task.metric_with_feedback(a.d),
        max_metric_calls=a.size.metric_calls,
        reflection_minibatch_size=3,
        reflection_lm=a.proposer(),
        num_threads=a.threads,
        seed=a.seed,
    )
    return made.compile(a.task.program(a.d), trainset=a.train, valset=a.val)


OPTIMIZERS: dict[str, Callable[[Ask], Any]] = {
    "BootstrapFewShot": bootstrap,
    "BootstrapFewShotWithRandomSearch": random_search,
    "MIPROv2": mipro,
    "COPRO": copro,
    "SIMBA": simba,
    "GEPA": gepa,
}
"""By DSPy's names; what `lampc` does not have yet is left out of a run, and named."""
