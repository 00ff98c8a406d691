"""Attention by the native kernel: a tile's queries against the chunks of their contexts, read where they are.

The torch twin is `lampc.backend.attention`; with both a row's bits depend on its query and its context alone.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.kv_cache import KVCache
from lampc.backend.native.attending import NativeAttend
from lampc.backend.native.shared_library import POINTER, SIZE, Library, address
from lampc.backend.reads import Read, joined, members_of
from lampc.backend.scores import Scores
from lampc.backend.spans import Span, Spans

_TILE_ROWS = 128  # query rows (tokens times heads per K/V head) of a tile, about
_PLAN_HEAD, _PLAN_QUERY = 5, 10  # numbers that a plan takes at most
_ORDER_HEAD = 2  # numbers before two for each span
_TILE, CHUNK = 6, 64  # numbers of a tile, keys per product: see `attention.h`
_STORE = 4 * 8  # bytes of a layer's four addresses


def supported(cache: KVCache) -> bool:
    """Whether the kernel computes over such a cache."""
    return cache.device.type == "cpu" and cache.dtype in (torch.float32, torch.bfloat16) and cache.head_dim % 2 == 0


class NativeAttention:
    """Plans and computes attention over one cache. Raises ValueError if it is not `supported`.

    `windows` has an entry per layer. At most `size` queries are computed side by side; no bit depends on it.
    """

    def __init__(
        self,
        library: Library,
        cache: KVCache,
        heads: int,
        windows: Sequence[int | None],
        size: int | None = None,
        scores: Scores | None = None,
    ) -> None:
        if not supported(cache):
            raise ValueError(
                f"K/V are {cache.dtype} on {cache.device} with head_dim {cache.head_dim}; the kernel takes float32 and "
                "bfloat16 on cpu with an even head_dim"
            )
        self._cache = cache
        self._heads = heads
        self._scores = scores or Scores(cache.head_dim)
        self._windows = windows
        self._size = size or max(1, _TILE_ROWS * cache.kv_heads // heads)
        self._sort = library.function("attention_order", POINTER, SIZE, POINTER)
        self._plan = library.function("attention_plan", POINTER, SIZE, POINTER, SIZE, POINTER, POINTER)
        self._run = library.function(
            *("attention_run", POINTER, POINTER, POINTER, POINTER, SIZE, POINTER, SIZE, POINTER, SIZE),
            *(POINTER, SIZE, POINTER, POINTER),
        )
        self._memory_size = library.function("attention_memory", POINTER, POINTER)
        self._stores = np.array([_addresses(cache, layer) for layer in range(cache.layers)], np.int64)
        self._stores_at = address(self._stores)
        self._room_for(64)
        self._out = torch.zeros(0, heads, cache.head_dim, dtype=cache.dtype)
        self._results = _Results(self._out, np.zeros(0, np.int64), 0)
        self._use_threads(torch.get_num_threads())

    def _use_threads(self, count: int) -> None:
        cache = self._cache
        half, int8 = cache.dtype is torch.bfloat16, cache.scales is not None
        shape = [self._heads, cache.kv_heads, cache.head_dim, cache.trash + 1, half, int8, self._size, count]
        size = np.zeros(1, np.int64)
        self._threads = count
        numbers = np.array([self._scores.divisor, self._scores.limit], np.float64)
        self._shape = np.concatenate([np.array(shape, np.int64), numbers.view(np.int64)])
        self._shape_at = address(self._shape)
        self._memory_size(self._shape_at, address(size))
        room = torch.empty(int(size[0]) * count + 64, dtype=torch.uint8)
        self._memory = room[-room.data_ptr() % 64 :]
        self._memory_at = self._memory.data_ptr()

    def step(self, spans: Sequence[Span], slots: NDArray[np.int64]) -> NativeAttend:
        """What the model calls once per layer; row i's K/V go to slots[i], those of slots below 0 nowhere."""
        rows = len(slots)
        if torch.get_num_threads() != self._threads:
            self._use_threads(torch.get_num_threads())
        if not isinstance(spans, Spans):
            spans = Spans.of(spans)
        if spans.queries > self._room:
            self._room_for(2 * spans.queries)
        count, table, order = len(spans), spans.table_at, self._order_at
        self._sort(table, count, order)
        for window, plan in self._plans_at.items():
            self._plan(table, count, order, window or 0, self._shape_at, plan)
        if self._results.slots is not slots or self._results.queries != spans.queries:
            if self._out.shape[0] < rows:
                self._out = torch.empty(rows, self._heads, self._cache.head_dim, dtype=self._cache.dtype)
            self._results = _Results(self._out[:rows], slots, spans.queries)
        out, to, result = self._results.rows, self._results.slots_at, self._results.rows_at
        by_layer, shape, stores, memory = self._by_layer, self._shape_at, self._stores_at, self._memory_at
        row_size, run = self._cache.head_dim, self._run

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
            q, k, v = (x if x.stride()[1:] == (row_size, 1) else x.contiguous() for x in (q, k, v))
            run(
                *(shape, by_layer[layer], stores + layer * _STORE),
                *(q.data_ptr(), q.stride(0), k.data_ptr(), k.stride(0), v.data_ptr(), v.stride(0)),
                *(to, rows, result, memory),
            )

        structure = [shape, self._by_layer_at, stores, to, rows, result, memory]
        return NativeAttend(attend, structure, out, result, (self, spans, slots))

    def reads(self, spans: Sequence[Span]) -> list[Read]:
        """See `lampc.backend.reads`: `sum_segment` of `attention.cpp`, chunk by chunk."""
        table = spans if isinstance(spans, Spans) else Spans.of(spans)
        count, queries = len(table), table.queries
        order = np.zeros(_ORDER_HEAD + 2 * max(queries, self._room), np.int64)
        if queries <= self._room:
            order[:] = self._order  # an order is kept for some steps
        self._sort(table.table_at, count, address(order))
        plan = np.zeros(_PLAN_HEAD + _PLAN_QUERY * queries, np.int64)
        found: list[Read] = []
        for window, layers in Counter(self._windows).items():
            key_bytes = self._cache.key_bytes(layers)
            self._plan(table.table_at, count, address(order), window or 0, self._shape_at, address(plan))
            tiles = plan[_PLAN_HEAD : _PLAN_HEAD + _TILE * plan[0]].reshape(-1, _TILE).tolist()
            at = _PLAN_HEAD + _TILE * len(tiles)
            known = plan[at : at + 4 * queries].reshape(-1, 4)
            for begin, size, first, end, _, _ in tiles:
                found += _met(known[begin : begin + size].tolist(), range(first, end), table, key_bytes)
        return found

    def _room_for(self, queries: int) -> None:
        """Memory for the order and the plans of so many."""
        self._room = queries
        self._order = np.zeros(_ORDER_HEAD + 2 * queries, np.int64)
        self._order_at = address(self._order)
        windows = dict.fromkeys(self._windows)
        self._plans = {window: np.zeros(_PLAN_HEAD + _PLAN_QUERY * queries, np.int64) for window in windows}
        self._plans_at = {window: address(plan) for window, plan in self._plans.items()}
        self._by_layer = [self._plans_at[window] for window in self._windows]
        self._plans_of_layers = np.array(self._by_layer, np.int64)
        self._by_layer_at = address(self._plans_of_layers)


def _met(queries: list[list[int]], chunks: range, spans: Spans, key_bytes: int) -> list[Read]:
    """What the queries of a tile read: row, position, first key and address of slots of each."""
    paths = {int(row[3]): slots for row, slots in zip(spans.table, spans.slots, strict=True)}
    families: dict[tuple[int, ...], list[Read]] = {}
    for chunk in chunks:
        base, last = chunk * CHUNK, chunk * CHUNK + CHUNK - 1
        groups: list[list[list[int]]] = []
        before: list[int] | None = None
        for query in queries:
            seen = query[2] <= last and base <= query[1]
            if seen and before is not None and _together(before, query, last, paths):
                groups[-1].append(query)
            elif seen:
                groups.append([query])
            before = query if seen else None
        for group in groups:
            rows = [query[0] for query in group]
            end = min(last, max(query[1] for query in group)) + 1
            read = Read("native", base, end, members_of(np.array(rows), spans), (end - base) * key_bytes)
            families.setdefault(tuple(rows), []).append(read)
    return joined(read for family in families.values() for read in family)


def _together(a: list[int], b: list[int], last: int, paths: dict[int, NDArray[np.int64]]) -> bool:
    """`together` of `attention.cpp`."""
    if a[3] == b[3]:
        return True
    return last <= a[1] and last <= b[1] and bool(paths[a[3]][last] == paths[b[3]][last])


class _Results:
    """Where a step's results go: the same place as long as steps are alike."""

    def __init__(self, rows: torch.Tensor, slots: NDArray[np.int64], queries: int) -> None:
        rows[queries:] = 0  # whatever else they hold might not be finite
        self.rows, self.rows_at = rows, rows.data_ptr()
        self.slots, self.slots_at = slots, address(slots)
        self.queries = queries


def _addresses(cache: KVCache, layer: int) -> list[int]:
    found = [part.data_ptr() for part in cache.data[layer]]
    return found + ([0, 0] if cache.scales is None else [part.data_ptr() for part in cache.scales[layer]])
