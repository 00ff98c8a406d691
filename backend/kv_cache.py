"""The tensors behind the slots: keys and values of all layers."""

import math
import mmap

import torch

from lampc.backend.int8 import decode, encode


def bytes_per_token(layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype, int8: bool) -> int:
    """What one slot takes, in bytes."""
    return 2 * layers * kv_heads * (head_dim + 4 if int8 else head_dim * dtype.itemsize)


class KVCache:
    """K and V as [layers, 2, kv_heads, slots + 2, head_dim]: what one head reads of neighbouring slots lies together.

    Two slots past the pool's: `zero` is never written and pads reads, `trash` takes writes that do not count.
    With `int8` a head of a token is kept as whole numbers of -127 .. 127 and one float32 scale, `scales`
    [layers, 2, kv_heads, slots + 2]: symmetric, the largest of its values becomes 127. It is rounded by itself, so
    nothing depends on neighbours. A head that is not finite gets the scale NaN.
    """

    def __init__(
        self,
        slots: int,
        layers: int,
        kv_heads: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
        int8: bool = False,
    ) -> None:
        self.layers = layers
        self.kv_heads = kv_heads
        self.head_dim = head_dim
        self.heads = range(0, kv_heads * (slots + 2), slots + 2)  # first row of each head, see `read`
        self.device = device
        self.dtype = dtype
        self.zero = slots
        self.trash = slots + 1
        shape = (layers, 2, kv_heads, slots + 2, head_dim)
        self.data = lazy_zeros(shape, torch.int8 if int8 else dtype, device)
        self.scales = lazy_zeros(shape[:-1], torch.float32, device) if int8 else None

    def key_bytes(self, layers: int) -> int:
        """What all K/V heads read for one key in so many layers."""
        return bytes_per_token(layers, self.kv_heads, self.head_dim, self.dtype, self.scales is not None)

    def write(self, layer: int, slots: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Stores k, v [M, kv_heads, D] in `slots` [M]."""
        for i, values in enumerate((k, v)):
            values = values.transpose(0, 1)
            if self.scales is not None:
                values, scales = encode(values)
                self.scales[layer, i].index_copy_(1, slots, scales)
            self.data[layer, i].index_copy_(1, slots, values.to(self.data.dtype))

    def read(self, layer: int, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V [n, D] at `rows` [n], where row heads[i] + slot belongs to head i of a slot."""
        k, v = self.data[layer].view(2, -1, self.head_dim).index_select(1, rows)
        if self.scales is None:
            return k, v
        scales = self.scales[layer].view(2, -1).index_select(1, rows)
        return decode(k, scales[0]), decode(v, scales[1])


def lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros. On the CPU their pages take no memory before they are written, so that a large cache costs nothing yet."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or not size or not hasattr(mmap, "MAP_PRIVATE"):
        return torch.zeros(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(shape)
