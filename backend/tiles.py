"""Which queries meet which chunks of keys, and what is computed together.

Queries of a step are cut into tiles. Single queries (decoding) whose contexts begin alike read their common
chunks together: a slot belongs to one place of the prefix tree, so two contexts agree up to a chunk's end
exactly if they have the same slot there. What is left of each context is read by each tile for itself.

With a sliding window a query sees the keys in (position - window, position]; chunks before it are not read, and
the ends of chunks stay where they are without one. K/V outside the window stays allocated as long as its request.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.reads import Read, members_of
from lampc.backend.spans import Span

CHUNK = 64
"""Keys per product."""
_LEAST_ROWS = 8  # fewer query rows take other kernels in common GEMM libraries
_LEAST_SHARERS = 4  # fewer queries gain nothing from reading a chunk together
_GROUP_VALUES = 1 << 20  # K elements gathered at once


@dataclass(frozen=True, slots=True)
class Group:
    """Tiles computed together: T tiles of Q query tokens, M >= Q * fold query rows, N chunks of keys."""

    tiles: int
    tokens: int
    padded: int  # M
    chunks: int
    shared: bool  # one set of keys for all tiles
    rows: torch.Tensor  # [T * Q] row of each query token, 0 for padding
    keys: torch.Tensor  # [T * kv_heads * N * CHUNK] rows of the cache: slot + head * stride; T = 1 if shared
    mask: torch.Tensor | None  # [T, 1, N, Q * fold, CHUNK] True where a key must not be seen; None: all are
    take: torch.Tensor  # [n] which of the T * Q results count
    put: torch.Tensor  # [n] and the rows they belong to


@dataclass(frozen=True, slots=True)
class _Tile:
    row: int
    start: int  # position of the first query
    count: int
    base: int  # first chunk that is not read elsewhere
    slots: NDArray[np.int64]


def padded_rows(tokens: int, fold: int) -> int:
    """Query rows that a tile of `tokens` tokens is computed with."""
    return max(_LEAST_ROWS, tokens * fold)


def value_width(head_dim: int) -> int:
    """Columns that values are multiplied with: where they fill no vector, libraries may take other code for other rows
    of a tile, and which heads stand there depends on the number of ranks."""
    return -(-head_dim // 8) * 8


class Tiler:
    """Makes groups. `heads` are the cache rows at which K/V heads begin; `tokens` is the size of large tiles, 1 if
    large and small ones differ in their bits."""

    def __init__(self, heads: Sequence[int], fold: int, head_dim: int, tokens: int, device: torch.device) -> None:
        self._heads = np.array(heads, np.int64)
        self._fold = fold
        self._tokens = tokens
        self._device = device
        self._per_chunk = CHUNK * len(heads) * head_dim

    def plan(self, spans: Iterable[Span], pad_slot: int, window: int | None = None) -> list[Group]:
        """Groups in an order that takes each row's chunks from the first it sees to the last."""
        tiles: list[_Tile] = []
        single: list[_Tile] = []
        for span in spans:
            size = 1 if span.count <= 2 else self._tokens
            for at in range(0, span.count, size):
                count = min(size, span.count - at)
                base = _first_seen(span.start + at, window) // CHUNK
                tile = _Tile(span.first + at, span.start + at, count, base, span.slots)
                (single if count == 1 else tiles).append(tile)
        groups: list[Group] = []
        for base in sorted({tile.base for tile in single}):
            self._share([tile for tile in single if tile.base == base], base, window, groups, tiles)
        buckets: dict[tuple[int, int], list[_Tile]] = {}
        for tile in tiles:
            chunks = _round_up(-(-(tile.start + tile.count) // CHUNK) - tile.base)
            buckets.setdefault((1 if tile.count == 1 else self._tokens, chunks), []).append(tile)
        for (size, chunks), found in sorted(buckets.items(), key=lambda item: item[0]):
            most = max(1, _GROUP_VALUES // (chunks * self._per_chunk))
            groups += [
                self._private(found[at : at + most], size, chunks, pad_slot, window)
                for at in range(0, len(found), most)
            ]
        return groups

    def _share(self, tiles: list[_Tile], base: int, window: int | None, groups: list[Group], rest: list[_Tile]) -> None:
        """Groups for the chunks from `base` on that many of these tiles share; tiles go to `rest` in the end."""
        families: dict[int, list[_Tile]] = {}
        for tile in tiles:
            end = (base + 1) * CHUNK - 1
            # The last chunk stays private: it holds the query's own key, so there is one to add last.
            if self._tokens > 1 and end < tile.start:
                families.setdefault(int(tile.slots[end]), []).append(tile)
            else:
                rest.append(_rebase(tile, base))
        for family in families.values():
            if len(family) < _LEAST_SHARERS:
                rest += [_rebase(tile, base) for tile in family]
                continue
            ends = np.array([min(tile.start // CHUNK, base + 16) for tile in family])
            last = base + 1
            while last < ends.min() and len({int(t.slots[(last + 1) * CHUNK - 1]) for t in family}) == 1:
                last += 1
            groups.append(self._shared(family, base, last, window))
            self._share(family, last, window, groups, rest)

    def _shared(self, tiles: list[_Tile], base: int, last: int, window: int | None) -> Group:
        size = self._tokens
        count = -(-len(tiles) // size)
        rows = np.zeros(count * size, np.int64)
        rows[: len(tiles)] = [tile.row for tile in tiles]
        slots = tiles[0].slots[base * CHUNK : last * CHUNK]
        keys = slots[None, :] + self._heads[:, None]
        first = np.zeros(count * size, np.int64)  # first key that each query sees, counted from the base
        first[: len(tiles)] = [_first_seen(tile.start, window) - base * CHUNK for tile in tiles]
        mask = None
        if first.max() > 0:
            seen = np.repeat(first.reshape(count, size), self._fold, axis=1)
            mask = np.arange(len(slots)).reshape(1, last - base, 1, CHUNK) < seen[:, None, :, None]
        return Group(
            tiles=count,
            tokens=size,
            padded=padded_rows(size, self._fold),
            chunks=last - base,
            shared=True,
            rows=self._tensor(rows),
            keys=self._tensor(keys.ravel()),
            mask=None if mask is None else self._tensor(mask[:, None]),
            take=self._tensor(np.arange(len(tiles))),
            put=self._tensor(rows[: len(tiles)]),
        )

    def _private(self, tiles: list[_Tile], size: int, chunks: int, pad_slot: int, window: int | None) -> Group:
        count, length, fold = len(tiles), chunks * CHUNK, self._fold
        rows = np.zeros((count, size), np.int64)
        valid = np.zeros((count, size), bool)
        seen = np.zeros((count, size * fold), np.int64)  # position of each query, counted from the base
        slots = np.full((count, length), pad_slot, np.int64)
        for i, tile in enumerate(tiles):
            n, end, base = tile.count, tile.start + tile.count, tile.base * CHUNK
            rows[i, :n] = np.arange(tile.row, tile.row + n)
            valid[i, :n] = True
            seen[i, : n * fold] = np.repeat(np.arange(tile.start - base, end - base), fold)
            slots[i, : end - base] = tile.slots[base:end]
        keys = slots[:, None, :] + self._heads[None, :, None]
        places, last_seen = np.arange(length).reshape(1, chunks, 1, CHUNK), seen[:, None, :, None]
        hidden = places > last_seen
        if window is not None:
            hidden |= places <= last_seen - window
        flat = valid.ravel()
        return Group(
            tiles=count,
            tokens=size,
            padded=padded_rows(size, fold),
            chunks=chunks,
            shared=False,
            rows=self._tensor(rows.ravel()),
            keys=self._tensor(keys.ravel()),
            mask=self._tensor(hidden[:, None]),
            take=self._tensor(np.flatnonzero(flat)),
            put=self._tensor(rows.ravel()[flat]),
        )

    def _tensor(self, array: NDArray[np.int64] | NDArray[np.bool_] | NDArray[np.intp]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def reads_of(group: Group, spans: Sequence[Span], heads: int, key_bytes: int) -> list[Read]:
    """What a group reads, as `lampc.backend.reads` tells it; a key takes `key_bytes` in all of the heads."""
    rows = np.full(group.tiles * group.tokens, -1, np.int64)
    rows[group.take.cpu().numpy()] = group.put.cpu().numpy()
    keys = group.keys.cpu().numpy().reshape(-1, heads, group.chunks * CHUNK)
    found = []
    for tile, slot in zip(rows.reshape(len(keys), -1), keys[:, 0, 0], strict=True):
        members = members_of(tile[tile >= 0], spans)
        begin = int(np.flatnonzero(spans[members[0][0]].slots == slot)[0])
        end = begin + group.chunks * CHUNK if group.shared else max(start + count for _, start, count in members)
        found.append(Read("torch", begin, end, members, (end - begin) * key_bytes))
    return found


def _first_seen(position: int, window: int | None) -> int:
    """Position of the first key that the query at `position` sees."""
    return 0 if window is None else max(0, position - window + 1)


def _rebase(tile: _Tile, base: int) -> _Tile:
    return _Tile(tile.row, tile.start, tile.count, base, tile.slots)


def _round_up(chunks: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, 16, ...: few sizes, little padding."""
    size = 1
    while size < chunks:
        size *= 2
    return size * 3 // 4 if size >= 4 and chunks <= size * 3 // 4 else size
