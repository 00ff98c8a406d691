"""Work tables: every query meets every key that it sees once, in order; a shared prefix is read once for its group."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.kernels.accounting import account, merge_bytes
from lampc.backend.kernels.shape import Shape, Tile, Tiling, tiling
from lampc.backend.kernels.splits import best_length
from lampc.backend.kernels.worktable import BEGIN, END, FIRST, MEMBERS, PLACE, Planner, WorkTable
from lampc.backend.spans import Span
from tests.backend.kernels.steps import EXACT, FAST, SLOTS, spans_of
from tests.backend.test_tiles import contexts

SHAPE = Shape(kv_heads=2, fold=4, head_dim=64, value_bytes=2, coded=False, processors=132)
KV = SHAPE.kv_heads * SHAPE.key_bytes
"""Bytes of one key in all K/V heads."""


def met(table: WorkTable) -> dict[int, list[tuple[int, int, int]]]:
    """For each query its (place, first key, end) in the order of keys; checks that members are where rows say."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for launch in table.launches:
        for row in launch.work.tolist():
            assert row[END] > row[BEGIN]
            assert row[BEGIN] % launch.tile.keys == 0
            assert row[MEMBERS] * SHAPE.fold <= launch.tile.rows
            for query, place in table.members[row[FIRST] : row[FIRST] + row[MEMBERS]].tolist():
                found.setdefault(query, []).append((place, row[BEGIN], row[END]))
    return {query: sorted(rows, key=lambda row: row[1]) for query, rows in found.items()}


@settings(max_examples=100)
@given(
    found=contexts(),
    tiles=st.sampled_from([EXACT, FAST, tiling(SHAPE, exact=False)]),
    processors=st.sampled_from([1, 8, 132]),
    window=st.sampled_from([None, None, 1, 40, 64, 65, 100, 1000]),
    share=st.booleans(),
)
def test_each_query_meets_the_keys_it_sees_once_and_in_order(
    found: list[tuple[list[int], int]], tiles: Tiling, processors: int, window: int | None, share: bool
) -> None:
    spans = spans_of(found)
    rows = sum(span.count for span in spans)
    shape = Shape(2, 4, 64, 2, coded=False, processors=processors)
    table = Planner(shape, tiles, SLOTS, share).plan(spans, rows + 3, window)
    seen = met(table)
    merged = {query: (first, end) for query, first, end in table.merged.tolist()}
    assert sorted(seen) == list(range(rows))
    assert table.positions[rows:].tolist() == [-1] * 3
    used = []
    for span in spans:
        for i in range(span.count):
            query, position = span.first + i, span.start + i
            stretches = seen[query]
            assert table.positions[query] == position
            assert stretches[0][1] <= max(0, position + 1 - (window or position + 1))
            assert stretches[-1][2] > position
            assert all(a[2] == b[1] for a, b in pairwise(stretches))
            places = [place for place, _, _ in stretches]
            if len(places) == 1:
                assert places == [-1]
                assert query not in merged
            else:
                assert places == list(range(*merged[query]))
                used += places
            if tiles.chunk:  # all but the first stretch are one chunk
                assert all(b // tiles.chunk == (e - 1) // tiles.chunk for _, b, e in stretches[1:])
                assert all(e % tiles.chunk == 0 for _, _, e in stretches[:-1])
    assert sorted(used) == list(range(table.places))
    by_row = {span.first + i: span for span in spans for i in range(span.count)}
    for launch in table.launches:
        assert (np.diff(launch.work[:, END] - launch.work[:, BEGIN]) <= 0).all()  # the longest first
        for row in launch.work.tolist():
            kept = table.slots[row[PLACE] + row[BEGIN] : row[PLACE] + row[END]].tolist()
            for query in table.members[row[FIRST] : row[FIRST] + row[MEMBERS], 0].tolist():
                assert by_row[query].slots[row[BEGIN] : row[END]].tolist()[: len(kept)] == kept
            beyond = -row[END] % launch.tile.keys
            padding = table.slots[row[PLACE] + row[END] : row[PLACE] + row[END] + beyond]
            assert len(padding) == beyond


def under_one_prefix(count: int, prefix: int, own: int = 5) -> list[Span]:
    return spans_of([([0] * prefix + [i] * own, 1) for i in range(1, count + 1)])


@pytest.mark.parametrize("tiles", [EXACT, FAST, tiling(SHAPE, True), tiling(SHAPE, False)], ids=str)
@pytest.mark.parametrize("count", range(2, 13))
def test_a_prefix_is_read_once_for_all_its_requests(count: int, tiles: Tiling) -> None:
    spans = under_one_prefix(count, 512)
    table = Planner(SHAPE, tiles, SLOTS).plan(spans, count)
    launches = account(table, SHAPE)
    # Where a group fills several tiles, once for each; it is asked of memory once.
    tiles_of_group = -(-count * SHAPE.fold // tiles.tiles[-1].rows)
    assert sum(one.kv_read for one in launches) == KV * (512 * tiles_of_group + 5 * count)
    assert sum(one.kv_distinct for one in launches) == KV * (512 + 5 * count)
    apart = account(Planner(SHAPE, tiles, SLOTS, share=False).plan(spans, count), SHAPE)
    assert sum(one.kv_read for one in apart) == KV * (512 + 5) * count


def test_each_level_of_a_tree_is_read_once() -> None:
    spans = spans_of([([0] * 512 + [1 + i // 4] * 256 + [9 + i] * 3, 1) for i in range(8)])
    for exact in (True, False):
        table = Planner(SHAPE, tiling(SHAPE, exact), SLOTS).plan(spans, 8)
        assert sum(one.kv_read for one in account(table, SHAPE)) == KV * (512 + 2 * 256 + 8 * 3)


def test_64_requests_under_4096_tokens_read_far_less() -> None:
    stem = np.arange(4096)
    spans = [Span(i, 4096, 1, np.append(stem, 5000 + i)) for i in range(64)]
    shape = Shape(8, 4, 128, 2, coded=False, processors=132)

    def bytes_moved(share: bool) -> tuple[int, int]:
        table = Planner(shape, tiling(shape, exact=False), 9000, share).plan(spans, 64)
        launches = account(table, shape)
        results = sum(one.queries + 2 * one.results for one in launches)
        return sum(one.kv_read for one in launches), results + merge_bytes(table, shape)

    (shared, more), (apart, _) = bytes_moved(True), bytes_moved(False)
    assert shared == 8 * shape.key_bytes * (2 * 4096 + 64)  # two tiles of 128 rows
    assert shared + more < apart / 5


def test_prefixes_too_short_to_gain_are_read_by_each() -> None:
    spans = under_one_prefix(2, 64)
    wide = Shape(2, 16, 64, 2, coded=False, processors=132)  # partial results cost more than they save
    table = Planner(wide, FAST, SLOTS).plan(spans, 2)
    assert all(row[MEMBERS] == 1 for launch in table.launches for row in launch.work)
    assert any(row[MEMBERS] == 2 for one in Planner(SHAPE, FAST, SLOTS).plan(spans, 2).launches for row in one.work)


def test_keys_before_a_window_are_not_read() -> None:
    spans = [Span(0, 999, 1, np.arange(1000)), Span(1, 959, 40, np.arange(2000, 3000))]
    table = Planner(SHAPE, FAST, SLOTS).plan(spans, 41, 100)
    assert min(row[BEGIN] for launch in table.launches for row in launch.work.tolist()) == 832
    assert len(table.slots) <= 128 + 192


def test_prompts_write_no_partial_results_where_there_is_work_enough() -> None:
    spans = [Span(0, 0, 4096, np.arange(4096))]
    for exact in (True, False):
        shape = Shape(8, 4, 128, 2, coded=False, processors=132)
        table = Planner(shape, tiling(shape, exact), 5000).plan(spans, 4096)
        assert table.places == 0


def test_flops_are_of_queries_that_count() -> None:
    spans = under_one_prefix(3, 128, 1)
    found = account(Planner(SHAPE, FAST, SLOTS).plan(spans, 3), SHAPE)
    assert sum(one.flops for one in found) == 4 * 8 * 64 * 3 * 129


@pytest.mark.parametrize(
    ("batch", "context", "heads", "low", "high"),
    [
        (1, 8192, 8, 128, 256),  # eight programs are far too few
        (1, 8192, 2, 128, 128),
        (32, 8192, 8, 256, 2048),
        (256, 8192, 8, 1024, 16384),  # enough without cutting much
        (256, 256, 8, 256, 512),
        (1, 40, 8, 128, 128),
    ],
)
def test_few_long_contexts_are_cut_and_many_are_not(batch: int, context: int, heads: int, low: int, high: int) -> None:
    begin, end = np.zeros(batch, np.int64), np.full(batch, context, np.int64)
    assert low <= best_length(begin, end, np.full(batch, 8.0), heads, 132) <= high


def test_larger_machines_cut_shorter() -> None:
    begin, end, price = np.zeros(16, np.int64), np.full(16, 16384, np.int64), np.full(16, 8.0)
    lengths = [best_length(begin, end, price, 8, processors) for processors in (1, 16, 132, 1000)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1]


def test_tiles_of_all_shapes_hold_a_whole_fold() -> None:
    for fold in (1, 3, 8, 16, 71):
        for dim in (8, 64, 80, 128, 256):
            for coded in (True, False):
                shape = Shape(1, fold, dim, 1 if coded else 2, coded, 132)
                fast, exact = tiling(shape, False), tiling(shape, True)
                assert min(tile.rows for tile in fast.tiles + exact.tiles) >= max(16, fold)
                assert len(exact.tiles) == 1
                assert exact.chunk % exact.tiles[0].keys == 0
                assert fast.unit % fast.tiles[0].keys == 0


def test_a_table_is_packed_for_the_tiles_it_is_given() -> None:
    tiles = Tiling((Tile(16, 16, 4, 2), Tile(64, 64, 4, 2)), 0)
    table = Planner(SHAPE, tiles, 77).plan([Span(0, 9, 1, np.arange(10))], 1)
    assert table.slots.tolist() == [*range(10), *[77] * 54]


def test_neither_the_engine_nor_tables_import_triton() -> None:
    code = (
        "import sys, lampc.backend, lampc.backend.engine, lampc.backend.load, lampc.backend.kernels.accounting\n"
        "assert 'triton' not in sys.modules"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
