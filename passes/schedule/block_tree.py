"""How many tokens the prefix tree of prompts has, seen as sequences of blocks.

A block is the tokens of one part of a prompt; equal ones have one number. Counting over numbers makes it cheap to try
many orders of the same blocks. Two blocks that differ share the tokens that they have in common at their beginnings.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence

WIDTH = array("I").itemsize
"""Bytes of a packed id."""


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


def packed(ids: Sequence[int]) -> bytes:
    """Ids (each from 0 to 2**32 - 1) as bytes, `WIDTH` for each. They compare as sequences of ids do, many times as
    fast."""
    made = array("I", ids)
    if sys.byteorder == "little":
        made.byteswap()
    return made.tobytes()


def unpacked(ids: bytes) -> tuple[int, ...]:
    """The ids that were packed."""
    made = array("I", ids)
    if sys.byteorder == "little":
        made.byteswap()
    return tuple(made)


def packed_prefix(a: bytes, b: bytes) -> int:
    """`common_prefix` of what was packed, in tokens."""
    return common_prefix(a, b) // WIDTH


def tree_size(prompts: Iterable[Sequence[int]]) -> int:
    """Nodes of the token tree of `prompts`: the fewest tokens that must be computed."""
    total, last = 0, ()
    for prompt in sorted(set(map(tuple, prompts))):
        total += len(prompt) - common_prefix(last, prompt)
        last = prompt  # type: ignore[assignment]
    return total


class Blocks:
    """Blocks by number, equal ones once."""

    def __init__(self) -> None:
        self.tokens: list[tuple[int, ...]] = []
        self._numbers: dict[tuple[int, ...], int] = {}
        self._spreads: dict[frozenset[int], int] = {}

    def number(self, tokens: Sequence[int]) -> int:
        """The number of a block, a new one for new tokens."""
        key = tuple(tokens)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.tokens)
            self.tokens.append(key)
        return found

    def length(self, number: int) -> int:
        return len(self.tokens[number])

    def spread(self, numbers: frozenset[int]) -> int:
        """Tokens of the tree of some different blocks."""
        if len(numbers) == 1:
            (only,) = numbers
            return len(self.tokens[only])
        found = self._spreads.get(numbers)
        if found is None:
            found = self._spreads[numbers] = tree_size(self.tokens[n] for n in numbers)
        return found

    def size(self, prompts: Iterable[Sequence[int]]) -> int:
        """Tokens of the tree of prompts, each a sequence of blocks."""
        total = 0
        todo = [(0, list(dict.fromkeys(map(tuple, prompts))))]
        while todo:
            depth, group = todo.pop()
            if len(group) == 1:
                total += sum(len(self.tokens[n]) for n in group[0][depth:])
                continue
            parts: dict[int, list[tuple[int, ...]]] = {}
            for prompt in group:
                if len(prompt) > depth:
                    parts.setdefault(prompt[depth], []).append(prompt)
            if parts:
                total += self.spread(frozenset(parts))
                todo += [(depth + 1, part) for part in parts.values()]
        return total


__all__ = ["Blocks", "common_prefix", "tree_size"]
