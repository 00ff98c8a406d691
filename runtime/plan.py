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


def prefix_bound(prompts: Iterable[Sequence[int]], written: Iterable[Sequence[int]] = ()) -> int:
    """Number of nodes of the token trie of `prompts`: the fewest prompt tokens that must be computed.

    `written[i]` is what the model wrote after prompt i. A prompt that goes on from there finds these tokens computed
    already, so they do not count.
    """
    after: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for prompt, answer in itertools.zip_longest(map(tuple, prompts), map(tuple, written), fillvalue=()):
        after.setdefault(prompt, []).append(answer)
    total = 0
    last: tuple[int, ...] = ()
    above: list[tuple[int, ...]] = []  # the prompts that are prefixes of this one
    for prompt in sorted(after):
        first, last = common_prefix(last, prompt), prompt
        while above and prompt[: len(above[-1])] != above[-1]:
            above.pop()
        total += len(prompt) - first
        known = first
        for start in above:
            end = len(start) + max(common_prefix(prompt[len(start) :], answer) for answer in after[start])
            total -= max(end - max(known, len(start)), 0)
            known = max(known, end)
        above.append(prompt)
    return total


def beside_bound(computed: int, bound: int) -> str:
    """How many prompt tokens were computed above the bound, in words. Fewer than the bound is possible where an
    earlier run computed a part, or where what the model wrote is not known any more."""
    if computed < bound:
        return f"{bound - computed:,} of them were there already"
    return f"{100 * (computed / bound - 1):+.2f} % computed above that"


@dataclass(slots=True)
class PrefixTree:
    """Calls in depth-first order. `joints[i]` is how many tokens call i has in common with the one before it,
    `shared[i]` with either neighbour."""

    calls: list[ModelCall]
    shared: list[int]
    joints: list[int]

    @staticmethod
    def of(calls: Iterable[ModelCall]) -> PrefixTree:
        ordered = sorted(calls, key=lambda c: c.ids)
        joints = [common_prefix(a.ids, b.ids) for a, b in itertools.pairwise(ordered)]
        padded = [0, *joints, 0]
        return PrefixTree(ordered, [max(padded[i], padded[i + 1]) for i in range(len(ordered))], padded[: len(ordered)])


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
        prefix: tuple[int, ...] = ()
        for call, length, joint in zip(tree.calls, tree.shared, tree.joints, strict=True):
            if length != len(prefix) or joint < length:  # else it is the one before: kept once for all who share it
                prefix = call.ids[:length]
            if prefix:
                self._of_call[id(call)] = prefix
                self._consumers[prefix] += 1
                if prefix not in self._refs:
                    self._refs[prefix] = self.model.retain(prefix)
        return tree.calls

    def length(self, call: ModelCall) -> int:
        """How many tokens of a planned call are shared with one beside it in the order."""
        return len(self._of_call.get(id(call), ()))

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
