"""K/V copied between the cache and host memory, before each step: all that `lampc.backend.copies` has, in its order.

On a CPU, where the cache is host memory too, these are plain copies. On a GPU a block goes through a piece of device
memory, in which it lies together (`lampc.backend.kernels.copy_slots`), and crosses the bus in one piece from or to
pinned memory, on a stream of its own, the side. Two rules order it against the stream that computes:

- The side begins when everything that compute was given before is done: slots are then written, and nobody reads them.
- Compute goes on when slots were gathered, and when they were scattered: it overwrites none before it was copied, and
  reads none before it is there. The way of a gathered block to the host overlaps with what is computed.

All of the side happens in the order in which it is told, so that a block of host memory, or of the piece in between, is
never overwritten before it was read.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch

from lampc.backend.copies import Copies, Run
from lampc.backend.kv_cache import KVCache

_SLAB = 1 << 28  # bytes; torch rounds pinned memory up to a power of two
_STAGED = 1 << 26  # bytes that cross the bus in one go


class Side(Protocol):
    """A stream beside the one that computes, which is the current one of whoever calls."""

    def follow(self) -> None:
        """What the side is given from now on waits for all that compute was given so far."""
        ...

    def on(self) -> AbstractContextManager[object]:
        """Within, work is given to the side."""
        ...

    def hold(self) -> None:
        """What compute is given from now on waits for all that the side was given so far."""
        ...


class CudaSide:
    """A stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def follow(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))

    def on(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)

    def hold(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)


class NoSide:
    """Where everything happens in the order of calls."""

    def follow(self) -> None: ...

    def on(self) -> AbstractContextManager[object]:
        return nullcontext()

    def hold(self) -> None: ...


class HostMemory:
    """`total` blocks, each for `size` tokens of a cache; memory is taken when it is first used, `_SLAB` bytes at once.

    A block is [layers, 2, kv_heads, size, head_dim], and with an int8 cache also its scales, without head_dim.
    """

    def __init__(self, cache: KVCache, total: int, size: int) -> None:
        self._parts = parts_of(cache)
        self._size = size
        self._total = total
        self._pin = cache.device.type == "cuda"
        self.block_bytes = size * cache.key_bytes(cache.layers)
        self._each = max(1, _SLAB // self.block_bytes)  # blocks of a slab
        self._slabs: dict[int, list[torch.Tensor]] = {}

    def block(self, number: int) -> list[torch.Tensor]:
        """A block, part by part of the cache."""
        slab, at = divmod(number, self._each)
        if slab not in self._slabs:
            count = min(self._each, self._total - slab * self._each)
            self._slabs[slab] = [
                new_blocks(part, count, self._size, torch.device("cpu"), self._pin) for part in self._parts
            ]
        return [part[at] for part in self._slabs[slab]]


class PlainTransfer:
    """Of a cache on the CPU."""

    def __init__(self, cache: KVCache, total: int, size: int) -> None:
        self._parts = parts_of(cache)
        self._memory = HostMemory(cache, total, size)

    @torch.inference_mode()
    def run(self, copies: Copies) -> None:
        """Makes all copies."""
        for batch in copies.drain():
            for run in batch:
                for part, block in zip(self._parts, self._memory.block(run.block), strict=True):
                    here = part[:, :, :, run.slot : run.slot + run.length]
                    there = block[:, :, :, run.offset : run.offset + run.length]
                    if run.inward:
                        here.copy_(there)
                    else:
                        there.copy_(here)


class StagedTransfer:
    """Of a cache on a GPU; with Triton's interpreter, also of one on the CPU, by the same calls."""

    def __init__(self, cache: KVCache, total: int, size: int, side: Side, triton: bool) -> None:
        self._parts = parts_of(cache)
        self._size = size
        self._memory = HostMemory(cache, total, size)
        self._side = side
        self._device = cache.device
        self._rows = max(1, min(total, _STAGED // self._memory.block_bytes))
        self._staged = [new_blocks(part, self._rows, size, cache.device, pin=False) for part in self._parts]
        self._triton = triton

    @torch.inference_mode()
    def run(self, copies: Copies) -> None:
        """Gives all copies to the side; what compute is given from now on finds them made."""
        if copies:
            self._side.follow()
        for batch in copies.drain():
            for group in grouped(batch, self._rows):
                rows = {block: row for row, block in enumerate(dict.fromkeys(run.block for run in group))}
                if batch[0].inward:
                    self._bring(group, rows)
                else:
                    self._keep(group, rows)

    def _keep(self, runs: Sequence[Run], rows: dict[int, int]) -> None:
        with self._side.on():
            self._move(runs, rows)
        self._side.hold()
        with self._side.on():
            for block, row in rows.items():
                for kept, staged in zip(self._memory.block(block), self._staged, strict=True):
                    kept.copy_(staged[row], non_blocking=True)

    def _bring(self, runs: Sequence[Run], rows: dict[int, int]) -> None:
        with self._side.on():
            for block, row in rows.items():
                for kept, staged in zip(self._memory.block(block), self._staged, strict=True):
                    staged[row].copy_(kept, non_blocking=True)
            self._move(runs, rows)
        self._side.hold()

    def _move(self, runs: Sequence[Run], rows: dict[int, int]) -> None:
        """Between the cache and the piece in between, where each block has a row."""
        if self._triton:
            from lampc.backend.kernels.copy_slots import gather_slots, scatter_slots  # nobody else pays for triton

            columns = zip(*((run.slot, run.length, rows[run.block] * self._size + run.offset) for run in runs))
            slots, counts, places = (self._index(column) for column in columns)
            for part, staged in zip(self._parts, self._staged, strict=True):
                (scatter_slots if runs[0].inward else gather_slots)(part, slots, counts, staged, places)
            return
        for run in runs:
            for part, staged in zip(self._parts, self._staged, strict=True):
                here = part[:, :, :, run.slot : run.slot + run.length]
                there = staged[rows[run.block], :, :, :, run.offset : run.offset + run.length]
                if run.inward:
                    here.copy_(there)
                else:
                    there.copy_(here)

    def _index(self, numbers: Sequence[int]) -> torch.Tensor:
        made = torch.tensor(numbers, dtype=torch.int64, pin_memory=self._device.type == "cuda")
        return made.to(self._device, non_blocking=True)


Transfer = PlainTransfer | StagedTransfer


def make_transfer(cache: KVCache, total: int, size: int, triton: bool) -> Transfer:
    """What moves blocks of `size` tokens between a cache and `total` blocks of host memory."""
    if cache.device.type == "cuda":
        return StagedTransfer(cache, total, size, CudaSide(cache.device), triton)
    return StagedTransfer(cache, total, size, NoSide(), triton) if triton else PlainTransfer(cache, total, size)


def copy_seconds(transfer: Transfer, cache: KVCache, total: int, size: int) -> float:
    """Seconds that a token takes from host memory to the cache, the best of a few. The cache must hold nothing yet."""
    blocks = min(total, cache.zero // size, 16)
    took = []
    for inward in (False, True, True, True, True):  # the first time in, kernels are made
        copies = Copies()
        for block in range(blocks):
            copies.add(inward, block, 0, list(range(block * size, (block + 1) * size)))
        _finish(cache.device)
        begun = time.perf_counter()
        transfer.run(copies)
        _finish(cache.device)
        took.append(time.perf_counter() - begun)
    return min(took[2:]) / (blocks * size)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def parts_of(cache: KVCache) -> list[torch.Tensor]:
    """The tensors of a cache, slots in dimension 3: data, and scales if there are any."""
    return [cache.data] if cache.scales is None else [cache.data, cache.scales]


def new_blocks(part: torch.Tensor, count: int, size: int, device: torch.device, pin: bool) -> torch.Tensor:
    """[count, layers, 2, kv_heads, size, ...] for blocks of a part of a cache, not written yet."""
    return torch.empty(count, *part.shape[:3], size, *part.shape[4:], dtype=part.dtype, device=device, pin_memory=pin)


def grouped(batch: Sequence[Run], most: int) -> Iterator[list[Run]]:
    """A batch in pieces of at most so many blocks; all runs of a block that follow each other are in one of them."""
    group: list[Run] = []
    blocks: set[int] = set()
    for run in batch:
        if run.block not in blocks and len(blocks) == most:
            yield group
            group, blocks = [], set()
        group.append(run)
        blocks.add(run.block)
    yield group
