"""A Llama written for training on a small machine.

Parameter names are those of a Hugging Face ``LlamaForCausalLM`` folder, so an
export is a plain dump.  Attention is two batched products and an additive
mask: at this head size that is almost twice as fast on a CPU as the fused
kernel with its backward pass.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firefly.tokenizer import VOCAB_SIZE

EMBED_STD = 0.1
"""Loud enough to be heard behind the first layers, which are trained with steps of a fixed size."""


@dataclass(frozen=True)
class Shape:
    """The size of the network; the defaults are those of the shipped weights."""

    vocab: int = VOCAB_SIZE
    hidden: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 448
    eps: float = 1e-5
    theta: float = 10000.0
    positions: int = 2048

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return asdict(self)


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        wide, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, wide, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.o_proj = nn.Linear(wide, shape.hidden, bias=False)
        self.gate_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.down_proj = nn.Linear(shape.ffn, shape.hidden, bias=False)
        self.input_norm = nn.Parameter(torch.ones(shape.hidden))
        self.post_norm = nn.Parameter(torch.ones(shape.hidden))

    def forward(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """``x`` is (batch, length, hidden); ``mask`` is added to the scores of a folded head group."""
        shape = self.shape
        batch, length, _ = x.shape
        h = rms_norm(x, self.input_norm, shape.eps)
        q = self.q_proj(h).view(batch, length, shape.heads, shape.head_dim).transpose(1, 2)
        k = self.k_proj(h).view(batch, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
        v = self.v_proj(h).view(batch, length, shape.kv_heads, shape.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = shape.heads // shape.kv_heads
        q = q.reshape(batch * shape.kv_heads, group * length, shape.head_dim)
        k = k.reshape(batch * shape.kv_heads, length, shape.head_dim)
        v = v.reshape(batch * shape.kv_heads, length, shape.head_dim)
        scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=1 / math.sqrt(shape.head_dim))
        out = torch.bmm(torch.softmax(scores, dim=-1).to(v.dtype), v)
        out = out.view(batch, shape.heads, length, shape.head_dim).transpose(1, 2)
        x = x + self.o_proj(out.reshape(batch, length, -1))
        h = rms_norm(x, self.post_norm, shape.eps)
        return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))  # type: ignore[no-any-return]


class Firefly(nn.Module):
    """The whole network; the output embedding is the input embedding."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Parameter(torch.empty(shape.vocab, shape.hidden))
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.norm = nn.Parameter(torch.ones(shape.hidden))
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.embed, std=EMBED_STD, generator=generator)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and name != "embed":
                small = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = (0.3 if small else 0.7) / math.sqrt(weight.shape[1])
                nn.init.normal_(weight, std=std, generator=generator)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Final hidden states; logits are taken only where the loss needs them."""
        cos, sin = rope(positions, self.shape)
        x = F.embedding(ids, self.embed)
        batch, _, length, _ = mask.shape
        group = self.shape.heads // self.shape.kv_heads
        mask = mask.expand(batch, self.shape.heads, length, length)
        mask = mask.reshape(batch * self.shape.kv_heads, group * length, length)
        for block in self.blocks:
            x = block(x, mask, cos, sin)
        return rms_norm(x, self.norm, self.shape.eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square normalisation in float32."""
    return F.rms_norm(x.float(), (x.shape[-1],), weight, eps)


def rope(positions: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles, (batch, 1, length, head_dim / 2)."""
    half = torch.arange(0, shape.head_dim, 2, device=positions.device).float() / shape.head_dim
    angles = positions.float()[:, None, :, None] * (1.0 / shape.theta**half)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding in the half-split order of Llama."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def hf_references(model: Firefly) -> dict[str, Tensor]:
    """The parameters under the names that Hugging Face gives them."""
    names = {
        "input_norm": "input_layernorm.weight",
        "post_norm": "post_attention_layernorm.weight",
    }
    tensors: dict[str, Tensor] = {"model.embed_tokens.weight": model.embed, "model.norm.weight": model.norm}
    for index, block in enumerate(model.blocks):
        for name, weight in block.named_parameters():
            if name in names:
                target = names[name]
            elif name.startswith(("gate", "up", "down")):
                target = f"mlp.{name}"
            else:
                target = f"self_attn.{name}"
            tensors[f"model.layers.{index}.{target}"] = weight
    return tensors


def hf_tensors(model: Firefly, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """The weights as they are stored."""
    references = hf_references(model)
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in references.items()}


def hf_config(shape: Shape, pad: int, end: int) -> dict[str, Any]:
    """The ``config.json`` of the exported folder."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.theta,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
        "torch_dtype": "bfloat16",
    }
