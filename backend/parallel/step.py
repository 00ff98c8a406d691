"""One step as numbers: what every rank must know of a plan, and how it is sent.

On the wire a step is one int32 array: 6 numbers (rows, wanted rows, spans, slots and copies that follow, 1 if it is
plain); ids, positions and store slots of the rows; the wanted rows; for each span first row, first position, count, the
span of the last step that was of the same request (-1: none) and how many of its slots are the same; then all slots
that are not; then the copies from and to host memory, see `lampc.backend.copies`. A request that decodes thus costs
nine numbers and its new slot, whatever its context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lampc.backend.copies import RUN, Copies
from lampc.backend.errors import BackendError
from lampc.backend.plan import Plan
from lampc.backend.spans import Span

Numbers = NDArray[np.int64]
Wire = NDArray[np.int32]

_HEAD, _SPAN = 6, 5


@dataclass(frozen=True, slots=True)
class Step:
    """`ids`, `positions`, `slots` of all rows, padding included (slot -1 stores nothing); rows `wanted` of them.

    Of a `plain` step the likeliest token of each wanted row is all that is needed. `copies` are made before.
    """

    ids: Numbers
    positions: Numbers
    slots: Numbers
    wanted: Numbers
    spans: Sequence[Span]
    plain: bool = False
    copies: Copies = field(default_factory=Copies)


def read(plan: Plan, count: int) -> tuple[Step, list[int]]:
    """The step of a plan, padded to `count` rows, and the request that each span is of."""
    ids, positions = np.zeros(count, np.int64), np.zeros(count, np.int64)
    slots = np.full(count, -1, np.int64)
    spans, requests = [], []
    row = 0
    for chunk in plan.chunks:
        job, start, end = chunk.job, chunk.start, chunk.end
        size = end - start
        spans.append(Span(row, start, size, job.slots))
        requests.append(job.handle.id)
        ids[row : row + size] = job.ids[start:end]
        positions[row : row + size] = np.arange(start, end)
        first = max(start, chunk.write_from)
        slots[row + first - start : row + size] = job.slots[first:end]
        row += size
    wanted = np.array([r for want in plan.wants for r in want.rows], np.int64)
    copies = Copies() if plan.copies is None else plan.copies
    return Step(ids, positions, slots, wanted, spans, plan.plain, copies), requests


class Writer:
    """Steps to the wire. It remembers the last one's slots, as every `Reader` does."""

    def __init__(self) -> None:
        self._sent: dict[int, tuple[int, Numbers]] = {}  # request -> its span of the last step and that one's slots

    def write(self, step: Step, requests: Sequence[int]) -> Wire:
        """One step; `requests` name the spans."""
        table = np.zeros((len(step.spans), _SPAN), np.int64)
        news: list[Numbers] = []
        sent: dict[int, tuple[int, Numbers]] = {}
        for i, (span, request) in enumerate(zip(step.spans, requests, strict=True)):
            slots = span.slots[: span.start + span.count]
            before, known = self._sent.get(request, (-1, slots[:0]))
            kept = _common(known, slots)
            table[i] = span.first, span.start, span.count, before, kept
            news.append(slots[kept:])
            sent[request] = i, slots.copy()
        self._sent = sent
        tail = np.concatenate([*news, np.zeros(0, np.int64)])
        head = [len(step.ids), len(step.wanted), len(step.spans), len(tail), len(step.copies), step.plain]
        rows = [step.ids, step.positions, step.slots, step.wanted]
        parts = [np.array(head), *rows, table.ravel(), tail, step.copies.numbers().ravel()]
        return np.concatenate(parts).astype(np.int32)


class Reader:
    """Steps from the wire, in the order in which they were written."""

    def __init__(self) -> None:
        self._last: list[Numbers] = []

    def read(self, wire: Wire) -> Step:
        """Raises BackendError if these numbers are no step."""
        numbers = wire.astype(np.int64)
        if len(numbers) < _HEAD:
            raise BackendError("a step is cut short")
        rows, wanted, count, more, copies, plain = numbers[:_HEAD].tolist()
        sizes = [_HEAD, rows, rows, rows, wanted, _SPAN * count, more, RUN * copies]
        if min(sizes) < 0 or len(numbers) != sum(sizes) or plain not in (0, 1):
            raise BackendError(f"a step of {len(numbers)} numbers says that it has {sum(sizes)}")
        _, ids, positions, slots, some, flat, tail, moved = np.split(numbers, np.cumsum(sizes)[:-1])
        spans: list[Span] = []
        at = 0
        for first, start, size, before, kept in flat.reshape(-1, _SPAN).tolist():
            new = tail[at : at + start + size - kept]
            at += start + size - kept
            if kept and not 0 <= before < len(self._last):
                raise BackendError(f"a span goes on after span {before} of {len(self._last)}")
            known = self._last[before][:kept] if kept else tail[:0]
            spans.append(Span(first, start, size, np.concatenate([known, new])))
            if len(spans[-1].slots) != start + size:
                raise BackendError(f"a span of {start + size} slots has {len(spans[-1].slots)}")
        self._last = [span.slots for span in spans]
        return Step(ids, positions, slots, some, spans, plain == 1, Copies.of(moved))


def _common(a: Numbers, b: Numbers) -> int:
    """How many numbers the two begin with alike."""
    length = min(len(a), len(b))
    if np.array_equal(a[:length], b[:length]):
        return length
    return int((a[:length] != b[:length]).argmax())
