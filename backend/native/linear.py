"""Weights packed for the kernels, and products with them."""

import ctypes
from collections.abc import Callable
from ctypes import byref
from typing import Any, NamedTuple, Self

import torch
from torch.nn.functional import pad

from lampc.backend.int8 import encode
from lampc.backend.native.shared_library import INT, POINTER, SIZE, Library

PANEL = 64
_CHUNK = 64 << 20
_SHARE = 250_000  # multiplications that are worth a thread: with less, waiting for each other takes longer


def team(multiplications: int) -> int:
    """How many threads to use: at most torch's number."""
    return max(1, min(torch.get_num_threads(), multiplications // _SHARE))


class CMatrix(ctypes.Structure):
    """`Matrix` of `linear.h`."""

    _fields_ = (("panels", POINTER), ("bias", POINTER), ("n", SIZE), ("steps", SIZE), ("scales", POINTER))


class Memory:
    """Room for packed weights: large pieces of memory in large pages, through which they stream faster."""

    def __init__(self, library: Library) -> None:
        self.pack = library.function("pack", POINTER, SIZE, SIZE, POINTER, INT)
        self.pack_int8 = library.function("pack_int8", POINTER, SIZE, SIZE, INT, POINTER, INT)
        self._large_pages = library.function("large_pages", POINTER, SIZE)
        self._free = torch.empty(0, dtype=torch.int32)

    def take(self, count: int) -> torch.Tensor:
        """int32 [count], aligned to 64 bytes and not set."""
        room = -(-count // 16) * 16
        if room > len(self._free):
            self._free = torch.empty(max(room, _CHUNK // 4), dtype=torch.int32)
            self._large_pages(self._free.data_ptr(), 4 * len(self._free))
        taken, self._free = self._free[:count], self._free[room:]
        return taken


class Packed:
    """A weight [N, K], float32 or bfloat16, as panels, with its bias [N] in float32.

    `steps` is the length of a row of x in units of 4 bytes: rows of odd length in bfloat16 are padded by a zero. With
    `int8` panels hold the codes of `lampc.backend.int8`, and `scales` is one for each output, zeros to fill a panel.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, memory: Memory, int8: bool = False) -> None:
        self.shape = weight.shape
        self.dtype = weight.dtype
        n, k = weight.shape
        whole = -(-n // PANEL) * PANEL
        weight = even(weight)
        self.steps = weight.shape[1] * weight.itemsize // 4
        self.bias = None if bias is None else bias.float().contiguous()
        self.scales: torch.Tensor | None = None
        if int8:
            codes, scales = encode(weight)
            self.scales = pad(scales, (0, whole - n))
            self.panels = memory.take(whole * weight.shape[1] // 4)
            half = weight.dtype is torch.bfloat16
            memory.pack_int8(codes.data_ptr(), n, self.steps, half, self.panels.data_ptr(), team(n * k))
        else:
            self.panels = memory.take(whole * self.steps)
            memory.pack(weight.data_ptr(), n, self.steps, self.panels.data_ptr(), team(n * k))
        offset, scale = (None if x is None else x.data_ptr() for x in (self.bias, self.scales))
        self.c = CMatrix(self.panels.data_ptr(), offset, n, self.steps, scale)


def _product(library: Library) -> Callable[..., Any]:
    return library.function("linear", POINTER, POINTER, POINTER, SIZE, INT, INT, INT)


def even(x: torch.Tensor) -> torch.Tensor:
    """[M, K] in one piece, with rows that are whole units of 4 bytes."""
    rest = x.shape[1] * x.itemsize % 4
    return pad(x, (0, 1)) if rest else x.contiguous()


class Kept(NamedTuple):
    """A packed weight [N, K] that somebody else holds."""

    c: CMatrix
    shape: tuple[int, int]
    dtype: torch.dtype


class NativeLinear:
    """x [M, K] to [M, N]. A row's bits do not depend on the others, nor on the number of threads."""

    def __init__(
        self,
        library: Library,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        memory: Memory,
        int8: bool = False,
    ) -> None:
        self.packed = Packed(weight, bias, memory, int8)
        self._weight: Packed | Kept = self.packed
        self._product = _product(library)

    @classmethod
    def of(cls, library: Library, packed: Kept) -> Self:
        """The product with a weight that is packed already."""
        made = cls.__new__(cls)
        made._weight, made._product = packed, _product(library)
        return made

    def __call__(self, x: torch.Tensor, wide: bool = False) -> torch.Tensor:
        """x of the weight's dtype; the result too, or float32 if `wide`. Raises ValueError for another x."""
        w = self._weight
        if x.dtype is not w.dtype or x.dim() != 2 or x.shape[1] != w.shape[1]:
            raise ValueError(f"x is {x.dtype} {list(x.shape)}; this layer takes {w.dtype} [rows, {w.shape[1]}]")
        out = torch.empty(len(x), w.shape[0], dtype=torch.float32 if wide else w.dtype)
        x = even(x)
        half, threads = w.dtype is torch.bfloat16, team(len(x) * w.shape[0] * w.shape[1])
        self._product(x.data_ptr(), byref(w.c), out.data_ptr(), len(x), half, wide, threads)
        return out
