"""Two half-batches in flight: while ranks sum one half's products, they compute the other half.

Rows do not depend on each other but through K/V, so that halves have the bits of the whole. Both read all weights;
that is for nothing where reading weights takes the time, so only steps with many rows are halved.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from lampc.backend.parallel.outline import Pass
from lampc.backend.parallel.step import Step
from lampc.backend.parallel.trace import Trace
from lampc.backend.spans import Span


def together(passes: Sequence[Pass], trace: Trace | None = None) -> list[torch.Tensor]:
    """What passes give, each of which goes on whenever the others have begun a sum."""
    results: dict[int, torch.Tensor] = {}
    while len(results) < len(passes):
        for i, one in enumerate(passes):
            if i not in results:
                with nullcontext() if trace is None else trace.computing(i):
                    try:
                        next(one)
                    except StopIteration as end:
                        results[i] = end.value
    return [results[i] for i in range(len(passes))]


def halved(step: Step, least: int, padded: Callable[[int], int]) -> tuple[list[Step], torch.Tensor] | None:
    """The two halves of a step, and where in their logits, one after the other, those of each wanted row are.

    None if it has fewer than `least` rows, or its first half needs K/V that the second one stores. `padded` says
    how many rows to compute for so many.
    """
    rows = sum(span.count for span in step.spans)
    if rows < least:
        return None
    cut = rows // 2
    first, second = _part(step, 0, cut, padded), _part(step, cut, rows, padded)
    if _needs(first, second):
        return None
    order = np.argsort(step.wanted >= cut, kind="stable")
    return [first, second], torch.from_numpy(order.argsort())


def _needs(one: Step, other: Step) -> bool:
    known = np.concatenate([span.slots[: span.start + span.count] for span in one.spans])
    marked = np.zeros(int(max(known.max(), other.slots.max(), 0)) + 1, bool)
    marked[other.slots[other.slots >= 0]] = True
    return bool(marked[known].any())


def _part(step: Step, first: int, end: int, padded: Callable[[int], int]) -> Step:
    """Rows [first, end), a span that goes on behind them cut in two."""
    more = padded(end - first) - (end - first)
    numbers = ((step.ids, 0), (step.positions, 0), (step.slots, -1))
    ids, positions, slots = (np.pad(x[first:end], (0, more), constant_values=fill) for x, fill in numbers)
    wanted = step.wanted[(step.wanted >= first) & (step.wanted < end)] - first
    spans = []
    for span in step.spans:
        a, b = max(span.first, first), min(span.first + span.count, end)
        if a < b:
            spans.append(Span(a - first, span.start + a - span.first, b - a, span.slots))
    return Step(ids, positions, slots, wanted, spans, step.plain)
