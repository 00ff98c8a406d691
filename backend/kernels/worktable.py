"""The work table of a step: which queries meet which keys in one program, and where partial results go.

A row holds query tokens and a stretch of keys that they look at: a node of the prefix tree with the tokens of all
spans under it, or a part of a span with what it reads for itself. Rows are cut so that all processors have work, the
longest come first, and all rows of one tile size are one launch. What several rows find for a token is added up from
the first key to the last by `lampc.backend.kernels.merge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lampc.backend.kernels.shape import Shape, Tile, Tiling
from lampc.backend.kernels.sharing import shared_stretches
from lampc.backend.kernels.splits import best_length
from lampc.backend.tiles import Span

WORK = 8
FIRST, MEMBERS, BEGIN, END, PLACE = range(5)
"""Columns of a row: first of its members, their number, its keys BEGIN .. END - 1, and what to add to a key's position
to find its slot. The last three of WORK are unused."""


@dataclass(frozen=True, slots=True)
class Launch:
    """Rows [n, WORK] that are computed by programs of one kind."""

    tile: Tile
    work: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class WorkTable:
    """All arrays are int32.

    members [n, 2]: a query's row in the step, and the place of its partial result, -1 if it is the result. positions
    [M] of queries; slots [s]; merged [t, 3]: a query's row, its first place and the one past its last. There are
    `places` of partial results. `window` is 0 without one.
    """

    launches: tuple[Launch, ...]
    members: NDArray[np.int32]
    positions: NDArray[np.int32]
    slots: NDArray[np.int32]
    merged: NDArray[np.int32]
    places: int
    window: int


@dataclass(slots=True)
class _Stretches:
    """Tokens with keys begin .. end - 1, before they are cut; one entry of each list a stretch."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    begin: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    tile: list[int] = field(default_factory=list)
    head: list[bool] = field(default_factory=list)  # nothing comes before it for any of its tokens

    def add(self, rows: NDArray[np.int64], begin: int, end: int, place: int, tile: int, head: bool) -> None:
        self.rows.append(rows)
        self.begin.append(begin)
        self.end.append(end)
        self.place.append(place)
        self.tile.append(tile)
        self.head.append(head)


class Planner:
    """Makes work tables. `zero` is a slot that is never written: stretches are padded with it to whole tiles.

    Without `share` every span reads all that it sees for itself.
    """

    def __init__(self, shape: Shape, tiling: Tiling, zero: int, share: bool = True) -> None:
        self._shape = shape
        self._sharing = share
        self._tiling = tiling
        self._zero = zero
        self._keys = max(tile.keys for tile in tiling.tiles)

    def plan(self, spans: Sequence[Span], rows: int, window: int | None = None) -> WorkTable:
        """The table for spans of a step of `rows` rows; queries see the last `window` keys, their own included."""
        positions = np.full(rows, -1, np.int32)
        for span in spans:
            positions[span.first : span.first + span.count] = np.arange(span.start, span.start + span.count)
        firsts = [0 if window is None else max(0, span.start - window + 1) for span in spans]
        begins = np.zeros(len(spans), np.int64)
        slots: list[NDArray[np.int64]] = []
        found = _Stretches()
        filled = self._share(spans, firsts, begins, slots, found)
        for span, begin in zip(spans, begins.tolist()):
            filled = self._private(span, begin, window, slots, filled, found)
        packed = np.empty(filled, np.int32)
        if slots:
            np.concatenate(slots, out=packed, casting="same_kind")
        launches, members, merged, places = self._cut(found)
        return WorkTable(launches, members, positions, packed, merged, places, window or 0)

    def _share(
        self,
        spans: Sequence[Span],
        firsts: Sequence[int],
        begins: NDArray[np.int64],
        slots: list[NDArray[np.int64]],
        found: _Stretches,
    ) -> int:
        """Adds what spans read together; sets where each begins to read for itself. Gives the slots taken."""
        fold, filled = self._shape.fold, 0
        # Spans that fill tiles of their own gain nothing from being in one with others.
        small = [i for i, span in enumerate(spans) if span.count * fold < self._tiling.tiles[-1].rows]
        if len(small) < 2 or not self._sharing:
            return 0
        chosen = [spans[i] for i in small]
        counts = np.array([span.count for span in chosen])
        largest = len(self._tiling.tiles) - 1

        def worth(some: list[int], keys: int) -> bool:
            tokens = int(counts[some].sum())
            apart = int(np.ceil(counts[some] * fold / self._tiling.tiles[0].rows).sum())
            saved = (apart - -(-tokens * fold // self._tiling.tiles[largest].rows)) * keys * self._shape.key_bytes
            places = keys // self._tiling.chunk if self._tiling.chunk else 2
            return saved > 2 * places * tokens * fold * self._shape.part_bytes

        shared, own = shared_stretches(chosen, [firsts[i] for i in small], self._tiling.unit, worth)
        begins[small] = own
        for one in shared:
            rows = np.concatenate([np.arange(chosen[i].first, chosen[i].first + chosen[i].count) for i in one.spans])
            head = one.begin <= min(firsts[small[i]] for i in one.spans)
            slots.append(chosen[one.spans[0]].slots[one.begin : one.end])
            self._tiles(rows, one.begin, one.end, filled - one.begin, head, found)
            filled += one.end - one.begin
        return filled

    def _private(
        self,
        span: Span,
        begin: int,
        window: int | None,
        slots: list[NDArray[np.int64]],
        filled: int,
        found: _Stretches,
    ) -> int:
        fold, keys = self._shape.fold, self._keys
        tile = self._tiling.tile_for(span.count * fold)
        size = max(1, self._tiling.tiles[tile].rows // fold)
        lowest = None
        for at in range(0, span.count, size):
            start = span.start + at
            first = 0 if window is None else max(0, start - window + 1)
            low = max(begin, first // keys * keys)
            lowest = low if lowest is None else lowest
            count = min(size, span.count - at)
            rows = np.arange(span.first + at, span.first + at + count)
            found.add(rows, low, start + count, filled - lowest, tile, begin <= first)
        if lowest is None:
            return filled
        end = span.start + span.count
        slots.append(span.slots[lowest:end])
        padding = -(end - lowest) % keys
        slots.append(np.full(padding, self._zero, np.int64))
        return filled + end - lowest + padding

    def _tiles(self, rows: NDArray[np.int64], begin: int, end: int, place: int, head: bool, found: _Stretches) -> None:
        tile = self._tiling.tile_for(len(rows) * self._shape.fold)
        size = max(1, self._tiling.tiles[tile].rows // self._shape.fold)
        for at in range(0, len(rows), size):
            found.add(rows[at : at + size], begin, end, place, tile, head)

    def _cut(self, found: _Stretches) -> tuple[tuple[Launch, ...], NDArray[np.int32], NDArray[np.int32], int]:
        """Launches, members, what is to be merged, and the number of places."""
        shape, chunk = self._shape, self._tiling.chunk
        begin, end = np.array(found.begin, np.int64), np.array(found.end, np.int64)
        tile, head = np.array(found.tile, np.int64), np.array(found.head, bool)
        tokens = np.array([len(rows) for rows in found.rows], np.int64)
        price = 2 * tokens * shape.fold * shape.part_bytes / shape.key_bytes
        length = np.full(len(tokens), chunk, np.int64)
        for i in range(len(self._tiling.tiles)):
            mine = (tile == i) & head if chunk else tile == i
            length[mine] = best_length(begin[mine], end[mine], price[mine], shape.kv_heads, shape.processors, chunk)
        count = (end - 1) // length - begin // length + 1
        source = np.repeat(np.arange(len(count)), count)  # the stretch of each row
        number = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
        low = (begin // length)[source] + number
        row_begin = np.maximum(low * length[source], begin[source])
        row_end = np.minimum((low + 1) * length[source], end[source])
        order = np.argsort(row_begin - row_end, kind="stable")  # the longest first
        source, row_begin, row_end = source[order], row_begin[order], row_end[order]
        work = np.zeros((len(source), WORK), np.int32)
        work[:, MEMBERS] = tokens[source]
        work[:, FIRST] = np.cumsum(tokens[source]) - tokens[source]
        work[:, BEGIN], work[:, END] = row_begin, row_end
        work[:, PLACE] = np.array(found.place, np.int64)[source]
        launches = tuple(
            Launch(kind, work[tile[source] == i])
            for i, kind in enumerate(self._tiling.tiles)
            if (tile[source] == i).any()
        )
        queries = np.concatenate([found.rows[i] for i in source.tolist()]) if len(source) else np.zeros(0, np.int64)
        members, merged, places = _places(queries, np.repeat(row_begin, tokens[source]))
        return launches, members, merged, places


def _places(queries: NDArray[np.int64], begins: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Members, what is to be merged, and the number of places, for queries [n] with keys from begins [n] on.

    The places of a query lie side by side in the order of keys.
    """
    members = np.full((len(queries), 2), -1, np.int32)
    members[:, 0] = queries
    counts = np.bincount(queries)
    several = np.flatnonzero(counts[queries] > 1)
    order = several[np.lexsort((begins[several], queries[several]))]
    members[order, 1] = np.arange(len(order))
    merged = np.flatnonzero(counts > 1)
    ends = np.cumsum(counts[merged])
    return members, np.stack([merged, ends - counts[merged], ends], 1).astype(np.int32), len(order)
