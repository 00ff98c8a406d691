"""Into how long pieces contexts are cut, so that all processors have work and partial results stay few."""

import numpy as np
from numpy.typing import NDArray

_RESIDENT = 2  # programs that a processor runs side by side, about
_START = 64  # what a program takes before it reads keys, in keys that it could read instead
_MERGE = 128  # and what another launch takes
_SHORTEST, _LONGEST = 128, 1 << 16


def pieces(begin: NDArray[np.int64], end: NDArray[np.int64], length: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """How many pieces stretches of keys have when they are cut at multiples of `length`."""
    return (end - 1) // length - begin // length + 1


def best_length(
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    price: NDArray[np.float64],
    heads: int,
    processors: int,
    chunk: int = 0,
) -> int:
    """Keys of a piece; pieces end at its multiples. `begin` and `end` [n] bound what is to be cut.

    `price` [n] is what the partial results of one piece cost, in keys that could be read instead; each stretch is read
    by `heads` K/V heads. With `chunk`, stretches are cut at every chunk or not at all.

    The longest begin first, so time is taken to be what all programs read over what is read at a time, and an average
    program on top, but no less than the longest (Graham, SIAM J. Appl. Math. 17, 1969): few requests with long
    contexts are cut, many are not.
    """
    if not len(begin):
        return _LONGEST
    slots = processors * _RESIDENT
    if chunk:
        lengths = [chunk, max(_LONGEST, 1 << int(end.max()).bit_length())]
    else:
        lengths = [_SHORTEST << i for i in range((_LONGEST // _SHORTEST).bit_length())]
        lengths = [n for n in lengths if n < 2 * end.max()] or lengths[:1]
    total = (end - begin).sum()
    costs = []
    for length in lengths:
        count = pieces(begin, end, length)
        cut, programs = count > 1, count.sum()
        work = total + (price * count)[cut].sum() + _START * programs
        longest = np.minimum(end - begin, length).max()
        costs.append(max(longest, work * heads / slots + total / programs) + (_MERGE if cut.any() else 0))
    return lengths[int(np.argmin(costs))]
