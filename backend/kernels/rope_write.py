"""Between the projection and attention: q and k normalised, rotated, and K/V written to their slots.

One launch does what takes a dozen in torch. A program takes a few heads of one row. Floor, M rows of h query and
g K/V heads of D values of b bytes: M (h + 2 g) D b bytes read, M h D b + M * 2 g D c written (c bytes per value in the
cache; int8: c = 1, and 4 more bytes per head for its scale), and 4 D bytes of cos and sin per row; about
4 M (h + g) D FLOPs, twice that with the norm.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from lampc.backend.int8 import encode
from lampc.backend.kernels.checks import check_rows, check_same, check_shape

_HEADS = 8  # heads per program


class Rotation(NamedTuple):
    """Tables cos and sin [context, D / 2], float32, whose halves of D make the pairs; and the norm of q and k per head,
    weight [heads + kv_heads, D] in the activations' dtype, or in float32 if it multiplies before values are rounded, or
    none."""

    cos: torch.Tensor
    sin: torch.Tensor
    weight: torch.Tensor | None = None
    eps: float = 0.0


class LayerCache(NamedTuple):
    """K/V of one layer as `KVCache` keeps them: data [2, kv_heads, slots, D], scales [2, kv_heads, slots] if int8."""

    data: torch.Tensor
    scales: torch.Tensor | None
    trash: int  # the slot that takes what is not kept


@triton.jit
def rope_write_kernel(
    qkv: tl.tensor,
    positions: tl.tensor,
    slots: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    weight: tl.tensor,
    q: tl.tensor,
    data: tl.tensor,
    scales: tl.tensor,
    trash: tl.tensor,
    length: tl.tensor,
    eps: tl.tensor,
    heads: tl.constexpr,
    kv_heads: tl.constexpr,
    dim: tl.constexpr,
    group: tl.constexpr,
    half_block: tl.constexpr,
    normed: tl.constexpr,
    wide_weight: tl.constexpr,
    int8: tl.constexpr,
) -> None:
    half: tl.constexpr = dim // 2
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * group + tl.arange(0, group)
    at = tl.arange(0, half_block)
    inside = (head < heads + 2 * kv_heads)[:, None] & (at < half)[None, :]
    at_left = head[:, None] * dim + at[None, :]
    source = qkv + row * ((heads + 2 * kv_heads) * dim) + at_left
    left = tl.load(source, mask=inside, other=0.0)
    right = tl.load(source + half, mask=inside, other=0.0)
    kind = left.dtype
    left = left.to(tl.float32)
    right = right.to(tl.float32)
    turned = (head < heads + kv_heads)[:, None]
    if normed:
        scale = tl.rsqrt(tl.sum(left * left + right * right, axis=1) / dim + eps)[:, None]
        by_left = tl.load(weight + at_left, mask=inside & turned, other=0.0).to(tl.float32)
        by_right = tl.load(weight + half + at_left, mask=inside & turned, other=0.0).to(tl.float32)
        unit_left = left * scale
        unit_right = right * scale
        if not wide_weight:
            unit_left = unit_left.to(kind).to(tl.float32)
            unit_right = unit_right.to(kind).to(tl.float32)
        left = tl.where(turned, (unit_left * by_left).to(kind).to(tl.float32), left)
        right = tl.where(turned, (unit_right * by_right).to(kind).to(tl.float32), right)
    position = tl.load(positions + row)
    c = tl.load(cos + position * half + at, mask=at < half, other=0.0)[None, :]
    s = tl.load(sin + position * half + at, mask=at < half, other=0.0)[None, :]
    first = tl.where(turned, left * c - right * s, left).to(kind)
    second = tl.where(turned, right * c + left * s, right).to(kind)

    query = inside & (head < heads)[:, None]
    target = q + row * (heads * dim) + at_left
    tl.store(target, first, mask=query)
    tl.store(target + half, second, mask=query)

    slot = tl.load(slots + row)
    slot = tl.where(slot < 0, trash, slot).to(tl.int64)
    kept = (head >= heads) & (head < heads + 2 * kv_heads)
    place = (head - heads).to(tl.int64) * length + slot
    target = data + place[:, None] * dim + at[None, :]
    keep = inside & kept[:, None]
    if int8:
        first_wide = first.to(tl.float32)
        second_wide = second.to(tl.float32)
        largest = tl.maximum(tl.abs(first_wide), tl.abs(second_wide))
        top = tl.max(largest, axis=1)
        wrong = (first_wide != first_wide) | (second_wide != second_wide) | (largest == float("inf"))
        bad = tl.max(wrong.to(tl.int32), axis=1) > 0
        step = tl.div_rn(top, tl.full([group], 127.0, tl.float32))
        divisor = tl.where(bad | (top == 0.0), 1.0, step)[:, None] + tl.zeros([group, half_block], tl.float32)
        zero = tl.zeros([group, half_block], tl.float32)
        first_code = tl.where(bad[:, None], zero, _round(tl.div_rn(first_wide, divisor)))
        second_code = tl.where(bad[:, None], zero, _round(tl.div_rn(second_wide, divisor)))
        tl.store(target, first_code.to(tl.int8), mask=keep)
        tl.store(target + half, second_code.to(tl.int8), mask=keep)
        tl.store(scales + place, tl.where(bad, float("nan"), step), mask=kept)
    else:
        tl.store(target, first.to(data.dtype.element_ty), mask=keep)
        tl.store(target + half, second.to(data.dtype.element_ty), mask=keep)


@triton.jit
def _round(x: tl.tensor) -> tl.tensor:
    """To whole numbers, halves to even, for |x| < 2 ** 22: float32 has no room for a fraction beside 1.5 * 2 ** 23."""
    return (x + 12582912.0) - 12582912.0


def rope_write(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    rotation: Rotation,
    cache: LayerCache,
    heads: int,
) -> torch.Tensor:
    """Rotated q [M, heads, D] of qkv [M, (heads + 2 kv_heads) * D], whose k and v go to `slots` of the cache.

    positions and slots [M], int64; a slot below 0 is not kept. Slots are distinct. Raises ValueError.
    """
    kv_heads, dim, fused = _check(qkv, positions, slots, rotation, cache, heads)
    rows = len(qkv)
    q = qkv.new_empty(rows, heads, dim)
    if not rows:
        return q
    half_block = triton.next_power_of_2(dim // 2)
    rope_write_kernel[(rows, triton.cdiv(fused, _HEADS))](
        qkv,
        positions,
        slots,
        rotation.cos,
        rotation.sin,
        qkv if rotation.weight is None else rotation.weight,
        q,
        cache.data,
        cache.data if cache.scales is None else cache.scales,
        cache.trash,
        cache.data.shape[2],
        rotation.eps,
        heads,
        kv_heads,
        dim,
        _HEADS,
        half_block,
        rotation.weight is not None,
        rotation.weight is not None and rotation.weight.dtype is not qkv.dtype,
        cache.scales is not None,
        num_warps=4,
    )
    return q


def rope_write_torch(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    rotation: Rotation,
    cache: LayerCache,
    heads: int,
) -> torch.Tensor:
    """The twin of `rope_write`."""
    kv_heads, dim, fused = _check(qkv, positions, slots, rotation, cache, heads)
    wide = qkv.view(len(qkv), fused, dim).float()
    qk = wide[:, : heads + kv_heads]
    if rotation.weight is not None:
        unit = qk * torch.rsqrt(qk.square().mean(-1, keepdim=True) + rotation.eps)
        unit = unit if rotation.weight.dtype is torch.float32 else unit.to(qkv.dtype)
        qk = (unit * rotation.weight).to(qkv.dtype).float()
    left, right = qk.chunk(2, dim=-1)
    cos, sin = (table[positions].unsqueeze(1) for table in (rotation.cos, rotation.sin))
    qk = torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1).to(qkv.dtype)
    kv = torch.cat([qk[:, heads:], wide[:, heads + kv_heads :].to(qkv.dtype)], dim=1).transpose(0, 1)
    store = torch.where(slots < 0, cache.trash, slots)
    if cache.scales is not None:
        kv, scales = encode(kv)
        cache.scales.view(2 * kv_heads, -1)[:, store] = scales
    cache.data.view(2 * kv_heads, -1, dim)[:, store] = kv.to(cache.data.dtype)
    return qk[:, :heads].contiguous()


def _check(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    slots: torch.Tensor,
    rotation: Rotation,
    cache: LayerCache,
    heads: int,
) -> tuple[int, int, int]:
    """K/V heads, head size, and heads of q, k and v together. Raises ValueError."""
    _, kv_heads, length, dim = cache.data.shape
    fused = heads + 2 * kv_heads
    check_shape("qkv", qkv, len(qkv), fused * dim)
    check_rows(qkv=qkv, cos=rotation.cos, sin=rotation.sin, data=cache.data)
    for name, index in (("positions", positions), ("slots", slots)):
        check_shape(name, index, len(qkv))
        check_same(name, index, torch.int64)
    for name, table in (("cos", rotation.cos), ("sin", rotation.sin)):
        check_shape(name, table, len(rotation.cos), dim // 2)
        check_same(name, table, torch.float32)
    if rotation.weight is not None:
        check_shape("weight", rotation.weight, heads + kv_heads, dim)
        if rotation.weight.dtype is not torch.float32:
            check_same("weight", rotation.weight, qkv.dtype)
        check_rows(weight=rotation.weight)
    if (cache.scales is None) == (cache.data.dtype == torch.int8):
        raise ValueError(f"a cache of {cache.data.dtype} {'without' if cache.scales is None else 'with'} scales")
    if cache.scales is not None:
        check_shape("scales", cache.scales, 2, kv_heads, length)
    return kv_heads, dim, fused
