"""The tensors behind the slots: keys and values of all layers."""

import torch


class KVCache:
    """K and V as [layers, 2, (slots + 2) * kv_heads, head_dim]; a slot's heads are neighbouring rows.

    Two slots past the pool's: `zero` is never written and pads reads, `trash` takes writes that do not count.
    """

    def __init__(
        self, slots: int, layers: int, kv_heads: int, head_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.kv_heads = kv_heads
        self.head_dim = head_dim
        self.zero = slots
        self.trash = slots + 1
        shape = (layers, 2, (slots + 2) * kv_heads, head_dim)
        self._data = torch.zeros(shape, device=device, dtype=dtype)

    def write(self, layer: int, slots: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Stores k, v [M, kv_heads, D] in `slots` [M]."""
        width = self.kv_heads * self.head_dim
        for store, values in zip(self._data[layer], (k, v)):
            store.view(-1, width).index_copy_(0, slots, values.reshape(len(slots), width))

    def read(self, layer: int, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V [n, D] at `rows` [n], where row slot * kv_heads + head belongs to one head of a slot."""
        store = self._data[layer]
        return store[0].index_select(0, rows), store[1].index_select(0, rows)
