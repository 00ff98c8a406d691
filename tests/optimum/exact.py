"""The exact optimum of small schedules, as a mixed-integer linear program over the steps of the engine.

A step takes `budget` tokens: of prompts that are computed, and one of each call that decodes. A call that generates n
tokens draws in n + 1 steps in a row, the first of which computes the last token of its prompt; the prompts of calls
that need its answer are there from the next step on. Prompts are spans of the prefix tree, and all spans of a call are
in the cache while it is under way. The solver knows how long answers are and what they say, computes any part of any
prompt that is there, and fills its cache token by token: what it finds is a lower bound for every engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from program_bench.offline import Span, spans
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True)
class Call:
    """A call: token ids of prompt and answer, and the numbers of the calls that its prompt needs the answers of."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """`budget` tokens a step; the cache holds `kv_tokens`."""

    calls: tuple[Call, ...]
    budget: int
    kv_tokens: int


@dataclass(frozen=True, slots=True)
class Best:
    """No schedule costs less than `least`; `proved` if one that costs so much was found."""

    least: float
    proved: bool


def least_cost(instance: Instance, horizon: int, step: float, row: float, seconds: float, ample: bool) -> Best:
    """The least that any schedule costs that ends within `horizon` steps, if a step costs `step` and each token in it
    `row`; what the solver has proved after so many `seconds`. With `ample` the cache is not looked at.

    Raises RuntimeError if there is no such schedule.
    """
    problem = _Problem(instance, horizon, ample)
    cost = np.zeros(problem.count)
    cost[problem.over] = -step
    cost[problem.computed.ravel()] = row
    fixed = step * horizon + row * sum(len(c.answer) for c in instance.calls)
    found = milp(
        cost,
        constraints=problem.constraint(),
        bounds=problem.bounds(),
        integrality=problem.integers,
        options={"time_limit": seconds},
    )
    if found.mip_dual_bound is None or not np.isfinite(found.mip_dual_bound):
        raise RuntimeError(f"no schedule of {len(instance.calls)} calls ends within {horizon} steps: {found.message}")
    return Best(fixed + found.mip_dual_bound, found.status == 0)


class _Problem:
    """Columns: `begun[i, t]`, call i drew first in step t or before; `there[i, t]`, its prompt is there in step t;
    `computed[n, t]`, tokens of span n in step t; `held[n, t]`, those in the cache then; `over[t]`, all ended before."""

    def __init__(self, instance: Instance, horizon: int, ample: bool) -> None:
        calls, paths = instance.calls, spans(c.prompt for c in instance.calls)
        self.every: list[Span] = list({id(s): s for path in paths.values() for s in path}.values())
        place = {id(s): n for n, s in enumerate(self.every)}
        self.paths = [[place[id(s)] for s in paths[c.prompt]] for c in calls]
        self.instance, self.horizon = instance, horizon
        shape, nodes = (len(calls), horizon), (len(self.every), horizon)
        sizes = [shape, shape, nodes, nodes, (horizon,)]
        starts = np.cumsum([0, *(int(np.prod(s)) for s in sizes)])
        parts = [np.arange(a, b).reshape(s) for a, b, s in zip(starts, starts[1:], sizes, strict=False)]
        self.begun, self.there, self.computed, self.held, self.over = parts
        self.count = int(starts[-1])
        self.integers = np.zeros(self.count)
        self.integers[self.begun.ravel()] = 1
        self._rows: list[tuple[list[tuple[int, float]], float, float]] = []  # terms, least, most
        self._build(ample)

    def bounds(self) -> Bounds:
        """Of all columns."""
        top = np.ones(self.count)
        for n, span in enumerate(self.every):
            top[self.held[n]] = span.length
            top[self.computed[n]] = min(span.length, self.instance.budget)
        low = np.zeros(self.count)
        for i, call in enumerate(self.instance.calls):  # whoever draws first later than that is not done in the end
            low[self.begun[i, self.horizon - 1 - len(call.answer) :]] = 1
        return Bounds(low, top)

    def constraint(self) -> LinearConstraint:
        """All rows."""
        row, column, value = [], [], []
        for r, (terms, _, _) in enumerate(self._rows):
            for c, v in terms:
                row.append(r)
                column.append(c)
                value.append(v)
        matrix = csr_array((value, (row, column)), shape=(len(self._rows), self.count))
        return LinearConstraint(matrix, [low for _, low, _ in self._rows], [most for _, _, most in self._rows])

    def _at_most(self, terms: Sequence[tuple[int, float]], most: float) -> None:
        self._rows.append((list(terms), -np.inf, most))

    def _build(self, ample: bool) -> None:
        calls, horizon, every = self.instance.calls, self.horizon, self.every
        through: list[list[int]] = [[] for _ in every]
        for i, path in enumerate(self.paths):
            for n in path:
                through[n].append(i)
        for t in range(horizon):
            rows: list[tuple[int, float]] = [(int(self.computed[n, t]), 1.0) for n in range(len(every))]
            room: list[tuple[int, float]] = [(int(self.held[n, t]), 1.0) for n in range(len(every))]
            for i, call in enumerate(calls):
                size = len(call.answer)
                now = int(self.begun[i, t])
                if t:
                    self._at_most([(int(self.begun[i, t - 1]), 1.0), (now, -1.0)], 0)
                self._at_most([(now, 1.0), (int(self.there[i, t]), -1.0)], 0)
                for before in call.after:
                    self._after(int(self.there[i, t]), before, t - 1 - len(calls[before].answer))
                self._after(int(self.over[t]), i, t - 1 - size)
                rows += self._under_way(i, t - 1, size)
                for n in self.paths[i]:  # in the cache while it is under way; for good if there is room for all
                    under = [(now, 1.0)] if ample else self._under_way(i, t, size + 1)
                    self._at_most([(c, v * every[n].length) for c, v in under] + [(int(self.held[n, t]), -1.0)], 0)
                for k in range(1, size + 1):  # tokens of its answer so far
                    room += [(c, v * k) for c, v in self._under_way(i, t - k, 1)]
            self._at_most(rows, self.instance.budget)
            if not ample:
                self._at_most(room, self.instance.kv_tokens)
            for n, span in enumerate(every):
                grown = [(int(self.held[n, t]), 1.0), (int(self.computed[n, t]), -1.0)]
                self._at_most(grown + ([(int(self.held[n, t - 1]), -1.0)] if t else []), 0)
                known = [(int(self.there[i, t]), -float(span.length)) for i in through[n]]
                self._at_most([(int(self.computed[n, t]), 1.0), *known], 0)
        for path in self.paths:
            for above, below in itertools.pairwise(path):
                for t in range(horizon):
                    parent, child = (int(self.held[above, t]), 1 / every[above].length), int(self.held[below, t])
                    self._at_most([(child, 1 / every[below].length), (parent[0], -parent[1])], 0)

    def _after(self, column: int, call: int, t: int) -> None:
        """A column may be 1 only if a call drew first in step t or before."""
        self._at_most([(column, 1.0), *([(int(self.begun[call, t]), -1.0)] if t >= 0 else [])], 0)

    def _under_way(self, call: int, t: int, steps: int) -> list[tuple[int, float]]:
        """Terms whose sum is 1 if a call drew first in one of the last `steps` steps, step t among them, else 0."""
        if t < 0 or not steps:
            return []
        terms = [(int(self.begun[call, t]), 1.0)]
        return terms + ([(int(self.begun[call, t - steps]), -1.0)] if t >= steps else [])
