"""InstructionSearch: for each predictor in turn, the best instruction out of a declared pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lampc.ir import Assignment
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem


@dataclass(frozen=True)
class InstructionSearch:
    """Coordinate search on the select split; demos stay as they are.

    `pool` is a list of texts, a text file with one per line, or a mapping from predictor to either; `base` is
    where relative paths start. All candidates of a predictor are scored together. The current instruction
    stays unless another scores higher; of those that tie above it the shortest wins, then the earliest.
    `rounds` passes are made over the predictors, fewer if one changes nothing.
    """

    name: ClassVar[str] = "instructions"
    pool: Any = ()
    predictors: tuple[str, ...] = ()
    rounds: int = 1
    base: Path = field(default=Path("."), repr=False)

    def begin(self, problem: Problem) -> Search:
        free = {p.symbol: p for p in problem.tunable("instruction")}
        known = [p.symbol for p in problem.predictors()]
        for name in self.predictors:
            if name not in known:
                raise OptimizeError(f"{self.name}: there is no predictor `{name}`; there are {', '.join(known)}")
        if not problem.select_size:
            raise OptimizeError(f"{self.name}: split `{problem.select_split}` has no rows to score on")
        chosen = [p for n, p in free.items() if not self.predictors or n in self.predictors]
        return Search(self, problem, chosen, self.texts(problem))

    def texts(self, problem: Problem) -> dict[str, list[str]]:
        """The pool of each predictor. Raises OptimizeError for a pool that cannot be read or is empty."""
        known = [p.symbol for p in problem.predictors()]
        return {name: self._texts(name, known) for name in known}

    def _texts(self, predictor: str, known: list[str]) -> list[str]:
        pool = self.pool
        if isinstance(pool, Mapping):
            for name in pool:
                if name not in known:
                    raise OptimizeError(f"{self.name}: the pool is for `{name}`; there are {', '.join(known)}")
            pool = pool.get(predictor, ())
        lines = self._lines(pool) if isinstance(pool, str | Path) else [str(t).strip() for t in pool]
        texts = list(dict.fromkeys(t for t in lines if t))
        if not texts and not isinstance(self.pool, Mapping):
            raise OptimizeError(f'{self.name}: the pool is empty; give `pool: ["text", ...]` or a text file')
        return texts

    def _lines(self, pool: str | Path) -> list[str]:
        path = self.base / pool
        try:
            return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except OSError as e:
            raise OptimizeError(f"{self.name}: the pool {path} cannot be read: {e.strerror}") from None
        except UnicodeDecodeError:
            raise OptimizeError(f"{self.name}: the pool {path} is not UTF-8 text") from None


class Search:
    """A search under way."""

    def __init__(
        self, options: InstructionSearch, problem: Problem, chosen: list[DefPredictor], pool: dict[str, list[str]]
    ) -> None:
        self.options, self.problem, self.chosen = options, problem, chosen
        self.pool = {
            p.symbol: list(dict.fromkeys([problem.instruction(problem.start, p), *pool[p.symbol]])) for p in chosen
        }
        self.best = problem.start
        self.history: list[Candidate] = []
        self._at, self._round, self._changed = 0, 0, False
        self._texts: list[str] = []
        self._scores: list[float] = []
        self._asked = 0
        self.done = False
        self._enter()

    def _enter(self) -> None:
        """Take up predictor `_at` of this round, or the next one that has a choice."""
        while True:
            if self._at == len(self.chosen):
                self._at, self._round = 0, self._round + 1
                if not self._changed or self._round >= self.options.rounds:
                    self.done = True
                    return
                self._changed = False
            predictor = self.chosen[self._at]
            current = self.problem.instruction(self.best, predictor)
            self._texts = list(dict.fromkeys([current, *self.pool[predictor.symbol]]))
            self._scores, self._asked = [], 0
            if len(self._texts) > 1:
                return
            self._at += 1

    def _candidate(self, text: str) -> Assignment:
        return self.best.updated(**{f"{self.chosen[self._at].symbol}.instruction": text})

    def ask(self, n: int) -> list[Job]:
        if self.done:
            return []
        rows = self.problem.select_rows()
        texts = self._texts[self._asked : self._asked + n]
        jobs: list[Job] = []
        for text in texts:
            first = self._asked + len(jobs) == 0  # the current instruction: the candidate as it is
            made = self.best if first else self._candidate(text)
            jobs.append(EvaluateJob(made, self.problem.select_split, rows))
        self._asked += len(jobs)
        return jobs

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.options.name} asked for scores, not for {type(job).__name__}")
        predictor = self.chosen[self._at].symbol
        note = f"{predictor}: {self._texts[len(self._scores)]}"
        self._scores.append(result.mean)
        self.history.append(Candidate(job.assignment, self.options.name, note, result.mean))
        if len(self._scores) == len(self._texts):
            self._settle()

    def _settle(self) -> None:
        top = max(self._scores)
        if top > self._scores[0]:
            tied = [i for i, s in enumerate(self._scores) if s == top]
            self.best = self._candidate(self._texts[min(tied, key=lambda i: (len(self._texts[i]), i))])
            self._changed = True
        self._at += 1
        self._enter()

    def demand(self) -> Demand:
        if self.done:
            return Demand()
        rows = self.problem.select_size
        now = len(self._texts) - len(self._scores)
        rest = sum(map(self._others, self.chosen[self._at + 1 :]))
        again = sum(map(self._others, self.chosen)) * (self.options.rounds - self._round - 1)
        return Demand((now + rest) * rows, (now + rest + again) * rows)

    def _others(self, predictor: DefPredictor) -> int:
        """Candidates of a predictor besides its current instruction, which has been scored by then."""
        return len(self.pool[predictor.symbol]) - 1
