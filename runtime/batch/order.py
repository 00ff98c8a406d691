"""In which order a file is best run: lines that begin alike one after the other.

So a cache far smaller than the file still finds what they share. A file of more than `MOST` lines is put in order
part by part, so that memory does not grow with it.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from lampc.runtime.batch.lines import BadLine, Line

MOST = 250_000
"""Lines that are put in order together."""
_LENGTHS = (64, 256, 1024, 4096, 16384)  # characters of a beginning that are compared
_MOST = (1 << 63) - 1


class Order:
    """Places of lines, put in order: wrong lines, then by falling priority; lines whose first characters are equal
    stand together, and among them those that go on alike. Otherwise as in the file. Holds 64 bytes a line."""

    def __init__(self) -> None:
        self._numbers = array("Q")
        self._at = array("Q")
        self._priorities = array("q")
        self._begins = [array("Q") for _ in _LENGTHS]

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, line: Line | BadLine) -> None:
        """One more line."""
        self._numbers.append(line.number)
        self._at.append(line.at)
        text = ""
        if isinstance(line, Line):
            self._priorities.append(max(-_MOST, min(_MOST - 1, line.want.priority)))
            text = _text(line.prompt)
        else:
            self._priorities.append(_MOST)
        for length, begins in zip(_LENGTHS, self._begins, strict=True):
            # A shorter text is a beginning of itself only: nothing is gained by standing beside it.
            digest = blake2b(text[:length].encode("utf-8", "surrogatepass"), digest_size=8)
            begins.append(int.from_bytes(digest.digest(), "big"))

    def places(self) -> Iterator[tuple[int, int]]:
        """(number, at) of each line, in order."""
        import numpy as np

        keys = [np.arange(len(self))]
        for begins in reversed(self._begins):  # the last key of lexsort counts most
            _, first, group = np.unique(np.frombuffer(begins, np.uint64), return_index=True, return_inverse=True)
            keys.append(first[group])
        keys.append(-np.frombuffer(self._priorities, np.int64))
        for i in np.lexsort(keys).tolist():
            yield self._numbers[i], self._at[i]


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
