"""Cascade: a cheap model answers where it is sure enough that what is promised of all answers holds."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from lampc.ir import Assignment, freeze
from lampc.ir.content import Cascade as Asked
from lampc.ir.prog import DefPredictor
from lampc.ir.types import BOOL, Choice
from lampc.passes.optimize.guarantee import GRID, PROMISES, Judged, least_rows, needed, shown
from lampc.passes.optimize.guarantee import Choice as Found
from lampc.passes.optimize.jobs import Job, Result, RunJob, RunResult, TracedCall
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem, check_count, check_model


@dataclass(frozen=True)
class Cascade:
    """Ask the model `proxy` before a predictor's own model, the oracle, and let its answer stand where it gave it a
    probability of at least a threshold; else the oracle answers.

    The threshold is the lowest at which, with probability 1 - `delta` over the rows, at least `target` of what is
    `promised` holds on further rows like them: `accuracy` (answers equal the oracle's), `precision` or `recall` of the
    answer `positive`, by the oracle. It is found on `rows` of the training split (0: all; drawn with `seed`) that
    are no demos; the oracle is asked on at most `budget` of them (0: on as many as it takes), where accuracy is
    promised only on those on which the proxy is sure. Best are rows that nothing was tuned on. Answers are compared by
    `outputs`, by default those with closed sets of values.

    `predictor` may be left out if one predictor alone has such outputs. It is to be called at most once in a row. Where
    no threshold can be shown to keep the promise, the program stays as it is.
    """

    name: ClassVar[str] = "cascade"
    stands: ClassVar[bool] = True
    proxy: str
    predictor: str = ""
    target: float = 0.95
    delta: float = 0.05
    promised: str = "accuracy"
    positive: str = ""
    outputs: tuple[str, ...] = ()
    rows: int = 0
    budget: int = 0
    seed: int = 0

    def begin(self, problem: Problem) -> Calibration:
        check_count(self.name, rows=self.rows, budget=self.budget)
        if not 0 < self.target < 1 or not 0 < self.delta < 1:
            raise OptimizeError(
                f"{self.name}: `target` and `delta` are shares between 0 and 1, got {self.target} and {self.delta}"
            )
        if self.promised not in PROMISES:
            raise OptimizeError(f"{self.name}: `promised` is one of {', '.join(PROMISES)}, not `{self.promised}`")
        if (self.promised == "accuracy") == bool(self.positive):
            wrong = "says which answer is the positive one, and accuracy knows none" if self.positive else "is needed"
            raise OptimizeError(f"{self.name}: `positive` {wrong} (`promised` is {self.promised})")
        predictor = self._predictor(problem)
        check_model(self.name, "proxy", self.proxy, problem.module)
        model = problem.start.get(f"{predictor.symbol}.model", predictor.model.name)
        if model == self.proxy:
            raise OptimizeError(f"{self.name}: `{self.proxy}` is the model of `{predictor.symbol}` already")
        return Calibration(self, problem, predictor, self._outputs(predictor))

    def _predictor(self, problem: Problem) -> DefPredictor:
        free = {p.symbol: p for p in problem.tunable("model")}
        if self.predictor:
            if self.predictor not in free:
                raise OptimizeError(
                    f"{self.name}: there is no predictor `{self.predictor}` whose model may be changed; there are "
                    f"{', '.join(free) or 'none'}"
                )
            return free[self.predictor]
        found = [p for p in free.values() if _closed(p)]
        if len(found) != 1:
            what = f"{', '.join(p.symbol for p in found)} have" if found else "no predictor has"
            raise OptimizeError(f"{self.name}: {what} outputs with a closed set of values: say which `predictor`")
        return found[0]

    def _outputs(self, predictor: DefPredictor) -> tuple[str, ...]:
        fields = {f.name for f in predictor.signature.outputs}
        if unknown := [n for n in self.outputs if n not in fields]:
            raise OptimizeError(f"{self.name}: `{predictor.symbol}` has no output `{unknown[0]}`")
        chosen = self.outputs or _closed(predictor)
        if not chosen:
            raise OptimizeError(
                f"{self.name}: no output of `{predictor.symbol}` has a closed set of values (`bool`, or a choice); say "
                "which `outputs` must be equal"
            )
        if self.positive and len(chosen) != 1:
            raise OptimizeError(f"{self.name}: `positive` is a value of one output: say which, `outputs`")
        return chosen


def _closed(predictor: DefPredictor) -> tuple[str, ...]:
    return tuple(f.name for f in predictor.signature.outputs if isinstance(f.type, Choice) or f.type == BOOL)


class Calibration:
    """A search under way. First the proxy answers all rows, then the oracle those whose proxy is surest, threshold
    after threshold."""

    def __init__(self, options: Cascade, problem: Problem, predictor: DefPredictor, outputs: tuple[str, ...]) -> None:
        self._options, self._problem, self._outputs = options, problem, outputs
        self._name = predictor.symbol
        self.best = problem.start
        self.history: list[Candidate] = []
        self._start = problem.start.updated(**{f"{self._name}.cascade": None})
        self._places = self._drawn(predictor)
        self._least = least_rows(options.target, options.delta)
        self._rows: list[Judged] = []
        self._kept: list[int] = []  # rows of the split, of `_rows`
        self._place: dict[int, int] = {}
        self._inputs: list[Any] = []
        self._asked = 0  # rows given to the proxy
        self._told = 0
        self._wanted: list[int] = []  # of `_rows`, whose oracle is to be asked
        self._due = 0  # oracles that the threshold under test waits for
        self._labels = 0
        self._at = 0  # the threshold under test
        self._found: Found | None = None
        self.done = False
        if len(self._places) < self._least:
            raise OptimizeError(
                f"{options.name}: {len(self._places)} rows can show nothing at target {options.target:g} and delta "
                f"{options.delta:g}; at least {self._least} are needed (split `{problem.train_split}`)"
            )

    def _drawn(self, predictor: DefPredictor) -> list[int]:
        problem = self._problem
        shown = {d.values for d in problem.demos(problem.start, predictor)}
        demos = [e.demo(predictor.signature) for e in problem.train]
        free = [i for i, d in enumerate(demos) if d is None or d.values not in shown]
        free = [i for i in free if i not in problem.shown_rows()]
        random.Random(self._options.seed).shuffle(free)
        return free[: self._options.rows or None]

    # -- jobs -----------------------------------------------------------------------------------------

    def ask(self, n: int) -> list[Job]:
        if self.done:
            return []
        split = self._problem.train_split
        if self._told < len(self._places):
            first, self._asked = self._asked, min(len(self._places), self._asked + n)
            always = Asked(self._options.proxy, 0.0)
            candidate = self._start.updated(**{f"{self._name}.cascade": always})
            return [RunJob(candidate, split, i, traced=False) for i in self._places[first : self._asked]]
        now, self._wanted = self._wanted[:n], self._wanted[n:]
        return [RunJob(self._start, split, self._kept[i], traced=False) for i in now]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, RunJob) or not isinstance(result, RunResult):
            raise OptimizeError(f"{self._options.name} asked for runs, not for {type(job).__name__}")
        if self._told < len(self._places):
            self._told += 1
            self._take_proxy(job, result)
            if self._told == len(self._places):
                self._go_on()
            return
        at = self._place[job.row]
        call = self._call(result)
        same = call is not None and call.inputs == self._inputs[at]
        # an oracle that fails, or was not asked the same, is counted against the proxy
        self._rows[at] = replace(self._rows[at], oracle=self._answer(call) if call is not None and same else "?")
        self._labels += 1
        self._due -= 1
        if not self._due:
            self._go_on()

    def _take_proxy(self, job: RunJob, result: RunResult) -> None:
        call = self._call(result)
        if call is None:
            return  # this row does not come by the predictor
        score = -1.0 if call.error or call.score is None else math.exp(min(call.score, 0.0))
        self._rows.append(Judged(score, self._answer(call)))
        self._place[job.row] = len(self._kept)
        self._kept.append(job.row)
        self._inputs.append(call.inputs)

    def _call(self, result: RunResult) -> TracedCall | None:
        found = [c for c in result.trace if c.predictor == self._name]
        if len(found) > 1:
            raise OptimizeError(
                f"{self._options.name}: `{self._name}` is called {len(found)} times in a row; what is promised is "
                "about rows, so it has to be one call"
            )
        return found[0] if found else None

    def _answer(self, call: TracedCall) -> str:
        values: Mapping[str, Any] = call.outputs
        got = [values.get(n) for n in self._outputs]
        return _text(got[0]) if len(got) == 1 else repr(got)

    # -- thresholds -----------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Test thresholds as far as oracles have answered; ask for what is missing for the next."""
        options = self._options
        scores = sorted(r.score for r in self._rows)
        while self._at < len(GRID):
            found = self._found
            if found is not None and bisect_left(scores, GRID[self._at]) == bisect_left(scores, found.threshold):
                self._found = replace(found, threshold=GRID[self._at])  # the same answers stand: the same test
                self._at += 1
                continue
            missing = needed(options.promised, self._rows, GRID[self._at])
            if missing:
                if options.budget and self._labels + len(missing) > options.budget:
                    break  # the scores alone decided that: what was tested stays valid
                self._due, self._wanted = len(missing), missing
                return
            made = shown(options.promised, self._rows, GRID[self._at], options.target, options.delta, options.positive)
            if made is None:
                break
            self._found = made
            self._at += 1
        self._settle()

    def _settle(self) -> None:
        self.done = True
        options, found = self._options, self._found
        facts: dict[str, Any] = {
            "promised": options.promised, "target": options.target, "delta": options.delta,
            "rows": len(self._rows), "labels": self._labels, "label": "G",
        }  # fmt: skip
        if options.positive:
            facts["positive"] = options.positive
        if found is None or not found.stands:
            short = len(self._rows) < self._least
            why = (
                f"{len(self._rows)} rows are too few" if short else "no threshold can be shown to keep what is promised"
            )
            note = f"no cascade of `{self._name}`: {why}"
            self.history.append(Candidate(self._problem.start, options.name, note, facts=freeze(facts)))
            return
        facts |= {"cases": found.cases, "errors": found.errors, "bound": found.bound, "stands": found.stands}
        cascade = Asked(options.proxy, found.threshold, freeze(facts))
        self.best = self._start.updated(**{f"{self._name}.cascade": cascade})
        self.history.append(Candidate(self.best, options.name, f"`{self._name}`: {told(cascade)}", facts=freeze(facts)))

    def demand(self) -> Demand:
        if self.done:
            return Demand()
        left = len(self._places) - self._told
        most = len(self._places) - self._labels
        if self._options.budget:
            most = min(most, self._options.budget - self._labels)
        return Demand(left, left + max(most, 0))


def told(cascade: Asked) -> str:
    """A cascade and its record in one line."""
    line, known = f"`{cascade.proxy}` answers from p = {cascade.threshold:.4g} on", cascade.record
    if not known:
        return f"{line} (by hand: nothing is known of it)"
    promised, delta = known.get("promised"), known.get("delta", 0.0)
    return (
        f"{line}: {promised} against the oracle >= {known.get('bound', 0.0):.4f} with probability {1 - delta:g} "
        f"(target {known.get('target', 0.0):g}; {known.get('errors')} errors in {known.get('cases')} cases, "
        f"{known.get('labels')} labels); on {100 * known.get('stands', 0.0):.0f} % of {known.get('rows')} rows"
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def cascades(assignment: Assignment) -> dict[str, Asked]:
    """The cascades of a candidate by predictor."""
    found = {k.rpartition(".")[0]: v for k, v in assignment.values.items() if k.endswith(".cascade")}
    return {k: v for k, v in found.items() if isinstance(v, Asked)}


__all__ = ["Calibration", "Cascade", "cascades", "told"]
