"""What the launches of a work table read, write and compute: the floor under their time, counted row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lampc.backend.kernels.shape import Shape, Tile
from lampc.backend.kernels.worktable import BEGIN, END, MEMBERS, PLACE, WorkTable
from lampc.backend.reads import Read, joined, members_of
from lampc.backend.spans import Span


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one launch, in bytes and floating point operations."""

    tile: Tile
    rows: int
    kv_read: int  # K, V, scales and slots, as programs ask for them
    kv_distinct: int  # the same, each key counted once however many rows read it: what memory has to give at least
    queries: int  # read
    results: int  # written, partial ones included
    flops: int  # of queries that count against all keys of their rows


def account(table: WorkTable, shape: Shape) -> list[Traffic]:
    """The launches of a table, in their order; `value_bytes` of the shape is taken for queries of coded K/V as 2."""
    size = 2 if shape.coded else shape.value_bytes
    row_bytes = shape.fold * shape.head_dim * size  # of one query token and K/V head
    found = []
    for launch in table.launches:
        work = launch.work.astype(np.int64)
        keys, tokens = work[:, END] - work[:, BEGIN], work[:, MEMBERS]
        distinct = np.zeros(len(table.slots), bool)
        for begin, end, place in np.unique(work[:, [BEGIN, END, PLACE]], axis=0).tolist():
            distinct[begin + place : end + place] = True
        whole = sum(int((table.members[a : a + n, 1] < 0).sum()) for a, n in work[:, :2].tolist())
        parts = int(tokens.sum()) - whole
        found.append(
            Traffic(
                tile=launch.tile,
                rows=len(work),
                kv_read=shape.kv_heads * int(keys.sum()) * shape.key_bytes,
                kv_distinct=shape.kv_heads * int(distinct.sum()) * shape.key_bytes,
                queries=shape.kv_heads * int(tokens.sum()) * row_bytes,
                results=shape.kv_heads * (whole * row_bytes + parts * shape.fold * shape.part_bytes),
                flops=4 * shape.kv_heads * shape.fold * shape.head_dim * int((keys * tokens).sum()),
            )
        )
    return found


def reads(table: WorkTable, spans: Sequence[Span], kernel: str, key_bytes: int) -> list[Read]:
    """What each stretch of keys is read for, as `lampc.backend.reads` tells it; pieces of one stretch are one.

    A key takes `key_bytes` in all heads and layers of the table.
    """
    stretches: dict[tuple[int, tuple[int, ...]], list[Read]] = {}
    for launch in table.launches:
        for first, count, begin, end, place in launch.work[:, :5].tolist():
            rows = np.sort(table.members[first : first + count, 0]).astype(np.int64)
            read = Read(kernel, begin, end, members_of(rows, spans), (end - begin) * key_bytes)
            stretches.setdefault((place, tuple(rows.tolist())), []).append(read)
    return joined(one for some in stretches.values() for one in sorted(some, key=lambda read: read.begin))


def merge_bytes(table: WorkTable, shape: Shape) -> int:
    """What merging reads and writes."""
    heads = shape.kv_heads * shape.fold
    size = 2 if shape.coded else shape.value_bytes
    return heads * (table.places * shape.part_bytes + len(table.merged) * shape.head_dim * size)
