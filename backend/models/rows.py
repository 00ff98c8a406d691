"""Linear layers whose rows do not depend on how many rows there are.

GEMM libraries pick kernels by shape, so a row's last bits can change with the number of rows beside it; at a
fixed number of rows they do not. Exact mode defines a row's bits as those it has among `TILE` rows, and makes a
call with another number of rows only after it was seen to give, for its very shape, the same bits. The native
kernels (`lampc.backend.native`) need nothing of this: theirs never change.
"""

import copy
from collections.abc import Callable

import torch

from lampc.backend.int8 import decode, encode
from lampc.backend.models import packing
from lampc.backend.models.packing import product
from lampc.backend.native.linear import Memory, NativeLinear
from lampc.backend.native.shared_library import Library

TILE = 16
"""Rows of the call that defines a row's bits."""
_LARGEST = 512
_VALUES = 1 << 16
"""Values that are compared before a call is trusted."""


class Rows:
    """The row scheme of one engine. `exact` False lets every call through; `packed` False leaves weights plain.

    `native` are the kernels to compute with, None for torch's. `int8` keeps weights of layers in eight bits. `triton`:
    attention is by its kernels.
    """

    def __init__(
        self,
        exact: bool,
        packed: bool = True,
        native: Library | None = None,
        int8: bool = False,
        triton: bool = False,
    ) -> None:
        self.exact = exact
        self.packed = packed
        self.native = native
        self.int8 = int8
        self.triton = triton
        self.memory = None if native is None else Memory(native)
        self._verdicts: dict[tuple[int, ...], bool] = {}

    def apart(self) -> "Rows":
        """The same scheme, for weights whose memory is given back when they go, whatever else is loaded."""
        made = copy.copy(self)
        made.memory = None if self.native is None else Memory(self.native)
        return made

    def layer(
        self, weight: torch.Tensor, bias: torch.Tensor | None, rounded: bool = True
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The product of x [M, K] with weight [N, K] transposed, plus bias [N].

        If not `rounded`, it is never kept in eight bits. Without native kernels weights that are so are decoded in
        each call: they take less memory, not less time.
        """
        if self.native is not None and self.memory is not None:
            return NativeLinear(self.native, weight, bias, self.memory, self.int8 and rounded)
        if self.int8 and rounded:
            codes, scales = encode(weight)
            return lambda x: self.linear(x, decode(codes, scales).to(x.dtype), bias)
        packed = self.pack(weight)
        return lambda x: self.linear(x, packed, bias)

    def pack(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight [N, K] in the form that `linear` is fastest with; used nowhere else."""
        if self.packed and packing.supported(weight.device.type, weight.dtype):
            return packing.pack(weight)
        return weight

    def padded(self, count: int) -> int:
        """The number of rows to run `count` rows with.

        Rounded up only to meet few different numbers, each of which has to be tried out; native kernels need none.
        """
        if not self.exact or self.native is not None:
            return count
        step = TILE if count > 4 * TILE else 4 if count > TILE else 1
        return -(-count // step) * step

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """x [M, K] times weight [N, K] transposed, plus bias [N]."""
        if not self.exact:
            return product(x, weight, bias)
        if len(x) <= _LARGEST:
            return self._piece(x, weight, bias)
        return torch.cat([self._piece(part, weight, bias) for part in torch.split(x, _LARGEST)])

    def _piece(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        rows = len(x)
        if rows in (0, TILE) or self._same_bits(rows, weight, bias):
            return product(x, weight, bias)
        if rows > TILE:
            return _tiled(x, weight, bias)
        more = next(n for n in (2, 4, 8, TILE) if n > rows and (n == TILE or self._same_bits(n, weight, bias)))
        return product(torch.cat([x, x.new_zeros(more - rows, x.shape[1])]), weight, bias)[:rows]

    def _same_bits(self, rows: int, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
        if rows < TILE and weight.dtype is torch.bfloat16 and weight.device.type == "cpu":
            return False  # few rows go another way there, and one value in thousands is another: no trial would do
        key = (rows, *weight.shape, weight.is_mkldnn, bias is not None, torch.get_num_threads())
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = _agrees(rows, weight, bias)
        return verdict


def _agrees(rows: int, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether noise gets the bits of tiles in calls of so many rows, and wherever in them a row stands."""
    noise = torch.Generator().manual_seed(rows)
    count = max(rows, TILE)
    for _ in range(-(-_VALUES // (2 * count * weight.shape[0]))):
        x = torch.randn(count, weight.shape[1], generator=noise).to(dtype=weight.dtype, device=weight.device)
        right = _tiled(x, weight, bias)
        for order in (torch.arange(count), torch.randperm(count, generator=noise)):
            for some in torch.split(order.to(weight.device), rows):
                if len(some) == rows and not torch.equal(product(x[some], weight, bias), right[some]):
                    return False
    return True


def _tiled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """In calls of TILE rows; the last one takes in rows of the one before, so that it is whole."""
    whole = len(x) // TILE * TILE
    parts = [product(part, weight, bias) for part in torch.split(x[:whole], TILE)]
    if whole < len(x):
        parts.append(product(x[-TILE:], weight, bias)[whole - len(x) :])
    return torch.cat(parts)
