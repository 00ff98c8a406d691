"""The work table of a step: which queries meet which keys in one program, and where partial results go.

A row holds query tokens and a stretch of keys that they look at: a node of the prefix tree with the tokens of all
spans under it, or a part of a span with what it reads for itself. Rows are cut so that all processors have work, the
longest come first, and all rows of one tile size are one launch. What several rows find for a token is added up from
the first key to the last by `lampc.backend.kernels.merge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lampc.backend.kernels.shape import Shape, Tile, Tiling
from lampc.backend.kernels.sharing import Shared, shared_stretches
from lampc.backend.kernels.splits import best_length, pieces
from lampc.backend.spans import Span

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


@dataclass(frozen=True, slots=True)
class _Stretches:
    """Tokens with keys begin .. end - 1, before they are cut; all arrays int64, one entry each but `queries`.

    The tokens of one stretch after the other are `queries`, rows of the step.
    """

    queries: NDArray[np.int64]
    tokens: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    place: NDArray[np.int64]
    tile: NDArray[np.int64]
    head: NDArray[np.bool_]  # nothing comes before it for any of its tokens


class Planner:
    """Makes work tables. `zero` is a slot that is never written: stretches are padded with it to whole tiles.

    Without `share` every span reads all that it sees for itself.
    """

    def __init__(self, shape: Shape, tiling: Tiling, zero: int, share: bool = True) -> None:
        self._shape = shape
        self._tiling = tiling
        self._zero = zero
        self._sharing = share
        self._keys = max(tile.keys for tile in tiling.tiles)
        self._sizes = np.array([tile.rows // shape.fold for tile in tiling.tiles], np.int64)  # tokens of a tile

    def plan(self, spans: Sequence[Span], rows: int, window: int | None = None) -> WorkTable:
        """The table for spans of a step of `rows` rows; queries see the last `window` keys, their own included."""
        spans = list(spans)
        first, start, count = np.array([(s.first, s.start, s.count) for s in spans], np.int64).reshape(-1, 3).T
        shared, begins = self._share(spans, start, count, window)
        together, filled = self._together(spans, shared, start, window)
        apart, low, offsets, filled = self._apart(first, start, count, begins, filled, window)
        slots = np.full(filled, self._zero, np.int32)
        for one, place in zip(shared, together.place[: len(shared)].tolist()):
            slots[place + one.begin : place + one.end] = spans[one.spans[0]].slots[one.begin : one.end]
        for span, at, begin, end in zip(spans, offsets.tolist(), low.tolist(), (start + count).tolist()):
            slots[at : at + end - begin] = span.slots[begin:end]
        positions = np.full(rows, -1, np.int32)
        positions[_ranges(first, count)] = _ranges(start, count)
        launches, members, merged, places = self._cut(together, apart)
        return WorkTable(launches, members, positions, slots, merged, places, window or 0)

    def _share(
        self, spans: Sequence[Span], start: NDArray[np.int64], count: NDArray[np.int64], window: int | None
    ) -> tuple[list[Shared], NDArray[np.int64]]:
        """What spans read together, and where each begins to read for itself."""
        fold, tiles = self._shape.fold, self._tiling.tiles
        begins = np.zeros(len(spans), np.int64)
        # Spans that fill tiles of their own gain nothing from being in one with others.
        small = np.flatnonzero(count * fold < tiles[-1].rows)
        if len(small) < 2 or not self._sharing:
            return [], begins
        counts = count[small]

        def worth(some: list[int], keys: int) -> bool:
            tokens = int(counts[some].sum())
            alone = int((-(-counts[some] // self._sizes[0])).sum())
            saved = (alone - -(-tokens // int(self._sizes[-1]))) * keys * self._shape.key_bytes
            places = keys // self._tiling.chunk if self._tiling.chunk else 2
            return saved > 2 * places * tokens * fold * self._shape.part_bytes

        indices = small.tolist()
        firsts = _first_seen(start[small], window).tolist()
        found, own = shared_stretches([spans[i] for i in indices], firsts, self._tiling.unit, worth)
        begins[small] = own
        return [Shared([indices[i] for i in one.spans], one.begin, one.end) for one in found], begins

    def _together(
        self, spans: Sequence[Span], shared: Sequence[Shared], start: NDArray[np.int64], window: int | None
    ) -> tuple[_Stretches, int]:
        """Stretches of what is shared, the first tiles of all before any second, and the slots taken."""
        entries: list[tuple[int, int, int, int, int, bool]] = []
        queries: list[NDArray[np.int64]] = []
        more = []
        filled = 0
        for one in shared:
            rows = np.concatenate([np.arange(spans[i].first, spans[i].first + spans[i].count) for i in one.spans])
            tile = self._tiling.tile_for(len(rows) * self._shape.fold)
            head = one.begin <= int(_first_seen(start[one.spans], window).min())
            size = int(self._sizes[tile])
            for at in range(0, len(rows), size):
                part = rows[at : at + size]
                entry = (len(part), one.begin, one.end, filled - one.begin, tile, head)
                if at:
                    more.append((entry, part))
                else:
                    entries.append(entry)
                    queries.append(part)
            filled += one.end - one.begin
        entries += [entry for entry, _ in more]
        queries += [part for _, part in more]
        tokens, begin, end, place, kind, heads = np.array(entries, np.int64).reshape(-1, 6).T
        every = np.concatenate(queries) if queries else np.zeros(0, np.int64)
        return _Stretches(every, tokens, begin, end, place, kind, heads > 0), filled

    def _apart(
        self,
        first: NDArray[np.int64],
        start: NDArray[np.int64],
        count: NDArray[np.int64],
        begins: NDArray[np.int64],
        filled: int,
        window: int | None,
    ) -> tuple[_Stretches, NDArray[np.int64], NDArray[np.int64], int]:
        """Stretches of what spans read for themselves; for each span its first key and the place of its slot; the
        slots taken."""
        rows = np.array([tile.rows for tile in self._tiling.tiles])
        kind = np.minimum(np.searchsorted(rows, count * self._shape.fold), len(rows) - 1)
        size = self._sizes[kind]
        tiles = -(-count // size)
        span = np.repeat(np.arange(len(count)), tiles)
        at = _ranges(np.zeros_like(tiles), tiles) * size[span]
        tokens = np.minimum(size[span], count[span] - at)
        seen = _first_seen(start[span] + at, window)
        begin = np.maximum(begins[span], seen // self._keys * self._keys)
        end = start[span] + at + tokens
        low = begin[np.cumsum(tiles) - tiles]
        taken = -(-(start + count - low) // self._keys) * self._keys
        offsets = filled + np.cumsum(taken) - taken
        queries = _ranges(first[span] + at, tokens)
        found = _Stretches(queries, tokens, begin, end, (offsets - low)[span], kind[span], begins[span] <= seen)
        return found, low, offsets, filled + int(taken.sum())

    def _cut(self, *found: _Stretches) -> tuple[tuple[Launch, ...], NDArray[np.int32], NDArray[np.int32], int]:
        """Launches, members, what is to be merged, and the number of places."""
        shape, chunk = self._shape, self._tiling.chunk
        queries, tokens, begin, end, place, tile, head = (
            np.concatenate([getattr(one, name) for one in found]) for name in _Stretches.__slots__
        )
        price = 2 * tokens * shape.fold * shape.part_bytes / shape.key_bytes
        length = np.full(len(tokens), chunk, np.int64)
        for i in range(len(self._tiling.tiles)):
            mine = (tile == i) & head if chunk else tile == i
            length[mine] = best_length(begin[mine], end[mine], price[mine], shape.kv_heads, shape.processors, chunk)
        count = pieces(begin, end, length)
        source = np.repeat(np.arange(len(count)), count)  # the stretch of each row
        number = _ranges(begin // length, count)
        row_begin = np.maximum(number * length[source], begin[source])
        row_end = np.minimum((number + 1) * length[source], end[source])
        order = np.argsort(row_begin - row_end, kind="stable")  # the longest first
        source, row_begin, row_end = source[order], row_begin[order], row_end[order]
        size = tokens[source]
        work = np.zeros((len(source), WORK), np.int32)
        work[:, FIRST] = np.cumsum(size) - size
        work[:, MEMBERS], work[:, BEGIN], work[:, END], work[:, PLACE] = size, row_begin, row_end, place[source]
        kinds = tile[source]
        launches = tuple(
            Launch(kind, work[kinds == i]) for i, kind in enumerate(self._tiling.tiles) if (kinds == i).any()
        )
        members, merged, places = _places(
            queries[_ranges((np.cumsum(tokens) - tokens)[source], size)], np.repeat(row_begin, size)
        )
        return launches, members, merged, places


def _ranges(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """start[0], start[0] + 1, ... count[0] numbers, then those of the next."""
    within: NDArray[np.int64] = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return within + np.repeat(start, count)


def _first_seen(positions: NDArray[np.int64], window: int | None) -> NDArray[np.int64]:
    """The first keys that queries at these positions see."""
    return np.zeros_like(positions) if window is None else np.maximum(0, positions - window + 1)


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
