"""Which spans of a step look at the same keys for how long: the prefix tree of those that are in it now.

A slot belongs to one place of the tree of all contexts, so two spans agree in all keys up to a place exactly if they
have the same slot there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lampc.backend.spans import Span


@dataclass(frozen=True, slots=True)
class Shared:
    """Keys begin .. end - 1 are the same for all of these spans, and before all their queries."""

    spans: list[int]
    begin: int
    end: int


def shared_stretches(
    spans: Sequence[Span], firsts: Sequence[int], unit: int, worth: Callable[[list[int], int], bool]
) -> tuple[list[Shared], NDArray[np.int64]]:
    """Nodes of the tree, from the root down, and for each span where what it reads for itself begins.

    `firsts` are the first keys that the spans see, `worth(spans, keys)` says whether reading so many keys together
    pays; where it does not, they are read with what follows. Stretches begin and end at multiples of `unit`.
    """
    full = np.array([span.start // unit for span in spans], np.int64)
    first = np.array(firsts, np.int64) // unit
    ends = np.full((len(spans), int(full.max(initial=0))), -1, np.int64)
    for i, span in enumerate(spans):
        ends[i, : full[i]] = span.slots[unit - 1 : full[i] * unit : unit]
    found: list[Shared] = []
    begins = np.zeros(len(spans), np.int64)
    # A family agrees in the first `depth` units; those from `since` on are not read elsewhere yet.
    stack = [(list(range(len(spans))), 0, 0)]
    while stack:
        family, depth, since = stack.pop()
        branches: dict[int, list[int]] = {}
        for i in family:
            if depth < full[i]:
                branches.setdefault(int(ends[i, depth]), []).append(i)
            else:
                begins[i] = since
        for branch in branches.values():
            if len(branch) == 1:
                begins[branch[0]] = since
                continue
            same = (ends[branch, depth : full[branch].min()] == ends[branch[0], depth : full[branch].min()]).all(0)
            last = depth + (len(same) if same.all() else int(same.argmin()))
            looking = [i for i in branch if first[i] < last]
            begin = max(since, int(first[branch].min()))
            after = since
            if len(looking) > 1 and worth(looking, (last - begin) * unit):
                found.append(Shared(looking, begin * unit, last * unit))
                after = last
            stack.append((branch, last, after))
    return found, begins * unit
