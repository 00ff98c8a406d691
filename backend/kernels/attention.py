"""Attention over a work table: one kernel for decoding, prefill and what is between, shared prefixes included.

A program takes one row of the table (`lampc.backend.kernels.worktable`) and one K/V head: some query tokens, with all
their heads of that K/V head packed into the rows of a tile, against a stretch of keys that all of them look at. K/V
are found by slots, softmax is kept up as keys go by (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2307.08691).
Whether the queries belong to one request or to many under one prefix makes no difference, so a prefix is a row like
any other and is read once for all of them (Juravsky et al., arXiv 2402.05099).

Floor of a launch, for each row and K/V head, with C tokens of F heads and N keys: bytes N * (2 * D * e + 4) + 2 * C * F
* D * e for e bytes a value (the 4 is the slot, int8 adds 8 for two scales; a partial result writes C * F * (D + 2) * 4
instead of its half of the second term); FLOPs 4 * C * F * N * D. `lampc.backend.kernels.accounting` adds them up.
"""

import torch
import triton
from triton import language as tl


@triton.jit
def attend_rows(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    k_scales: tl.tensor,
    v_scales: tl.tensor,
    out: tl.tensor,
    parts: tl.tensor,
    marks: tl.tensor,
    work: tl.tensor,
    members: tl.tensor,
    positions: tl.tensor,
    table: tl.tensor,
    q_stride: tl.tensor,
    head_stride: tl.tensor,
    scale: tl.tensor,
    window: tl.tensor,
    limit: tl.tensor,
    KV_HEADS: tl.constexpr,
    FOLD: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CHUNK: tl.constexpr,
    CODED: tl.constexpr,
    WINDOW: tl.constexpr,
    LIMIT: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    """One program for each row and K/V head, the heads of a row side by side.

    q [M, heads, DIM], `q_stride` values from token to token; k, v [KV_HEADS, head_stride, DIM] with scales [KV_HEADS,
    head_stride] if CODED; out [M, heads, DIM]; parts [places, heads, DIM] and marks [places, heads, 2] in float32:
    sums, and the maximum and mass they belong to. work [rows, WORK], members [n, 2] (row of q, place of its partial
    result or -1 if it is the result), positions [M], table: slots; int32. `scale` makes weights powers of two. With
    LIMIT scores bend to limit * tanh(score / limit).

    With CHUNK, keys are taken in chunks of so many, counted from position 0, and each chunk's sums are added to what
    is there by the rule by which partial results are merged: where a row of the table ends is then all the same.
    WIDE: products of float32 values, for an interpreter that has no others.
    """
    program = tl.program_id(0)
    head = program % KV_HEADS
    row = work + (program // KV_HEADS) * 8
    first = tl.load(row)
    count = tl.load(row + 1)
    begin = tl.load(row + 2)
    end = tl.load(row + 3)
    slots = table + tl.load(row + 4)
    if count == 0:
        return  # rows that fill a table up to a fixed number
    m = tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    live = m // FOLD < count
    member = members + (first + m // FOLD) * 2
    token = tl.load(member, live, 0)
    place = tl.load(member + 1, live, -1)
    position = tl.load(positions + token, live, -1)
    lowest = tl.min(tl.where(live, position, 2147483647), 0)
    highest = tl.max(position, 0)
    lane = head * FOLD + m % FOLD
    inside = live[:, None]
    if BLOCK_D != DIM:
        inside = inside & (d < DIM)[None, :]
    queries = tl.load(q + token.to(tl.int64)[:, None] * q_stride + lane[:, None] * DIM + d[None, :], inside, 0.0)
    if WIDE:
        queries = queries.to(tl.float32)
    base = head.to(tl.int64) * head_stride
    keys = k + base * DIM
    values = v + base * DIM
    key_scales = k_scales + base
    value_scales = v_scales + base

    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    mass = tl.zeros([BLOCK_M], tl.float32)
    total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    # With CHUNK, the three above are of the chunk, and these of all chunks before it.
    all_top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    all_mass = tl.zeros([BLOCK_M], tl.float32)
    all_total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)

    for at in range(begin, end, BLOCK_N):
        slot = tl.load(slots + at + n)
        cells = slot[:, None] * DIM + d[None, :]
        if BLOCK_D != DIM:
            key = tl.load(keys + cells, (d < DIM)[None, :], 0)
            value = tl.load(values + cells, (d < DIM)[None, :], 0)
        else:
            key = tl.load(keys + cells)
            value = tl.load(values + cells)
        scores = tl.dot(queries, tl.trans(key.to(queries.dtype)), input_precision="ieee")
        if CODED:
            scores = scores * tl.load(key_scales + slot)[None, :]
        scores = scores * scale
        if LIMIT:
            small = tl.exp(tl.abs(scores) * (-2.0 / limit))
            bent = (1.0 - small) / (1.0 + small) * limit
            scores = tl.where(scores < 0.0, -bent, bent)
        crosses = at + BLOCK_N > lowest + 1
        if WINDOW:
            crosses = crosses | (at <= highest - window)
        if crosses:
            hidden = (at + n)[None, :] > position[:, None]
            if WINDOW:
                hidden = hidden | ((at + n)[None, :] <= position[:, None] - window)
            scores = tl.where(hidden, float("-inf"), scores)
        new_top = tl.maximum(top, tl.max(scores, 1))
        finite = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp2(scores - finite[:, None])
        decay = tl.exp2(top - finite)
        mass = mass * decay + tl.sum(weights, 1)
        top = new_top
        if CODED:
            weights = weights * tl.load(value_scales + slot)[None, :]
        if WIDE:
            weights = weights.to(q.dtype.element_ty)
        total = tl.dot(
            weights.to(queries.dtype), value.to(queries.dtype), total * decay[:, None], input_precision="ieee"
        )
        if CHUNK > 0:  # noqa: SIM102 - known when it is compiled
            if ((at + BLOCK_N) % CHUNK == 0) | (at + BLOCK_N >= end):
                new_top = tl.maximum(all_top, top)
                finite = tl.where(new_top == float("-inf"), 0.0, new_top)
                decay = tl.exp2(all_top - finite)
                share = tl.exp2(top - finite)
                all_mass = all_mass * decay + mass * share
                all_total = all_total * decay[:, None] + total * share[:, None]
                all_top = new_top
                top = tl.full([BLOCK_M], float("-inf"), tl.float32)
                mass = tl.zeros([BLOCK_M], tl.float32)
                total = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    if CHUNK > 0:
        top = all_top
        mass = all_mass
        total = all_total

    whole = inside & (place < 0)[:, None]
    result = tl.div_rn(total, tl.where(mass == 0.0, 1.0, mass)[:, None])
    to = (token.to(tl.int64) * (KV_HEADS * FOLD) + lane)[:, None] * DIM + d[None, :]
    tl.store(out + to, result.to(out.dtype.element_ty), whole)
    part = live & (place >= 0)
    to = place.to(tl.int64) * (KV_HEADS * FOLD) + lane
    tl.store(marks + to * 2, top, part)
    tl.store(marks + to * 2 + 1, mass, part)
    tl.store(parts + to[:, None] * DIM + d[None, :], total, inside & (place >= 0)[:, None])


def attend_rows_torch(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    k_scales: torch.Tensor | None,
    v_scales: torch.Tensor | None,
    out: torch.Tensor,
    parts: torch.Tensor,
    marks: torch.Tensor,
    work: torch.Tensor,
    members: torch.Tensor,
    positions: torch.Tensor,
    table: torch.Tensor,
    scale: float,
    window: int,
    limit: float,
) -> None:
    """The twin of `attend_rows`: the same arrays, k and v [kv_heads, slots, DIM], float32 throughout."""
    kv_heads, dim = len(k), q.shape[-1]
    for first, count, begin, end, place, *_ in work.tolist():
        if not count:
            continue
        tokens, places = members[first : first + count].long().unbind(1)
        slots = table[begin + place : end + place].long()
        keys, values = k[:, slots].float(), v[:, slots].float()
        if k_scales is not None and v_scales is not None:
            keys, values = keys * k_scales[:, slots, None], values * v_scales[:, slots, None]
        folded = q[tokens].float().view(count, kv_heads, -1, dim).transpose(0, 1)  # [kv_heads, count, fold, dim]
        scores = torch.einsum("hcfd,hnd->hcfn", folded, keys) * scale
        if limit:
            scores = (scores / limit).tanh() * limit
        at, own = torch.arange(begin, end, device=q.device), positions[tokens].unsqueeze(1)
        hidden = at > own
        if window:
            hidden |= at <= own - window
        scores.masked_fill_(hidden.unsqueeze(1), -torch.inf)
        top = scores.amax(-1)  # [kv_heads, count, fold]
        weights = torch.exp2(scores - top.masked_fill(top == -torch.inf, 0.0).unsqueeze(-1))
        mass = weights.sum(-1)
        total = torch.einsum("hcfn,hnd->chfd", weights, values)
        by_token = torch.stack([top, mass], -1).transpose(0, 1)  # [count, kv_heads, fold, 2]
        whole = places < 0
        results = total[whole] / by_token[whole][..., 1:]
        out[tokens[whole]] = results.reshape(-1, *out.shape[1:]).to(out.dtype)
        parts[places[~whole]] = total[~whole].reshape(-1, *parts.shape[1:])
        marks[places[~whole]] = by_token[~whole].reshape(-1, *marks.shape[1:])
