"""The Llama architecture (and Mistral's and Qwen2's, which differ in their config only).

Pre-norm decoder with rotary embeddings, grouped-query attention and a gated SiLU feed-forward layer
(Touvron et al., arXiv 2302.13971; Ainslie et al., arXiv 2305.13245).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from lampc.backend.models.config import LlamaConfig
from lampc.backend.models.layers import rms_norm, rope_tables, rotate
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights

if TYPE_CHECKING:
    from lampc.backend.models.registry import Attend

Bias = torch.Tensor | None


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: torch.Tensor
    qkv: torch.Tensor  # [(heads + 2 kv_heads) * D, hidden]
    qkv_bias: Bias
    o: torch.Tensor
    o_bias: Bias
    mlp_norm: torch.Tensor
    gate_up: torch.Tensor  # [2 * intermediate, hidden]
    gate_up_bias: Bias
    down: torch.Tensor
    down_bias: Bias


class Llama:
    """Weights and forward pass; see `lampc.backend.models.registry.Model`."""

    def __init__(
        self,
        config: LlamaConfig,
        embed: torch.Tensor,
        layers: list[_Layer],
        norm: torch.Tensor,
        head: torch.Tensor,
        rows: Rows,
    ) -> None:
        self.config = config
        self.vocab_size = config.vocab_size
        self.layers = config.layers
        self.heads = config.heads
        self.kv_heads = config.kv_heads
        self.head_dim = config.head_dim
        self.context_length = config.context_length
        self.windows: tuple[int | None, ...] = (None,) * config.layers
        self._embed = embed
        self._layers = layers
        self._norm = norm
        self._head = head
        self._rows = rows
        self._cos, self._sin = rope_tables(config, embed.device)

    @classmethod
    def load(
        cls,
        config: dict[str, Any],
        weights: Weights,
        *,
        path: Path,
        device: torch.device,
        dtype: torch.dtype,
        rows: Rows,
    ) -> "Llama":
        """Builds the model. Raises CheckpointError or Unsupported."""
        c = LlamaConfig.parse(config, path)

        def get(name: str, *shape: int) -> torch.Tensor:
            return weights.get(name, shape, device, dtype)

        def pack(prefix: str, parts: dict[str, int], width: int, biased: bool) -> tuple[torch.Tensor, Bias]:
            """Projections that share their input, as one matrix."""
            matrix = torch.cat([get(f"{prefix}.{part}.weight", rows, width) for part, rows in parts.items()])
            if not biased:
                return matrix, None
            return matrix, torch.cat([get(f"{prefix}.{part}.bias", rows) for part, rows in parts.items()])

        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        layers = []
        for i in range(c.layers):
            at = f"model.layers.{i}"
            qkv = {"q_proj": q, "k_proj": kv, "v_proj": kv}
            mlp = {"gate_proj": c.intermediate, "up_proj": c.intermediate}
            layers.append(
                _Layer(
                    get(f"{at}.input_layernorm.weight", c.hidden),
                    *pack(f"{at}.self_attn", qkv, c.hidden, c.qkv_bias),
                    *pack(f"{at}.self_attn", {"o_proj": c.hidden}, q, c.o_bias),
                    get(f"{at}.post_attention_layernorm.weight", c.hidden),
                    *pack(f"{at}.mlp", mlp, c.hidden, c.mlp_bias),
                    *pack(f"{at}.mlp", {"down_proj": c.hidden}, c.intermediate, c.mlp_bias),
                )
            )
        embed = get("model.embed_tokens.weight", c.vocab_size, c.hidden)
        head = embed if c.tied else get("lm_head.weight", c.vocab_size, c.hidden)
        return cls(c, embed, layers, get("model.norm.weight", c.hidden), head, rows)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: "Attend", rows: torch.Tensor) -> torch.Tensor:
        """Logits [n, vocab], float32, of `rows`; see `lampc.backend.models.registry.Model`."""
        c, linear = self.config, self._rows.linear
        x = self._embed[ids]
        cos = self._cos[positions].unsqueeze(1).to(x.dtype)
        sin = self._sin[positions].unsqueeze(1).to(x.dtype)
        for i, layer in enumerate(self._layers):
            qkv = linear(rms_norm(x, layer.norm, c.norm_eps), layer.qkv, layer.qkv_bias)
            heads = qkv.view(len(ids), c.heads + 2 * c.kv_heads, c.head_dim)
            turned = rotate(heads[:, : c.heads + c.kv_heads], cos, sin)
            mixed = attend(i, turned[:, : c.heads], turned[:, c.heads :], heads[:, c.heads + c.kv_heads :])
            x = x + linear(mixed.reshape(len(ids), -1), layer.o, layer.o_bias)
            gate_up = linear(rms_norm(x, layer.mlp_norm, c.norm_eps), layer.gate_up, layer.gate_up_bias)
            gate, up = gate_up[:, : c.intermediate], gate_up[:, c.intermediate :]
            x = x + linear(functional.silu(gate.contiguous()) * up, layer.down, layer.down_bias)
        count = len(rows)
        wanted = torch.zeros(self._rows.padded(count), dtype=torch.int64, device=x.device)
        wanted[:count] = rows
        return linear(rms_norm(x[wanted], self._norm, c.norm_eps), self._head)[:count].float()
