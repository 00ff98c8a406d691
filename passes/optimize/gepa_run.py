"""GEPA under way: iterations of merge or reflection over a pool of candidates, until the budget is spent."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lampc.ir import Assignment, Obj
from lampc.ir.diag import there_are
from lampc.passes.optimize.gepa import GEPA
from lampc.passes.optimize.gepa_batches import EpochBatches
from lampc.passes.optimize.gepa_merge import Merges, sample_rows
from lampc.passes.optimize.gepa_pool import Pool
from lampc.passes.optimize.gepa_records import Chosen, Reflection, Trajectory, assignment, choose, trajectories
from lampc.passes.optimize.jobs import (
    EvaluateJob,
    EvaluateResult,
    FeedbackResult,
    Job,
    RunJob,
    RunResult,
)
from lampc.passes.optimize.protocol import Candidate, Demand, OptimizeError, Problem
from lampc.passes.optimize.staged import Staged, Stages

_MERGE_ROWS = 5


@dataclass(slots=True)
class Task:
    """One parent on one minibatch, and what became of it: the child's texts, its scores on the same rows."""

    parent: int
    rows: tuple[int, ...]
    scores: tuple[float, ...] = ()
    chosen: list[Chosen] = field(default_factory=list)
    components: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    after: tuple[float, ...] = ()

    @property
    def gain(self) -> float:
        return sum(self.after) - sum(self.scores)


@dataclass(slots=True)
class Scored:
    """Scores of a candidate on rows, and what it put out there, if that is kept."""

    scores: tuple[float, ...]
    outputs: tuple[Obj | None, ...] = ()


class Evolution(Staged):
    """See `GEPA`. `pool` holds the accepted candidates, `calls` how many scores of single rows were asked for, `log`
    one entry per iteration: parents with their minibatches and what was accepted.

    Facts of the history: the `scores` of single rows; of an accepted candidate also its `place` in the pool, the
    `metric_calls_before` it, and its `outputs` if they are kept; of the first one, once all is done, the `metric_calls`
    and `full_evaluations` of the run."""

    def __init__(self, options: GEPA, problem: Problem) -> None:
        super().__init__(problem.start)
        self.options, self.problem = options, problem
        self.budget = options.budget(problem)
        self.components = {p.symbol: p for p in problem.tunable("instruction")}
        selected = bool(problem.select_size)
        self.split = problem.select_split if selected else problem.train_split
        self.rows = tuple(range(problem.select_size if selected else len(problem.train)))
        self.pool = Pool(len(self.rows))
        self.calls, self.full_evaluations, self.iteration = 0, 0, -1
        self.log: list[dict[str, Any]] = []
        self._rng, self._picks = random.Random(options.seed), random.Random(options.seed)
        self._batches = EpochBatches(len(problem.train), options.reflection_minibatch_size, self._rng)
        self._merges = Merges(options.max_merge_invocations, options.merge_val_overlap_floor)
        self._writer = options.writer()
        self._reflections, self._idle = 0, 0
        self._places: list[int] = []  # of the pool's members in the history

    # -- the algorithm ------------------------------------------------------------------------------

    def stages(self) -> Stages[None]:
        seed = {n: self.problem.instruction(self.problem.start, p) for n, p in self.components.items()}
        (scored,) = yield from self._score([seed], self.split, self.rows)
        self._accept(seed, (), scored, "the program as found")
        while self.calls < self.budget and not self._exhausted:
            self.iteration += 1
            self.log.append({})
            if self.options.use_merge and self._merges.due > 0 and self._merges.fresh:
                self._merges.fresh = False
                if (yield from self._merge()):
                    continue
            self._merges.fresh = False
            yield from self._reflect()
        spent = {"metric_calls": self.calls, "full_evaluations": self.full_evaluations}
        self.history[0] = replace(self.history[0], facts=Obj({**self.history[0].facts, **spent}))

    def _merge(self) -> Stages[bool]:
        """Try a merge; whether there was one to try."""
        found = self._merges.find(self.pool, self._rng)
        if found is None:
            return False
        first, second = self.pool.members[found.first], self.pool.members[found.second]
        rows = sample_rows(first.scores, second.scores, self._rng)
        (tried,) = yield from self._score([found.texts], self.split, rows)
        parents, note = (found.first, found.second), f"merge of {found.first} and {found.second}"
        self.calls += len(rows)
        self.log[-1] |= {"merged": (found.first, found.second, found.ancestor), "rows": tuple(rows)}
        if sum(tried.scores) < max(sum(m.scores[r] for r in rows) for m in (first, second)):
            self._reject(found.texts, parents, tried.scores, note)
            return True
        (scored,) = yield from self._score([found.texts], self.split, self.rows)
        self._accept(found.texts, parents, scored, note)
        self._merges.due -= 1
        self._merges.accepted += 1
        return True

    def _reflect(self) -> Stages[None]:
        tasks = self._tasks()
        self.log[-1]["tasks"] = [(t.parent, t.rows) for t in tasks]
        runs = yield from self._run(tasks)
        able = [t for t, found in zip(tasks, runs, strict=True) if self._prepare(t, found)]
        yield from self._write(able)
        able = [t for t in able if t.texts]
        yield from self._try(able)
        better = [t for t in able if t.gain > 0 or (self.options.accept_equal and t.gain == 0)]
        if self.options.keep:
            better = sorted(better, key=lambda t: -t.gain)[: self.options.keep]
        kept: list[Task] = []
        for task in better:  # equal children would be scored twice
            if all(task.texts != other.texts for other in kept):
                kept.append(task)
        for task in able:
            if not any(task is t for t in kept):
                self._reject(task.texts, (task.parent,), task.after, "")
        scored = yield from self._score([t.texts for t in kept], self.split, self.rows)
        for task, result in zip(kept, scored, strict=True):
            self._accept(task.texts, (task.parent,), result, f"from {task.parent}: {', '.join(task.components)}")
            self._merges.schedule()

    def _tasks(self) -> list[Task]:
        tasks = []
        for _ in range(self.options.parents):
            parent = self.pool.choose(self.options.candidate_selection_strategy, self._rng)
            tasks += [Task(parent, self._batches.take(self.iteration)) for _ in range(self.options.mutations)]
        return tasks

    def _run(self, tasks: Sequence[Task]) -> Stages[list[list[Trajectory]]]:
        """Run parents on their minibatches, equal ones once."""
        distinct = list(dict.fromkeys((t.parent, t.rows) for t in tasks))
        jobs = {key: self._runs(self.pool.members[key[0]].texts, self.problem.train_split, key[1]) for key in distinct}
        results = iter((yield [job for own in jobs.values() for job in own]))
        found = {key: [_run_result(next(results)) for _ in own] for key, own in jobs.items()}
        self.calls += sum(map(len, jobs.values()))
        for task in tasks:
            task.scores = tuple(self._scored(r) for r in found[task.parent, task.rows])
        return [trajectories(jobs[t.parent, t.rows], found[t.parent, t.rows]) for t in tasks]

    def _prepare(self, task: Task, runs: Sequence[Trajectory]) -> bool:
        """Choose components and their calls; whether there is anything to learn."""
        perfect = all(s >= self.options.perfect_score for s in task.scores)
        if not runs or (self.options.skip_perfect_score and perfect):
            return False
        task.components = tuple(self._select(task, runs))
        unread = self.options.add_format_failure_as_feedback
        task.chosen = [choose(self.components[n], runs, unread, self._picks) for n in task.components]
        task.chosen = [c for c in task.chosen if c.calls]
        return bool(task.chosen)

    def _select(self, task: Task, runs: Sequence[Trajectory]) -> Sequence[str]:
        how, member, names = self.options.component_selector, self.pool.members[task.parent], list(self.components)
        if callable(how):
            chosen = list(how(self, list(runs), list(task.scores), task.parent, dict(member.texts)))
            for name in chosen:
                if name not in names:
                    raise OptimizeError(f"gepa: the component selector gave {name!r}; {there_are(names)}")
            return chosen
        if how == "all":
            return names
        turn, member.turn = member.turn, (member.turn + 1) % len(names)
        return [names[turn]]

    def _write(self, tasks: Sequence[Task]) -> Stages[None]:
        """Ask the metric about the chosen calls, and the writer for new texts."""
        answers = iter((yield [job for t in tasks for c in t.chosen for job in c.jobs]))
        reflections = []
        for task in tasks:
            member = self.pool.members[task.parent]
            records = {c.component: c.records([_feedback(next(answers)) for _ in c.jobs]) for c in task.chosen}
            reflections.append(Reflection(member.texts, task.components, records, self._reflections))
            self._reflections += len(records)
        written = yield from self._writer.write(self.problem, reflections)
        self._idle = 0 if any(written) else self._idle + len(tasks)
        for task, texts in zip(tasks, written, strict=True):
            task.texts = {**self.pool.members[task.parent].texts, **texts} if texts else {}

    @property
    def _exhausted(self) -> bool:
        """Whether a writer that may run out of texts had none for about every component of every candidate in turn."""
        return self._writer.finite and self._idle >= 2 * len(self.components) * len(self.pool.members)

    def _try(self, tasks: Sequence[Task]) -> Stages[None]:
        jobs = [self._scoring(t.texts, self.problem.train_split, t.rows) for t in tasks]
        results = iter((yield [job for own in jobs for job in own]))
        for task, own in zip(tasks, jobs, strict=True):
            task.after = self._read([next(results) for _ in own]).scores
            self.calls += len(task.rows)

    # -- scores -------------------------------------------------------------------------------------

    def _score(self, candidates: Sequence[dict[str, str]], split: str, rows: Sequence[int]) -> Stages[list[Scored]]:
        """Scores of candidates on rows; `calls` are counted as they are accepted."""
        jobs = [self._scoring(c, split, rows) for c in candidates]
        results = iter((yield [job for own in jobs for job in own]))
        return [self._read([next(results) for _ in own]) for own in jobs]

    def _scoring(self, texts: dict[str, str], split: str, rows: Sequence[int]) -> Sequence[Job]:
        """A table of scores, or runs where a failure scores otherwise than 0 or outputs are kept."""
        if self.options.failure_score or self.options.remember_outputs:
            return self._runs(texts, split, rows)
        return [EvaluateJob(self.candidate(texts), split, tuple(rows))]

    def _runs(self, texts: dict[str, str], split: str, rows: Sequence[int]) -> list[RunJob]:
        return [RunJob(self.candidate(texts), split, row, traced=False) for row in rows]

    def _read(self, results: Sequence[object]) -> Scored:
        (first, *others) = results
        if isinstance(first, EvaluateResult) and not others:
            return Scored(first.scores)
        runs = [_run_result(r) for r in results]
        return Scored(tuple(self._scored(r) for r in runs), tuple(r.outputs for r in runs))

    def _scored(self, result: RunResult) -> float:
        return result.score if result.error is None else self.options.failure_score

    def candidate(self, texts: dict[str, str]) -> Assignment:
        """The start with these instructions; what is as found stays unsaid."""
        start = self.problem.start
        changed = {n: t for n, t in texts.items() if t != self.problem.instruction(start, self.components[n])}
        return assignment(start, changed)

    # -- accounts -----------------------------------------------------------------------------------

    def _accept(self, texts: dict[str, str], parents: tuple[int, ...], scored: Scored, note: str) -> None:
        before = self.calls if self.pool.members else 0
        self.calls += len(self.rows)
        self.full_evaluations += 1
        place = self.pool.add(texts, parents, scored.scores, before)
        self._places.append(len(self.history))
        outputs = {"outputs": scored.outputs} if self.options.remember_outputs else {}
        self._remember(texts, parents, scored.scores, note, {"place": place, "metric_calls_before": before, **outputs})
        self.best = self.candidate(self.pool.members[self.pool.best].texts)
        if self.log:
            self.log[-1].setdefault("accepted", []).append(place)

    def _reject(self, texts: dict[str, str], parents: tuple[int, ...], scores: Sequence[float], note: str) -> None:
        made = note or "from " + ", ".join(map(str, parents))
        self._remember(texts, parents, scores, f"{made}; not better on {len(scores)} rows", {})

    def _remember(
        self, texts: dict[str, str], parents: tuple[int, ...], scores: Sequence[float], note: str, facts: dict[str, Any]
    ) -> None:
        mean, places = 100.0 * sum(scores) / len(scores), tuple(self._places[p] for p in parents)
        said = Obj({"scores": tuple(scores), **facts})
        made = Candidate(self.candidate(texts), self.options.name, note, mean, len(scores), None, places, said)
        self.history.append(made)

    def demand(self) -> Demand:
        """The iteration that reaches the budget may go beyond it, by no more than the dearest iteration costs. Writers
        that may run out of texts may end it at any time."""
        if self.done:
            return Demand()
        rows, batch = len(self.rows), self.options.reflection_minibatch_size
        tasks = self.options.parents * self.options.mutations
        kept = min(tasks, self.options.keep or tasks)
        dearest = max(2 * batch * tasks + kept * rows, (_MERGE_ROWS + rows) if self.options.use_merge else 0)
        first = 0 if self.pool.members else rows
        left = max(0, self.budget - self.calls - first)
        going = self.iteration >= 0  # one that began before the budget was reached comes to its end
        most = max(0, self.budget - 1 + dearest - self.calls - first) if left or going else 0
        each = len(self.components) if self.options.component_selector != "round_robin" else 1
        asked = (math.ceil(left / batch) + going) * tasks * self._writer.calls(self.problem, each)
        return Demand(first if self._writer.finite else first + left, first + most, asked)


def _run_result(result: object) -> RunResult:
    if not isinstance(result, RunResult):
        raise OptimizeError(f"gepa asked for a run, not for what gives a {type(result).__name__}")
    return result


def _feedback(result: object) -> FeedbackResult:
    if not isinstance(result, FeedbackResult):
        raise OptimizeError(f"gepa asked for feedback, not for what gives a {type(result).__name__}")
    return result
