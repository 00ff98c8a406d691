"""BootstrapFewShotWithOptuna: one bootstrapped program, and which one demo of each predictor serves best.

A tree-structured Parzen estimator (optuna's) proposes a demo per predictor, by place. Its first trials are drawn at
random, whatever the scores, so those are asked for together; later ones follow from the scores before them and come
one at a time, or `parallel` at a time. Algorithm: DSPy 3.4, `teleprompt/teleprompt_optuna.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampc.ir import Assignment, Demo
from lampc.passes.optimize.bootstrap import Bootstrap
from lampc.passes.optimize.bootstrap_options import BootstrapOptions
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem, check_count
from lampc.passes.optimize.random_search import score_rows
from lampc.passes.optimize.tpe import optuna_module, quiet

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

STARTUP = 10
"""Trials that the sampler draws at random."""


@dataclass(frozen=True)
class BootstrapOptuna(BootstrapOptions):
    """Options as in DSPy. The first trial of the highest score (to two decimals) wins.

    `sampler_seed` is the estimator's. With `parallel` more than 1 so many trials are under way at once, each sampled
    as if those under way had scored badly; then the trajectory is another one than that of single trials.
    """

    name: ClassVar[str] = "bootstrap_optuna"
    num_candidate_programs: int = 16
    sampler_seed: int = 0
    parallel: int = 1

    def begin(self, problem: Problem) -> DemoChoice:
        self.check(problem)
        check_count(self.name, num_candidate_programs=self.num_candidate_programs)
        if self.num_candidate_programs < 1 or self.parallel < 1:
            raise OptimizeError(f"{self.name}: `num_candidate_programs` and `parallel` are 1 or more")
        optuna_module(self.name)
        return DemoChoice(self, problem)


class DemoChoice:
    """A search under way; `scores` are those of the trials (0 to 100), in order."""

    def __init__(self, options: BootstrapOptuna, problem: Problem) -> None:
        self._options, self._problem = options, problem
        self._split, self._rows = score_rows(problem)
        self._bootstrap = Bootstrap(options, problem)
        self._study: Study | None = None
        self._trials: deque[Trial] = deque()
        self._asked = 0
        self.scores: list[float] = []
        self._tried: list[Candidate] = []
        self._runs_due = 0

    @property
    def done(self) -> bool:
        return len(self.scores) == self._options.num_candidate_programs

    @property
    def best(self) -> Assignment:
        return max(self._tried, key=lambda c: c.score or 0.0).assignment if self._tried else self._bootstrap.best

    @property
    def history(self) -> list[Candidate]:
        return [*self._bootstrap.history, *self._tried]

    def ask(self, n: int) -> list[Job]:
        if not self._bootstrap.done:
            jobs = self._bootstrap.ask(n)
            self._runs_due += len(jobs)
            return jobs
        if self._runs_due:
            return []
        if self._study is None:
            self._study = new_study(self._options.sampler_seed, self._options.parallel > 1)
        out: list[Job] = []
        while len(out) < n and self._asked < self._upto():
            trial = self._study.ask()
            self._asked += 1
            self._trials.append(trial)
            out.append(EvaluateJob(self._chosen(trial), self._split, self._rows))
        return out

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob):
            self._runs_due -= 1
            self._bootstrap.tell(job, result)
            return
        if not isinstance(result, EvaluateResult) or self._study is None:
            raise OptimizeError(f"{self._options.name}: {type(result).__name__} is no result of a job asked for")
        trial, score = self._trials.popleft(), round(result.mean, 2)
        self._study.tell(trial, score)
        self.scores.append(score)
        tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None
        note = ", ".join(f"{k.removeprefix(_PARAMETER)} {v}" for k, v in trial.params.items())
        self._tried.append(
            Candidate(job.assignment, self._options.name, f"demo {note}", score, len(result.scores), tokens)
        )

    def demand(self) -> Demand:
        rows = (self._options.num_candidate_programs - len(self.scores)) * len(self._rows)
        return self._bootstrap.demand() + Demand(rows, rows)

    def _upto(self) -> int:
        """How many trials may have been asked for by now."""
        told = len(self.scores)
        return min(self._options.num_candidate_programs, max(STARTUP, told + self._options.parallel))

    def _chosen(self, trial: Trial) -> Assignment:
        demos: dict[str, list[Demo]] = {}
        for predictor in self._problem.tunable("demos"):
            found = self._problem.demos(self._bootstrap.best, predictor)
            place = trial.suggest_int(f"{_PARAMETER}{predictor.symbol}", 0, len(found) - 1) if found else 0
            demos[predictor.symbol] = list(found[place : place + 1])
        return self._problem.with_demos(self._problem.start, demos)


_PARAMETER = "demo_index_for_"


def new_study(seed: int, several: bool) -> Study:
    """A study in memory, of variables that are sampled each for itself. Raises OptimizeError without optuna."""
    optuna = optuna_module(BootstrapOptuna.name)
    with quiet(optuna):
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=several)
        study: Study = optuna.create_study(direction="maximize", sampler=sampler)
    return study
