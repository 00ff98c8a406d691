"""The uniform numbers of `random_keys` on a device, bit for bit.

Integers modulo 2 ** 64, then 53 bits as a float64: nothing is rounded. Floor: 16 bytes read per number; 12 integer
operations, nothing beside the launch.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from lampc.backend.kernels.checks import check_same, check_shape

_BLOCK = 128


@triton.jit
def mix_bits(x: tl.tensor) -> tl.tensor:
    """See `random_keys.mix`; x is uint64."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB
    return x ^ (x >> 31)


@triton.jit
def keyed_uniform(key: tl.tensor, index: tl.tensor) -> tl.tensor:
    """See `random_keys.uniform`; key and index are int64, the key by its bits."""
    bits = mix_bits(key.to(tl.uint64))
    bits = mix_bits(bits + (index.to(tl.uint64) + 1) * 0x9E3779B97F4A7C15)
    # Below 2 ** 53, so signed numbers, which devices convert in one instruction, do.
    return (bits >> 11).to(tl.int64).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def uniform_kernel(keys: tl.tensor, indices: tl.tensor, out: tl.tensor, count: tl.tensor, block: tl.constexpr) -> None:
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < count
    key = tl.load(keys + at, mask=inside, other=0)
    index = tl.load(indices + at, mask=inside, other=0)
    tl.store(out + at, keyed_uniform(key, index), mask=inside)


def uniforms(keys: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Numbers in [0, 1) [n], float64, for keys (see `key_tensor`) and indices [n], int64. Raises ValueError."""
    check_shape("indices", indices, len(keys))
    check_same("keys", keys, torch.int64)
    check_same("indices", indices, torch.int64)
    out = torch.empty(len(keys), dtype=torch.float64, device=keys.device)
    if len(keys):
        uniform_kernel[(triton.cdiv(len(keys), _BLOCK),)](keys, indices, out, len(keys), _BLOCK, num_warps=4)
    return out


def uniforms_torch(keys: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The twin of `uniforms` in signed numbers: sums and products have the same bits, shifts are cleared of signs."""

    def shifted(x: torch.Tensor, by: int) -> torch.Tensor:
        return (x >> by) & ((1 << (64 - by)) - 1)

    def mixed(x: torch.Tensor) -> torch.Tensor:
        x = (x ^ shifted(x, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
        x = (x ^ shifted(x, 27)) * (0x94D049BB133111EB - (1 << 64))
        return x ^ shifted(x, 31)

    bits = mixed(mixed(keys) + (indices + 1) * (0x9E3779B97F4A7C15 - (1 << 64)))
    return shifted(bits, 11).double() * 2.0**-53


def key_tensor(keys: Sequence[int]) -> torch.Tensor:
    """Keys in [0, 2 ** 64) as int64 with the same bits."""
    return torch.tensor([key - (1 << 64) if key >> 63 else key for key in keys], dtype=torch.int64)
