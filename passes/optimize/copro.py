"""COPRO: for each predictor in turn, instructions that a proposer writes, then better ones from how those scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lampc.ir import Assignment, Obj
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.jobs import EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.proposers.attempts import Attempts
from lampc.passes.optimize.proposers.choose import chosen
from lampc.passes.optimize.proposers.protocol import Drafting, Proposer, Wish
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem
from lampc.passes.optimize.racing import OFF


@dataclass(frozen=True)
class COPRO:
    """Options as in DSPy. `proposer` is `attempts` (`prompt_model` writes, `max_proposal_tokens` at most), `pool`,
    `templates` or `edits`, or an object; `pool` holds the texts or templates. A proposal that cannot be had is left
    out. Under `racing` (`halving` or `bernstein`) candidates of a sweep that fall behind on the first rows are not run
    on the others."""

    name: ClassVar[str] = "copro"
    breadth: int = 10
    depth: int = 3
    init_temperature: float = 1.4
    prompt_model: str = ""
    max_proposal_tokens: int = 1024
    proposer: Any = ""
    pool: Any = ()
    seed: int = 0
    base: Path = field(default=Path("."), repr=False)
    racing: str = OFF

    def begin(self, problem: Problem) -> Copro:
        if self.breadth <= 1:
            raise OptimizeError(f"{self.name}: `breadth` is {self.breadth}; it must be greater than 1")
        if self.depth < 1:
            raise OptimizeError(f"{self.name}: `depth` is {self.depth}; at least one round is needed")
        if not problem.select_size:
            raise OptimizeError(f"{self.name}: split `{problem.select_split}` has no rows to score on")
        if not problem.tunable("instruction"):
            raise OptimizeError(f"{self.name}: no instruction of the program may be changed")
        return Copro(self, problem)

    def texts(self, problem: Problem) -> object:
        """What is read from files, which options do not say."""
        return self._proposer().files(problem)

    def _proposer(self) -> Proposer:
        written = Attempts(
            prompt_model=self.prompt_model, temperature=self.init_temperature, max_tokens=self.max_proposal_tokens
        )
        return chosen(self.name, self.proposer, self.pool, self.base, written, self.seed)


@dataclass(slots=True)
class _Tried:
    """The best score that an instruction had, and what the program was then."""

    score: float
    assignment: Assignment


class Copro:
    """A run under way: proposals for all predictors, then a sweep over them, `depth` times.

    A sweep scores the candidates of one predictor while the others have their best. Where there are others, all
    candidates so far are scored again, since the others have changed; else only the latest.
    """

    def __init__(self, options: COPRO, problem: Problem) -> None:
        self.options, self.problem = options, problem
        self.predictors: dict[str, DefPredictor] = {p.symbol: p for p in problem.tunable("instruction")}
        self._proposer = options._proposer()
        self._latest: dict[str, list[str]] = {name: [] for name in self.predictors}
        self._all: dict[str, list[str]] = {name: [] for name in self.predictors}
        self._tried: dict[str, dict[str, _Tried]] = {name: {} for name in self.predictors}
        self._now = problem.start
        self._depth, self._at = 0, 0
        self._texts: list[str] = []  # being scored
        self._asked, self._told = 0, 0
        self.history: list[Candidate] = []
        self.done = False
        self._propose()

    @property
    def best(self) -> Assignment:
        """The best that was scored; the program as found if nothing was."""
        pool = [t for tried in self._tried.values() for t in tried.values()]
        return max(pool, key=lambda t: t.score).assignment if pool else self.problem.start

    def ask(self, n: int) -> list[Job]:
        if self._drafting is not None:
            return self._drafting.ask(n)
        first, self._asked = self._asked, min(len(self._texts), self._asked + n)
        rows, split = self.problem.select_rows(), self.problem.select_split
        return [EvaluateJob(self._with(text), split, rows) for text in self._texts[first : self._asked]]

    def tell(self, job: Job, result: Result) -> None:
        if self._drafting is not None:
            self._drafting.tell(job, result)
            if self._drafting.done:
                self._take_drafts(self._drafting)
            return
        if not isinstance(job, EvaluateJob) or not isinstance(result, EvaluateResult):
            raise OptimizeError(f"{self.options.name} asked for scores, not for {type(job).__name__}")
        self._take_score(job.assignment, result)
        if self._told == len(self._texts):
            self._settle()

    def demand(self) -> Demand:
        """Exact for a proposer that asks a model, as long as it answers; others may run out of texts."""
        if self.done:
            return Demand()
        left = sum(self._left())
        calls = self._drafting.calls() if self._drafting is not None else 0
        each = self._proposer.calls(self.problem, self.options.breadth * len(self.predictors))
        calls += each * (self.options.depth - self._depth - 1)
        sure = left if each else len(self._texts) - self._told if self._drafting is None else 0
        return Demand(sure * self.problem.select_size, left * self.problem.select_size, calls)

    def _left(self) -> Iterator[int]:
        """Candidates that are still to be scored, by round, if no proposal is missing."""
        many, breadth = len(self.predictors) > 1, self.options.breadth
        sizes = {n: len((self._all if many else self._latest)[n]) for n in self.predictors}
        if self._drafting is None:
            yield sum(list(sizes.values())[self._at :]) - self._told
        for _ in range(self.options.depth - self._depth - (self._drafting is None)):
            sizes = {n: (known if many else 0) + breadth for n, known in sizes.items()}
            yield sum(sizes.values())

    # -- proposals ----------------------------------------------------------------------------------

    def _propose(self) -> None:
        self._wishes = [wish for name in self.predictors for wish in self._wish(name)]
        self._drafting: Drafting | None = self._proposer.begin(self.problem, self._wishes)
        if self._drafting.done:
            self._take_drafts(self._drafting)

    def _wish(self, name: str) -> Iterator[Wish]:
        predictor, tried = self.predictors[name], self._tried[name]
        instruction = self.problem.instruction(self.problem.start, predictor)
        top = sorted(tried.items(), key=lambda item: -item[1].score)[: self.options.breadth]
        attempts = tuple((text, found.score) for text, found in reversed(top))
        first = self._depth * self.options.breadth  # a round that learned nothing draws anew
        for i in range(self.options.breadth - (not tried)):
            yield Wish(predictor, instruction, attempts=attempts, tried=tuple(tried), number=first + i)

    def _take_drafts(self, drafting: Drafting) -> None:
        first = not any(self._tried.values())
        self._latest = {name: [] for name in self.predictors}
        for wish, text in zip(self._wishes, drafting.texts, strict=True):
            if text and (text := _bare(text)):
                self._latest[wish.predictor.symbol].append(text)
        for name, predictor in self.predictors.items():
            if first:  # what the predictor is told now is a candidate too, the last
                self._latest[name].append(_bare(self.problem.instruction(self.problem.start, predictor)))
            self._all[name] += self._latest[name]
        self._drafting = None
        self._at = 0
        self._enter()

    # -- scores -------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return list(self.predictors)[self._at]

    def _enter(self) -> None:
        """Take up the predictor `_at`, or the next with candidates."""
        while self._at < len(self.predictors):
            self._texts = (self._all if len(self.predictors) > 1 else self._latest)[self._name]
            self._asked, self._told = 0, 0
            if self._texts:
                return
            self._at += 1
        self._descend()

    def _with(self, text: str) -> Assignment:
        return self._now.updated(**{f"{self._name}.instruction": text})

    def _take_score(self, assignment: Assignment, result: EvaluateResult) -> None:
        text, score = self._texts[self._told], round(result.mean, 2)  # as DSPy's evaluation gives it
        tried, name = self._tried[self._name], self._name
        if text not in tried:
            tried[text] = _Tried(score, assignment)
        elif score > tried[text].score:
            tried[text].score, tried[text].assignment = score, assignment
        latest = self._told >= len(self._texts) - self.options.breadth
        facts = Obj({"predictor": name, "instruction": text, "depth": self._depth, "latest": latest})
        tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None
        note = f"{name}, round {self._depth + 1}: {text}"
        self.history.append(
            Candidate(assignment, self.options.name, note, score, len(result.scores), tokens, facts=facts)
        )
        self._told += 1

    def _settle(self) -> None:
        """The predictor gets its best instruction, the earliest of those that tie."""
        tried = self._tried[self._name]
        text = max(tried, key=lambda t: tried[t].score)
        self._now = self._with(text)
        self._at += 1
        self._enter()

    def _descend(self) -> None:
        self._depth += 1
        if self._depth >= self.options.depth:
            self.done = True
        else:
            self._propose()


def _bare(text: str) -> str:
    return text.strip('"').strip()
