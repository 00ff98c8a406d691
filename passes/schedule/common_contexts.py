"""Which calls of a function begin with the same context as another, and how much of it, without comparing all pairs.

Contexts are paths of a tree whose edges are their parts, so what a call has in common with later ones is found by going
down its own path: linear in the lengths of contexts, where pairs would be quadratic in the number of calls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence

from lampc.ir.core import Op, Region, Value
from lampc.ir.kv import Extend, Root
from lampc.ir.prompt import Input, Run, Segment


class CommonContexts:
    """The calls of a function in program order, with the chains of ops that their contexts grow by."""

    def __init__(self, func: Op, chains: Mapping[Op, Sequence[Op | Value]]) -> None:
        self._calls = list(chains)
        self._place = {op: i for i, op in enumerate(self._calls)}
        self._paths: list[list[int]] = []
        self._users: list[list[int]] = []  # by node: calls whose context goes through it, in order
        self._ends: dict[Op, int] = {}  # how many calls there are up to the end of an op
        self._edges: dict[tuple[int, Hashable], int] = {}
        for number, call in enumerate(self._calls):
            path, node = [], -1
            for part in (*_parts(chains[call]), ("op", id(call))):
                node = self._edges.setdefault((node, part), len(self._users))
                if node == len(self._users):
                    self._users.append([])
                self._users[node].append(number)
                path.append(node)
            self._paths.append(path)
        self._chains = chains
        for region in func.regions:
            self._number(region, 0)

    def _number(self, region: Region, count: int) -> int:
        for op in region.ops:
            count = max(count, self._place.get(op, -1) + 1)
            for nested in op.regions:
                count = self._number(nested, count)
            self._ends[op] = count
        return count

    def after(self, call: Op, inner: Op) -> Iterator[tuple[Op, int, int, bool]]:
        """Of the calls after `inner`, which is the call or around it, in the same region: the last one that has
        anything in common with the call, then the last one that has more, and so on. Each as the op of that region in
        which it stands, with the runs, the segments after them, and whether the call's answer is common, too."""
        region = inner.parent
        assert region is not None
        first, end = self._ends[inner], self._ends[region.ops[-1]]
        path, depth = self._paths[self._place[call]], 0
        while depth < len(path) and first < end:
            users = self._users[path[depth]]
            at = bisect_left(users, end) - 1
            if at < 0 or users[at] < first:
                return
            later = users[at]
            for mine, other in zip(path[depth:], self._paths[later][depth:], strict=False):
                if mine != other:
                    break
                depth += 1
            runs, segments, answer = self._measured(call, depth)
            if answer or runs or segments:
                yield _in(region, self._calls[later]), runs, segments, answer

    def _measured(self, call: Op, depth: int) -> tuple[int, int, bool]:
        """How many runs and segments so many parts of a call's context are, and whether its answer is among them."""
        _, *grown = self._chains[call]
        left, runs = depth - 1, 0  # the first part is the root
        for op in grown:
            parts = len(segments_of(op.run)) + 1 if isinstance(op, Extend) else 1
            if left < parts:
                return runs, left, False
            left, runs = left - parts, runs + 1
        return runs, 0, left > 0


def segments_of(run: Run) -> tuple[Segment, ...]:
    """All segments of a run in order."""
    return run.segments or tuple(s for turn in run.turns for s in turn.segments)


def _parts(chain: Sequence[Op | Value]) -> Iterator[Hashable]:
    """What a context is made of: equal parts are equal text, whatever the row."""
    root, *grown = chain
    yield ("root", root.model) if isinstance(root, Root) else ("value", id(root))
    for op in grown:
        if not isinstance(op, Extend):
            yield "op", id(op)
            continue
        for segment in segments_of(op.run):
            if isinstance(segment, Input):
                yield segment.field, segment.adapter, id(op.inputs[segment.index])
            else:
                yield segment
        yield "end"


def _in(region: Region, op: Op) -> Op:
    """The op of a region that another one is, or is in."""
    while op.parent is not region:
        around = op.parent_op()
        assert around is not None
        op = around
    return op
