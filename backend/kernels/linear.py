"""Products of rows with one weight whose bits do not depend on how many rows there are: exact mode in two bytes.

GEMM libraries choose how they cut K by the shape, and cuts round in other places. Here K is taken in one order by every
launch, so a row's bits are those it has alone; only the tile of rows and outputs that a program computes is chosen by
the shape, which decides how fast, not what. (He et al., "Defeating nondeterminism in LLM inference", 2025, call this
batch invariance.) Floor, M rows, weight [N, K] of b bytes a value: N K b + M (K + N) b bytes, 2 M N K FLOPs; with M
above some hundreds FLOPs bound it.

That tiles agree is nothing that Triton promises: they are held against the first one, once for each device, dtype and
kind of K (whether it is a multiple of 64), and those that differ are never used.
"""

from functools import cache, lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import aligned, check_rows, check_same, check_shape
from lampc.backend.kernels.paged import interpreted, launching
from lampc.backend.models.layers import Linear
from lampc.backend.models.rows import Rows

_STEP = 64
"""Values along K in one product, in every tile."""
_BANDS = 16
"""Bands of rows that are computed side by side, so that what they read of a weight is read from the cache."""
_BUSY = 96
"""So many programs keep a large device busy."""
_TRIED = {True: (200, 384, 1088), False: (200, 392, 1080)}
"""Rows, outputs and values along K of the products by which tiles are held against each other: where K is a multiple of
`_STEP`, and where it is not, which is another kernel."""


class Tile(NamedTuple):
    """What a program computes: rows x outputs; and how."""

    rows: int
    outputs: int
    num_warps: int
    num_stages: int


TILES = (
    Tile(64, 32, 4, 8),
    Tile(64, 16, 4, 8),
    Tile(64, 64, 4, 6),
    Tile(128, 128, 8, 3),
)
"""The first defines a row's bits. 64 rows are what the matrix units of compute capability 9.0 take at once."""


@triton.jit(do_not_specialize=["m"])  # the code must not depend on how many rows there are
def linear_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    m: tl.tensor,
    n: tl.tensor,
    k: tl.tensor,
    row_block: tl.constexpr,
    block: tl.constexpr,
    step: tl.constexpr,
    bands: tl.constexpr,
    whole: tl.constexpr,
    biased: tl.constexpr,
    wide: tl.constexpr,
) -> None:
    """x [m, k] times weight [n, k] transposed, plus bias [n]. Some bands of rows are computed for one block of outputs,
    then for the next. `whole`: k is a multiple of `step`; `wide` as in `attention.py`."""
    blocks = tl.cdiv(n, block)
    program = tl.program_id(0)
    first = program // (bands * blocks) * bands
    beside = tl.minimum(tl.cdiv(m, row_block) - first, bands)
    place = program % (bands * blocks)
    row = (first + place % beside) * row_block + tl.arange(0, row_block)
    output = place // beside * block + tl.arange(0, block)
    live, real = row < m, output < n
    at = tl.arange(0, step)
    rows = x + row.to(tl.int64)[:, None] * k + at[None, :]
    columns = weight + output.to(tl.int64)[None, :] * k + at[:, None]
    total = tl.zeros([row_block, block], tl.float32)
    for done in range(0, k, step):
        if whole:
            a = tl.load(rows + done, mask=live[:, None], other=0.0)
            w = tl.load(columns + done, mask=real[None, :], other=0.0)
        else:
            inside = at < k - done
            a = tl.load(rows + done, mask=live[:, None] & inside[None, :], other=0.0)
            w = tl.load(columns + done, mask=real[None, :] & inside[:, None], other=0.0)
        if wide:
            a = a.to(tl.float32)
        total = tl.dot(a, w.to(a.dtype), total, input_precision="ieee")
    if biased:
        total += tl.load(bias + output, mask=real, other=0.0).to(tl.float32)[None, :]
    target = row.to(tl.int64)[:, None] * n + output[None, :]
    tl.store(out + target, total.to(out.dtype.element_ty), mask=live[:, None] & real[None, :])


class ExactLinear:
    """x [M, K] to [M, N], weight [N, K], bias [N], all float16 or bfloat16: see the module's text."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self._weight = aligned(weight)
        self._bias = None if bias is None else aligned(bias)
        self._tiles = agreeing(weight.device, weight.dtype, weight.shape[1] % _STEP == 0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        tile = chosen(x.shape[0], self._weight.shape[0], self._tiles)
        return linear(x.contiguous(), self._weight, self._bias, tile)


def product_of(weight: torch.Tensor, bias: torch.Tensor | None, rows: Rows) -> ExactLinear | Linear:
    """What multiplies rows with a weight that is kept as it is. Rows in float32 go through torch, tile by tile in exact
    mode: the matrix units would round them."""
    if rows.exact and weight.dtype.itemsize == 2:
        return ExactLinear(weight, bias)
    return Linear(weight, bias, rows, rounded=False)


@lru_cache(maxsize=1 << 14)
def chosen(rows: int, outputs: int, tiles: tuple[Tile, ...]) -> Tile:
    """Of these tiles the largest that still keeps a device busy, else the smallest; none much larger than `rows`."""
    fitting = [tile for tile in tiles if tile.rows <= max(64, rows)]
    fitting.sort(key=lambda tile: tile.rows * tile.outputs)
    busy = [t for t in fitting if triton.cdiv(rows, t.rows) * triton.cdiv(outputs, t.outputs) >= _BUSY]
    return busy[-1] if busy else fitting[0]


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, tile: Tile) -> torch.Tensor:
    """x [M, K] times weight [N, K] transposed, plus bias [N]: [M, N]. Raises ValueError."""
    if x.dim() != 2:
        raise ValueError(f"x is {tuple(x.shape)}; rows by values are wanted")
    (m, k), n = x.shape, len(weight)
    check_shape("weight", weight, n, k)
    check_same("weight", weight, x.dtype)
    check_rows(x=x, weight=weight)
    if bias is not None:
        check_shape("bias", bias, n)
        check_same("bias", bias, x.dtype)
        check_rows(bias=bias)
    out = x.new_empty(m, n)
    if not m:
        return out
    linear_kernel[(triton.cdiv(m, tile.rows) * triton.cdiv(n, tile.outputs),)](
        *(x, weight, weight if bias is None else bias, out, m, n, k),
        row_block=tile.rows,
        block=tile.outputs,
        step=_STEP,
        bands=_BANDS,
        whole=k % _STEP == 0,
        biased=bias is not None,
        wide=x.dtype is torch.bfloat16 and interpreted(),
        num_warps=tile.num_warps,
        num_stages=tile.num_stages,
    )
    return out


def linear_torch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The twin of `linear`."""
    found = x.float() @ weight.float().T
    return (found if bias is None else found + bias.float()).to(x.dtype)


@cache
def agreeing(device: torch.device, dtype: torch.dtype, whole: bool = True) -> tuple[Tile, ...]:
    """The tiles that give the bits of the first one there, by noise; `whole`: where K is a multiple of 64."""
    m, n, k = _TRIED[whole]
    noise = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=noise).to(device, dtype) for shape in ((m, k), (n, k), (n,)))
    with torch.inference_mode(), launching(x):
        right = linear(x, weight, bias, TILES[0])
        return tuple(tile for tile in TILES if torch.equal(linear(x, weight, bias, tile), right))
