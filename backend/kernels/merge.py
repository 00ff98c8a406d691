"""Partial results of attention become results: those of one query from its first keys to its last.

Sums that belong to one maximum are brought to the larger of two and added (Milakov and Gimelshein, arXiv 1805.02867);
in which order decides the bits, so it is always that of the keys.

Floor for n partial results of t queries with H heads: bytes n * H * (D + 2) * 4 read, t * H * D * e written for e
bytes a value; FLOPs 3 * n * H * D.
"""

import torch
import triton
from triton import language as tl


@triton.jit
def merge_parts(
    parts: tl.tensor,
    marks: tl.tensor,
    merged: tl.tensor,
    out: tl.tensor,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
) -> None:
    """One program for each row of merged [t, 3] int32 (query, first place, end of places) and each head.

    parts [places, HEADS, DIM] and marks [places, HEADS, 2] in float32, out [M, HEADS, DIM]. A row without places is
    there to fill a table up to a fixed number.
    """
    program = tl.program_id(0)
    head = program % HEADS
    row = merged + (program // HEADS) * 3
    query = tl.load(row).to(tl.int64)
    first = tl.load(row + 1)
    end = tl.load(row + 2)
    if first == end:
        return
    at = first.to(tl.int64) * HEADS + head
    d = tl.arange(0, BLOCK_D)
    top = tl.full([1], float("-inf"), tl.float32)
    mass = tl.zeros([1], tl.float32)
    total = tl.zeros([BLOCK_D], tl.float32)
    for _ in tl.range(first, end, num_stages=4):
        part = tl.load(parts + at * DIM + d, d < DIM, 0.0)
        part_top = tl.load(marks + at * 2)
        part_mass = tl.load(marks + at * 2 + 1)
        # To the letter what the attention kernel does at the end of a chunk: both must round alike.
        new_top = tl.maximum(top, part_top)
        finite = tl.where(new_top == float("-inf"), 0.0, new_top)
        decay = tl.exp2(top - finite)
        share = tl.exp2(part_top - finite)
        mass = mass * decay + part_mass * share
        total = total * decay + part * share
        top = new_top
        at += HEADS
    result = tl.div_rn(total, mass)
    tl.store(out + (query * HEADS + head) * DIM + d, result.to(out.dtype.element_ty), d < DIM)


def merge_parts_torch(parts: torch.Tensor, marks: torch.Tensor, merged: torch.Tensor, out: torch.Tensor) -> None:
    """The twin of `merge_parts`."""
    for query, first, end in merged.tolist():
        if first == end:
            continue
        top, mass = marks[first:end].unbind(-1)  # [n, HEADS]
        weights = torch.exp2(top - top.amax(0))
        sums = (weights.unsqueeze(-1) * parts[first:end]).sum(0)
        out[query] = (sums / (weights * mass).sum(0).unsqueeze(-1)).to(out.dtype)
