"""Attention of the paged engine by Triton kernels: another `step(spans, slots) -> Attend` over the same cache.

With `exact` a row's bits depend on its query and its context alone: one kind of tile computes everything, keys are
taken in chunks counted from position 0, and chunks are added up from the first to the last, in whichever launch.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from lampc.backend.kernels import accounting
from lampc.backend.kernels.attention import attend_rows
from lampc.backend.kernels.interpreter import keep_rows_alone
from lampc.backend.kernels.merge import merge_parts
from lampc.backend.kernels.rope_write import LayerCache, Rotation, rope_write
from lampc.backend.kernels.shape import Shape, Tile, Tiling, tiling
from lampc.backend.kernels.worktable import Planner, WorkTable
from lampc.backend.kv_cache import KVCache
from lampc.backend.native.build import NoKernels
from lampc.backend.reads import Read
from lampc.backend.scores import Scores
from lampc.backend.spans import Span
from lampc.backend.staging import upload

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_PROCESSORS = 132  # where the interpreter has none
_ALONE = threading.RLock()


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter."""
    return not isinstance(attend_rows, triton.JITFunction)


if interpreted():
    keep_rows_alone()


def launching(q: torch.Tensor) -> AbstractContextManager[object]:
    """Around launches for a tensor: its device is where Triton launches; of all threads one interprets at a time, since
    the interpreter changes Triton's own modules while it runs a kernel."""
    if interpreted():
        return _ALONE
    return torch.cuda.device_of(q)  # type: ignore[no-untyped-call]


def digest(device: torch.device) -> str:
    """Names what decides how results are rounded there: the sources, triton, and what runs them.

    Raises NoKernels if nothing does.
    """
    if interpreted():
        if device.type != "cpu":
            raise NoKernels(
                f"TRITON_INTERPRET is set, and Triton's interpreter computes on the cpu, not on {device}; "
                "unset it, or leave the device out"
            )
        if _newer(np.__version__, 2, 4) and not _newer(triton.__version__, 3, 7):
            raise NoKernels(
                f"the interpreter of triton {triton.__version__} cannot loop to a number that it loaded with numpy "
                f"{np.__version__}; install numpy below 2.4, or triton 3.7"
            )
        runs = f"numpy {np.__version__}"
    elif not torch.cuda.is_available():
        raise NoKernels(
            "Triton's kernels need a GPU, and torch sees none here; set TRITON_INTERPRET=1 to have Triton's "
            "interpreter run them on the CPU, slowly, or choose another backend"
        )
    elif device.type != "cuda":
        raise NoKernels(f"Triton's kernels compute on cuda, not on {device}; leave the device out")
    else:
        runs = "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"triton {triton.__version__}, {runs}, {sources.hexdigest()[:16]}"


def _newer(version: str, *least: int) -> bool:
    return tuple(map(int, version.split(".")[:2])) >= least


def supported(cache: KVCache) -> bool:
    """Whether the kernels compute over such a cache here."""
    where = "cpu" if interpreted() else "cuda"
    return cache.device.type == where and cache.dtype in _DTYPES and (cache.trash + 1) * cache.head_dim < 2**31


@dataclass(frozen=True, slots=True)
class Tables:
    """A work table where kernels find it, and room for its partial results.

    Rows of the step from `queries` on may be in no span.
    """

    launches: list[tuple[Tile, torch.Tensor]]
    members: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    merged: torch.Tensor
    window: int
    queries: int
    parts: torch.Tensor  # [places, heads, D], float32
    marks: torch.Tensor  # [places, heads, 2], float32


class TritonAttention:
    """See `lampc.backend.attention.Attention`. Raises ValueError if the cache is not `supported`.

    `tiles` are those to compute with, None for what suits the shape; without `share` no prefix is read together.
    """

    def __init__(
        self,
        cache: KVCache,
        heads: int,
        windows: Sequence[int | None],
        exact: bool,
        tiles: Tiling | None = None,
        share: bool = True,
        scores: Scores | None = None,
    ) -> None:
        if not supported(cache):
            raise ValueError(
                f"K/V are {cache.dtype} on {cache.device}; the kernels take float32, float16 and bfloat16 "
                f"on {'cpu, interpreted' if interpreted() else 'cuda'}, fewer than 2 ** 31 values a head"
            )
        self.cache = cache
        self.windows = windows
        self._heads = heads
        self._scores = scores or Scores(cache.head_dim)
        coded = cache.scales is not None
        self.shape = Shape(
            kv_heads=cache.kv_heads,
            fold=heads // cache.kv_heads,
            head_dim=cache.head_dim,
            value_bytes=cache.data.element_size(),
            coded=coded,
            processors=_processors(cache.device),
            capability=_capability(cache.device),
        )
        self.tiling = tiles or tiling(self.shape, exact)
        self._planner = Planner(self.shape, self.tiling, cache.zero, share)
        self._parts, self._marks = self.places(0)
        self._block_d = max(16, triton.next_power_of_2(cache.head_dim))

    def plan(self, spans: Sequence[Span], rows: int, window: int | None = None) -> WorkTable:
        """The table that a step of so many rows is computed by in layers with this window."""
        return self._planner.plan(spans, rows, window)

    def step(self, spans: Sequence[Span], slots: NDArray[np.int64]) -> "Attending":
        """See `lampc.backend.attention.Attention.step`."""
        cache = self.cache
        tables = {window: self.plan(spans, len(slots), window) for window in dict.fromkeys(self.windows)}
        places = max(table.places for table in tables.values())
        if len(self._parts) < places:
            self._parts, self._marks = self.places(2 * places)
        ready = {window: self._upload(table) for window, table in tables.items()}
        store = upload(np.where(slots < 0, cache.trash, slots), cache.device)
        return Attending(self, [ready[window] for window in self.windows], store)

    def write(
        self, layer: int, qkv: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor, rotation: Rotation
    ) -> torch.Tensor:
        """q [M, heads, D], normalised and rotated, of qkv [M, (heads + 2 kv_heads) * D], whose K/V go to `slots`."""
        cache = self.cache
        scales = None if cache.scales is None else cache.scales[layer]
        return rope_write(
            qkv, positions, slots, rotation, LayerCache(cache.data[layer], scales, cache.trash), self._heads
        )

    def places(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Room for so many partial results; see `Tables`."""
        device = self.cache.device
        parts = torch.empty(count, self._heads, self.cache.head_dim, device=device)
        return parts, torch.empty(count, self._heads, 2, device=device)

    def reads(self, spans: Sequence[Span]) -> list[Read]:
        """See `lampc.backend.reads`."""
        rows, found = sum(span.count for span in spans), []
        for window, layers in Counter(self.windows).items():
            table = self.plan(spans, rows, window)
            found += accounting.reads(table, spans, "triton work table", self.cache.key_bytes(layers))
        return found

    def _upload(self, table: WorkTable) -> Tables:
        arrays = [*(launch.work for launch in table.launches)]
        arrays += [table.members, table.positions, table.slots, table.merged]
        starts = np.cumsum([0, *(-(-array.size // 4) * 4 for array in arrays)])  # aligned to 16 bytes
        whole = np.zeros(int(starts[-1]), np.int32)
        for start, array in zip(starts, arrays):
            whole[start : start + array.size] = array.ravel()
        there = upload(whole, self.cache.device)
        parts = [there[a : a + array.size].view(array.shape) for a, array in zip(starts.tolist(), arrays)]
        launches = [(launch.tile, work) for launch, work in zip(table.launches, parts)]
        members, positions, slots, merged = parts[-4:]
        queries = int((table.positions >= 0).sum())
        return Tables(launches, members, positions, slots, merged, table.window, queries, self._parts, self._marks)

    def run(self, layer: int, q: torch.Tensor, table: Tables) -> torch.Tensor:
        """q [M, heads, D] against the cache; returns [M, heads, D], zeros in rows that are in no span."""
        cache, shape = self.cache, self.shape
        dim = shape.head_dim
        if q.stride()[1:] != (dim, 1):
            q = q.contiguous()
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        out[table.queries :] = 0
        k, v = cache.data[layer]
        # What is not coded has no scales; kernels take any address for what they do not read.
        k_scales, v_scales = (k, v) if cache.scales is None else cache.scales[layer]
        for tile, work in table.launches:
            attend_rows[(len(work) * shape.kv_heads,)](
                *(q, k, v, k_scales, v_scales, out, table.parts, table.marks),
                *(work, table.members, table.positions, table.slots),
                *(q.stride(0), cache.trash + 1, self._scores.factor, table.window, self._scores.limit or 1.0),
                KV_HEADS=shape.kv_heads,
                FOLD=shape.fold,
                DIM=dim,
                BLOCK_D=self._block_d,
                BLOCK_M=tile.rows,
                BLOCK_N=tile.keys,
                CHUNK=self.tiling.chunk,
                CODED=shape.coded,
                WINDOW=table.window > 0,
                LIMIT=self._scores.limit > 0,
                WIDE=q.dtype is torch.bfloat16 and interpreted(),
                num_warps=tile.warps,
                num_stages=tile.stages,
                enable_fp_fusion=False,  # scores times scale less their maximum must be 0 for the largest
            )
        if len(table.merged):
            merge_parts[(len(table.merged) * self._heads,)](
                *(table.parts, table.marks, table.merged, out),
                HEADS=self._heads,
                DIM=dim,
                BLOCK_D=self._block_d,
                num_warps=1,
                enable_fp_fusion=False,
            )
        return out


class Attending:
    """The attention of one step, see `lampc.backend.models.layers.Attend`; `tables` has an entry per layer."""

    def __init__(self, of: TritonAttention, tables: Sequence[Tables], slots: torch.Tensor) -> None:
        self._of = of
        self.tables = tables
        self._slots = slots

    # All K/V of the step are stored before any is read: rows may build on rows of the same step.

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        self._of.cache.write(layer, self._slots, k, v)
        with launching(q):
            return self._of.run(layer, q, self.tables[layer])

    def rotated(self, layer: int, qkv: torch.Tensor, positions: torch.Tensor, rotation: Rotation) -> torch.Tensor:
        """The same for q, k and v [M, (heads + 2 kv_heads) * D] side by side, not yet normalised and rotated."""
        with launching(qkv):
            q = self._of.write(layer, qkv, positions, self._slots, rotation)
            return self._of.run(layer, q, self.tables[layer])


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return _PROCESSORS
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count


def _capability(device: torch.device) -> int:
    """Ten times the compute capability; the least that kernels are made for where the interpreter has none."""
    if device.type != "cuda":
        return 80
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
