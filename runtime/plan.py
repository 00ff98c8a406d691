"""Planning over bound prompts: the prefix tree of token ids, its size, its order, its shared prefixes.

Only here are token ids of all rows and candidates known, so only here can sharing between them be seen.
The order is depth-first through the tree, which for token sequences is their lexicographic order: calls
that share most run next to each other.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lampc.runtime.models import Model, ModelCall


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix, in tokens."""
    low, high = 0, min(len(a), len(b))
    while low < high:  # slices compare at C speed: find the first difference by halving
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def prefix_bound(prompts: Iterable[Sequence[int]]) -> int:
    """Number of nodes of the token trie of `prompts`: the fewest prompt tokens that must be computed."""
    ordered = sorted(set(map(tuple, prompts)))
    total = sum(map(len, ordered))
    return total - sum(common_prefix(a, b) for a, b in itertools.pairwise(ordered))


@dataclass(slots=True)
class PrefixTree:
    """Calls in depth-first order; `shared[i]` is how many tokens call i has in common with a neighbour."""

    calls: list[ModelCall]
    shared: list[int]

    @staticmethod
    def of(calls: Iterable[ModelCall]) -> PrefixTree:
        ordered = sorted(calls, key=lambda c: c.ids)
        joints = [common_prefix(a.ids, b.ids) for a, b in itertools.pairwise(ordered)]
        padded = [0, *joints, 0]
        return PrefixTree(ordered, [max(padded[i], padded[i + 1]) for i in range(len(ordered))])


class SharedPrefixes:
    """Holds on to shared prefixes while a planned call still needs them: each reference counts its
    consumers and is released at the last one."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._consumers: Counter[tuple[int, ...]] = Counter()
        self._refs: dict[tuple[int, ...], object] = {}
        self._of_call: dict[int, tuple[int, ...]] = {}

    def plan(self, calls: Iterable[ModelCall]) -> list[ModelCall]:
        """The calls in the order in which to run them; their shared prefixes are retained from now on."""
        tree = PrefixTree.of(calls)
        for call, length in zip(tree.calls, tree.shared, strict=True):
            prefix = call.ids[:length]
            if prefix:
                self._of_call[id(call)] = prefix
                self._consumers[prefix] += 1
                if prefix not in self._refs:
                    self._refs[prefix] = self.model.retain(prefix)
        return tree.calls

    def done(self, call: ModelCall) -> None:
        """A planned call has finished."""
        prefix = self._of_call.pop(id(call), None)
        if prefix is None:
            return
        self._consumers[prefix] -= 1
        if not self._consumers[prefix]:
            del self._consumers[prefix]
            self._release(prefix)

    def close(self) -> None:
        """Release whatever is still held (a run that was cut short)."""
        for prefix in list(self._refs):
            self._release(prefix)
        self._consumers.clear()
        self._of_call.clear()

    def _release(self, prefix: tuple[int, ...]) -> None:
        ref = self._refs.pop(prefix, None)
        if ref is not None:
            self.model.release(ref)  # type: ignore[arg-type]
