"""Runs of K/V slots copied: within a cache for copy-on-write, out of it and into it for swapping.

A run is some neighbouring slots, a block or the written part of one; it is copied in every plane (layer, K or V, head).
What is swapped out lies run after run, all planes of a run together, so that a run is one contiguous piece for whoever
moves it on. Memory that the device can address will do, pinned host memory included. Floor: each byte is read once
and written once, 2 * runs * slots * bytes per token; no FLOPs.
"""

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_same, check_shape

_BLOCK = 1024  # words that a program copies at once


@triton.jit
def copy_slots_kernel(
    source: tl.tensor,
    target: tl.tensor,
    source_at: tl.tensor,  # [runs] words before each run in the first plane
    target_at: tl.tensor,
    counts: tl.tensor,  # [runs] slots
    source_plane: tl.tensor,  # words from plane to plane
    target_plane: tl.tensor,
    width: tl.tensor,  # words per slot
    block: tl.constexpr,
) -> None:
    run = tl.program_id(0)
    plane = tl.program_id(1).to(tl.int64)
    begin = source + tl.load(source_at + run) + plane * source_plane
    end = target + tl.load(target_at + run) + plane * target_plane
    words = tl.load(counts + run) * width
    at = tl.program_id(2) * block + tl.arange(0, block)
    inside = at < words
    tl.store(end + at, tl.load(begin + at, mask=inside), mask=inside)


def copy_slots(
    cache: torch.Tensor, source: torch.Tensor, target: torch.Tensor, counts: torch.Tensor, size: int
) -> None:
    """Copies runs within a cache: counts[i] <= size slots from slot source[i] on to target[i] on, in all planes.

    cache [layers, 2, kv_heads, slots, D], or its scales, one dimension less; source, target and counts [runs], int64.
    No target may overlap a source or another target. Raises ValueError.
    """
    words, planes, width, stride = _words(cache)
    _check(source, target, counts)
    _launch(words, words, source * width, target * width, counts, planes, stride, stride, width, size)


def gather_slots(
    cache: torch.Tensor,
    source: torch.Tensor,
    counts: torch.Tensor,
    out: torch.Tensor,
    places: torch.Tensor | None = None,
) -> None:
    """Copies runs out of a cache: see `copy_slots`. out [blocks, layers, 2, kv_heads, size, D], or without the D.

    Run i begins in out at slot places[i] % size of block places[i] // size, and must end in that block; without
    `places`, at the start of block i, of which there is one for each run. Raises ValueError.
    """
    _move(cache, source, counts, out, places, inward=False)


def scatter_slots(
    cache: torch.Tensor,
    target: torch.Tensor,
    counts: torch.Tensor,
    kept: torch.Tensor,
    places: torch.Tensor | None = None,
) -> None:
    """Copies what `gather_slots` put out back into a cache, to slots target [runs] on. Raises ValueError."""
    _move(cache, target, counts, kept, places, inward=True)


def copy_slots_torch(
    cache: torch.Tensor, source: torch.Tensor, target: torch.Tensor, counts: torch.Tensor, size: int
) -> None:
    """The twin of `copy_slots`."""
    for a, b, count in zip(source.tolist(), target.tolist(), counts.tolist(), strict=True):
        cache[:, :, :, b : b + count] = cache[:, :, :, a : a + count].clone()


def gather_slots_torch(
    cache: torch.Tensor,
    source: torch.Tensor,
    counts: torch.Tensor,
    out: torch.Tensor,
    places: torch.Tensor | None = None,
) -> None:
    """The twin of `gather_slots`."""
    for a, count, block, at in _twin_runs(source, counts, places, out.shape[4]):
        out[block, :, :, :, at : at + count] = cache[:, :, :, a : a + count]


def scatter_slots_torch(
    cache: torch.Tensor,
    target: torch.Tensor,
    counts: torch.Tensor,
    kept: torch.Tensor,
    places: torch.Tensor | None = None,
) -> None:
    """The twin of `scatter_slots`."""
    for b, count, block, at in _twin_runs(target, counts, places, kept.shape[4]):
        cache[:, :, :, b : b + count] = kept[block, :, :, :, at : at + count]


def _twin_runs(
    slots: torch.Tensor, counts: torch.Tensor, places: torch.Tensor | None, size: int
) -> list[tuple[int, int, int, int]]:
    begins = range(0, len(slots) * size, size) if places is None else places.tolist()
    runs = zip(slots.tolist(), counts.tolist(), begins, strict=True)
    return [(slot, count, *divmod(place, size)) for slot, count, place in runs]


def _move(
    cache: torch.Tensor,
    slots: torch.Tensor,
    counts: torch.Tensor,
    kept: torch.Tensor,
    places: torch.Tensor | None,
    inward: bool,
) -> None:
    words, planes, width, stride = _words(cache)
    size = kept.shape[4]
    if places is None:
        places = torch.arange(len(slots), device=slots.device) * size
        check_shape("the swapped part", kept, len(slots), *cache.shape[:3], size, *cache.shape[4:])
    else:
        check_shape("the swapped part", kept, len(kept), *cache.shape[:3], size, *cache.shape[4:])
    _check(slots, counts, places)
    check_same("the swapped part", kept, cache.dtype)
    if not kept.is_contiguous():
        raise ValueError("the swapped part is not contiguous")
    staged = _as_words(kept)
    here = slots * width
    there = (places // size * (planes * size) + places % size) * width
    if inward:
        _launch(staged, words, there, here, counts, planes, size * width, stride, width, size)
    else:
        _launch(words, staged, here, there, counts, planes, stride, size * width, width, size)


def _launch(
    source: torch.Tensor,
    target: torch.Tensor,
    source_at: torch.Tensor,
    target_at: torch.Tensor,
    counts: torch.Tensor,
    planes: int,
    source_plane: int,
    target_plane: int,
    width: int,
    size: int,
) -> None:
    if len(counts) and size:
        grid = (len(counts), planes, triton.cdiv(size * width, _BLOCK))
        copy_slots_kernel[grid](
            source, target, source_at, target_at, counts, source_plane, target_plane, width, _BLOCK, num_warps=4
        )


def _words(cache: torch.Tensor) -> tuple[torch.Tensor, int, int, int]:
    """The cache as int32 words, its planes, words per slot, and words from plane to plane. Raises ValueError."""
    if cache.dim() not in (4, 5) or not cache.is_contiguous():
        raise ValueError(f"a cache [layers, 2, kv_heads, slots, D] or its scales is wanted, not {tuple(cache.shape)}")
    layers, two, kv_heads, length = cache.shape[:4]
    size = cache.shape[4:].numel() * cache.dtype.itemsize
    if size % 4:
        raise ValueError(f"a slot takes {size} bytes in a plane, which are no whole words of 4")
    return _as_words(cache), layers * two * kv_heads, size // 4, length * size // 4


def _as_words(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(-1).view(torch.int32)


def _check(*index: torch.Tensor) -> None:
    for tensor in index:
        check_shape("slots and counts", tensor, len(index[0]))
        check_same("slots and counts", tensor, torch.int64)
