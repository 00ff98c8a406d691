"""Tokens drawn from rows of logits by a kernel."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.bare_draws import BARE, Draws
from lampc.backend.native.shared_library import INT, POINTER, SIZE, Library, address
from lampc.backend.random_keys import uniform
from lampc.backend.sampler import NUMPY, TRIES, Draw, Kernel, change, check_finite, draw_rows, likeliest

_WISH = np.dtype(
    [
        *((name, np.int64) for name in ("logits", "mask")),
        *((name, np.float64) for name in ("temperature", "top_p", "min_p", "uniform")),
        ("top_k", np.int64),
    ]
)
"""`Wish` of `drawing.cpp`."""
_FEW = 64  # as many likeliest tokens are kept in order while a row is read; more are sorted
_SHARE = 1 << 13  # logits that are worth a thread: with less, waiting for each other takes longer


def kernel_of(library: Library | None) -> Kernel:
    """Numpy's kernel, or, with a library, `native_kernel`."""
    return NUMPY if library is None else native_kernel(library)


def native_kernel(library: Library) -> Kernel:
    """What `lampc.backend.sampler` computes with numpy, without a number kept for each token.

    Weights and their sums are float64 here too, but not added up in the same order: a draw that falls within rounding
    of the border of two tokens may go to the other one.
    """
    native = _Native(library)
    return Kernel(native.draw, native.masses, native.likeliest, native.draw_bare, native.draw_under)


class _Native:
    """See `lampc.backend.sampler.Kernel`."""

    def __init__(self, library: Library) -> None:
        self._draw = library.function("draw", POINTER, SIZE, SIZE, POINTER, POINTER, INT)
        self._room = _Room(16)
        self._bare = library.function("draw_bare", *(POINTER,) * 4, SIZE, SIZE, SIZE, INT)
        self._under = library.function("draw_under", *(POINTER,) * 5, SIZE, SIZE, POINTER, INT)
        self._likeliest = library.function("likeliest", POINTER, SIZE, SIZE, POINTER, POINTER)
        self._weigh = library.function("weigh", POINTER, SIZE, SIZE, POINTER, POINTER, INT)

    def draw(self, logits: NDArray[np.float32], draws: Sequence[Draw | None]) -> list[int]:
        """See `lampc.backend.sampler.draw_rows`."""
        if not any(draws):
            return draw_rows(logits, draws)
        logits = np.ascontiguousarray(logits, np.float32)
        count, vocab = logits.shape
        first, stride = address(logits), logits.strides[0]
        held: list[NDArray[np.float32] | NDArray[np.int32]] = []
        wishes = []
        for i, draw in enumerate(draws):
            row, mask = first + i * stride, 0
            if draw is None:
                wishes.append((row, mask, 0.0, 1.0, 0.0, 0.0, 0))
                continue
            if draw.banned or draw.edits is not None:
                held.append(changed := logits[i].copy())
                change(changed, draw)
                row = address(changed)
            if draw.mask is not None:
                held.append(words := _words(draw.mask, vocab))
                mask = address(words)
            s = draw.sampling
            at = uniform(draw.key, draw.index) if s.temperature else 0.0
            top_k = s.top_k if s.top_k < vocab else 0
            wishes.append((row, mask, s.temperature, s.top_p, s.min_p, at, top_k))
        table = np.array(wishes, _WISH)
        tokens, tops = np.empty(count, np.int64), np.empty(count, np.float32)
        self._draw(address(table), count, vocab, address(tokens), address(tops), _team(count, vocab))
        check_finite(tops)
        found: list[int] = tokens.tolist()
        return found

    def draw_bare(
        self, logits: NDArray[np.float32], draws: Draws, positions: NDArray[np.int64], tries: int = 1
    ) -> list[list[int]]:
        """See `lampc.backend.sampler.draw_bare`."""
        logits = np.ascontiguousarray(logits, np.float32)
        count, vocab = logits.shape
        room = self._room = self._room.of(count)
        room.draws[:count], room.positions[:count] = draws, positions
        self._bare(address(logits), *room.at, count, vocab, tries, _team(count, vocab))
        found: list[int] = room.tokens[: tries * count].tolist()
        return [found[n * count : (n + 1) * count] for n in range(tries)]

    def draw_under(
        self,
        logits: NDArray[np.float32],
        draws: Draws,
        positions: NDArray[np.int64],
        rows: Sequence[int],
        masks: Sequence[NDArray[np.int32]],
    ) -> list[int]:
        """See `lampc.backend.sampler.draw_under`."""
        logits, draws = np.ascontiguousarray(logits, np.float32), np.ascontiguousarray(draws, BARE)
        positions = np.ascontiguousarray(positions, np.int64)
        count, vocab = len(rows), logits.shape[1]
        held = [_words(mask, vocab) for mask in masks]
        places = np.array([rows, [address(words) for words in held]])
        tokens = np.empty(count, np.int64)
        given = (address(array) for array in (logits, draws, positions, *places))
        self._under(*given, count, vocab, address(tokens), _team(count, vocab))
        found: list[int] = tokens.tolist()
        if min(found) < 0:
            check_finite(np.array([np.nan if token < 0 else 0.0 for token in found], np.float32))
        return found

    def masses(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """See `lampc.backend.sampler.masses`."""
        logits = np.ascontiguousarray(logits, np.float32)
        count, vocab = logits.shape
        found, tops = np.empty(count), np.empty(count, np.float32)
        self._weigh(address(logits), count, vocab, address(found), address(tops), _team(count, vocab))
        return tops.astype(np.float64), found

    def likeliest(self, logits: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """See `lampc.backend.sampler.likeliest`."""
        if 0 < count <= min(_FEW, len(logits)):
            row, ids, found = np.ascontiguousarray(logits, np.float32), np.empty(count, np.int64), np.zeros(1, np.int64)
            self._likeliest(address(row), len(row), count, address(ids), address(found))
            if found[0] == count:
                return ids
        return likeliest(logits, count)


class _Room:
    """Where up to `rows` bare draws and what they come to are handed over: their addresses are asked for once."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.draws, self.positions = np.zeros(rows, BARE), np.zeros(rows, np.int64)
        self.tokens = np.zeros(rows * TRIES, np.int64)
        self.at = [address(array) for array in (self.draws, self.positions, self.tokens)]

    def of(self, rows: int) -> "_Room":
        """This one, or a larger one."""
        return self if rows <= self.rows else _Room(2 * rows)


def _team(count: int, vocab: int) -> int:
    return max(1, min(torch.get_num_threads(), count, count * vocab // _SHARE))


def _words(mask: NDArray[np.int32], vocab: int) -> NDArray[np.int32]:
    """A mask with a bit for each of the ids: those of a vocabulary that is larger than its tokenizer's are 0."""
    missing = -(-vocab // 32) - len(mask)
    return np.pad(mask, (0, missing)) if missing > 0 else np.ascontiguousarray(mask)
