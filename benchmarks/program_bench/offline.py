"""The offline optimum of eviction: how few prompt tokens a cache of so many tokens could have computed, had it known
what comes.

The reference string is what happened in a run: requests are admitted, which needs their whole prompt in the cache and
keeps it there, and end, which leaves prompt and answer there, or are preempted. Evicted is what is needed last (Belady,
"A study of replacement algorithms for a virtual-storage computer", 1966), which is optimal here: all tokens cost the
same, an answer costs nothing, and a token is never needed without those before it, so prefixes stay whole.

It is a lower bound for every eviction under that order of admissions and ends. The cache is filled token by token, not
in blocks, and what is being written takes no room before its request has ended: no engine can do better, and one may
have to do worse. Another order of the same calls has another optimum; only `lampc.runtime.plan.prefix_bound`, where
everything fits, holds for all of them.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from lampc.backend.hooks import Event, RequestEvent
from lampc.backend.request import Request
from lampc.passes.schedule.block_tree import common_prefix

Ids = tuple[int, ...]
Kind = Literal["admitted", "preempted", "finished"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that happened to the request `number`: `ids` is its prompt, once it is finished with its answer."""

    kind: Kind
    number: int
    ids: Ids


class References:
    """A hook that keeps the reference string of an engine."""

    def __init__(self) -> None:
        self.found: list[Reference] = []

    def on_submit(self, request: Request) -> Request:
        """See `lampc.backend.hooks.Hook`."""
        return request

    def on_event(self, event: Event) -> None:
        """See `lampc.backend.hooks.Hook`."""
        if not isinstance(event, RequestEvent) or event.kind not in ("admitted", "preempted", "finished"):
            return
        handle = event.handle
        written = handle.completion.tokens if event.kind == "finished" and handle.completion is not None else ()
        self.found.append(Reference(event.kind, handle.id, (*handle.request.ids, *written)))


@dataclass(slots=True, eq=False)
class Span:
    """Tokens that the same paths have in common: `length` of them, of which the first `held` are cached. `uses` are the
    numbers of the events that pass it, the next one last; True with those that compute what is not there."""

    length: int
    depth: int
    held: int = 0
    locks: int = 0
    uses: list[tuple[int, bool]] = field(default_factory=list)

    def next_use(self, now: int) -> float:
        """When a token of it is missed if it is not there; never, if it is written for nothing before that."""
        while self.uses and self.uses[-1][0] <= now:
            self.uses.pop()
        return self.uses[-1][0] if self.uses and self.uses[-1][1] else inf


def spans(paths: Iterable[Ids]) -> dict[Ids, list[Span]]:
    """The spans of each path, from the root on: the prefix tree of all, cut where paths part or end."""
    ordered = sorted(set(paths))
    cuts: dict[Ids, list[int]] = {path: [len(path)] for path in ordered}
    out: dict[Ids, list[Span]] = {}
    above: list[Ids] = []
    shared = [common_prefix(a, b) for a, b in itertools.pairwise(ordered)]
    for i, at in enumerate(shared):  # where two part, all are cut that go through there
        for step, joints in ((-1, shared[:i][::-1]), (1, shared[i + 1 :])):
            j = i if step < 0 else i + 1
            cuts[ordered[j]].append(at)
            for joint in joints:
                if joint < at:
                    break
                j += step
                cuts[ordered[j]].append(at)
    for path in ordered:
        while above and path[: len(above[-1])] != above[-1]:
            above.pop()
        cuts[path] += map(len, above)
        above.append(path)
    last: Ids = ()
    chain: list[tuple[int, Span]] = []
    for path in ordered:
        common = common_prefix(last, path)
        chain = [(end, span) for end, span in chain if end <= common]
        begin = chain[-1][0] if chain else 0
        for end in sorted({c for c in cuts[path] if c > begin}):
            chain.append((end, Span(end - begin, begin)))
            begin = end
        out[path] = [span for _, span in chain]
        last = path
    return out


def fewest(references: Sequence[Reference], capacity: int) -> int:
    """Prompt tokens that have to be computed in a cache of `capacity` tokens, whatever is evicted when.

    Raises ValueError if what is under way at a time does not fit.
    """
    paths = spans(r.ids for r in references)
    for now in range(len(references) - 1, -1, -1):
        one = references[now]
        if one.kind != "preempted":
            for span in paths[one.ids]:
                span.uses.append((now, one.kind == "admitted"))
    every = list({id(s): s for path in paths.values() for s in path}.values())
    computed = used = 0
    locked: dict[int, list[Span]] = {}
    for now, one in enumerate(references):
        path = paths[one.ids]
        for span in path:
            missing = span.length - span.held
            if one.kind == "admitted":
                computed += missing
            if one.kind != "preempted":
                span.held, used = span.length, used + missing
        for span in locked.pop(one.number, ()):
            span.locks -= 1
        here = set(map(id, path)) if one.kind != "preempted" else set()
        if used > capacity:
            order = [(-s.next_use(now), -s.depth, i) for i, s in enumerate(every) if s.held and not s.locks]
            heapq.heapify(order)
            while used > capacity and order:
                span = every[heapq.heappop(order)[2]]
                if id(span) not in here:
                    gone = min(span.held, used - capacity)
                    span.held, used = span.held - gone, used - gone
            if used > capacity:
                raise ValueError(f"event {now}: {used} tokens are needed at a time, and the cache holds {capacity}")
        if one.kind == "admitted":
            locked[one.number] = path
            for span in path:
                span.locks += 1
    return computed
