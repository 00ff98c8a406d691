"""Which projections of a checkpoint a decoder's layer computes by which of its products: what adapters are told by."""

from typing import NamedTuple

import torch

from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.rope import rotary_rows


class Target(NamedTuple):
    """A projection whose outputs are `first` .. `first` + `size` - 1 of a product, brought into an `order` if there is
    one."""

    name: str
    first: int
    size: int
    order: torch.Tensor | None = None


class Targets:
    """Those of one layer, product by product; of experts there are none."""

    def __init__(self, c: DecoderConfig, layer: int) -> None:
        attention, mlp = (f"model.layers.{layer}.{part}" for part in ("self_attn", "mlp"))
        q, kv, inner = c.heads * c.head_dim, c.kv_heads * c.head_dim, c.intermediate
        self.o = [Target(f"{attention}.o_proj", 0, c.hidden)]
        self.down = [Target(f"{mlp}.down_proj", 0, c.hidden)]
        if c.fused:
            self.qkv = [Target(f"{attention}.qkv_proj", 0, q + 2 * kv, qkv_order(c))]
            self.gate_up = [Target(f"{mlp}.gate_up_proj", 0, 2 * inner)]
            return
        parts = ((f"{attention}.q_proj", 0, q), (f"{attention}.k_proj", q, kv), (f"{attention}.v_proj", q + kv, kv))
        self.qkv = [Target(*part) for part in parts]
        self.gate_up = [Target(f"{mlp}.{name}_proj", first, inner) for name, first in (("gate", 0), ("up", inner))]


def qkv_order(c: DecoderConfig) -> torch.Tensor | None:
    """The order that rows of queries, keys and values are brought into; None if they stay as they are."""
    if c.rotary is None:
        return None
    turned = (c.heads + c.kv_heads) * c.head_dim
    return torch.cat(
        [
            rotary_rows(c.heads + c.kv_heads, c.head_dim, c.rotary),
            torch.arange(turned, turned + c.kv_heads * c.head_dim),
        ]
    )
