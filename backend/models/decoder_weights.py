"""A decoder's weights, and how they are read from a checkpoint."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch

from lampc.backend.models.checkpoint import Checkpoint, Projection
from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.experts import ExpertWeights, Mixture, MlpWeights
from lampc.backend.models.targets import qkv_order
from lampc.backend.models.weights import Weights


class LayerWeights(NamedTuple):
    """Projections are weights [N, K] with biases [N]; norms [hidden], float32 where they multiply in float32."""

    norm: torch.Tensor | None
    qkv: Projection  # [(heads + 2 kv_heads) * D, hidden]
    qk_norm: torch.Tensor | None  # [heads + kv_heads, D]
    o: Projection
    mlp_norm: torch.Tensor | None
    mlp: MlpWeights | ExpertWeights
    after_norm: torch.Tensor | None = None  # of what attention's projection gives
    after_mlp_norm: torch.Tensor | None = None


class DecoderWeights(NamedTuple):
    """`cos` and `sin` [context, D / 2] in float32; `local` are those of layers that are local, if there are some.
    `layers` is read once, so that not all need be held twice."""

    embed: torch.Tensor  # [vocab, hidden]
    layers: Iterable[LayerWeights]
    norm: torch.Tensor
    head: Projection  # [vocab, hidden]
    cos: torch.Tensor
    sin: torch.Tensor
    local: tuple[torch.Tensor, torch.Tensor] | None = None


def read_weights(c: DecoderConfig, source: Checkpoint) -> DecoderWeights:
    """Raises CheckpointError or Unsupported."""
    source.weights.ignore(r".*\.rotary_emb\.inv_freq")
    name = "model.embed_tokens.weight"
    embed = source.tensor(name, c.vocab_size, c.hidden)
    norm = read_norm(c, source, "model.norm", c.hidden)
    head = source.output("lm_head.weight", name, embed, c.tied)
    local = None if c.local_rope is None else c.local_rope.tables(source.device)
    layers = (_layer(c, source, i) for i in range(c.layers))
    return DecoderWeights(embed, layers, norm, head, *c.rope.tables(source.device), local)


class _Place(Protocol):
    @property
    def weights(self) -> Weights: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...


def read_norm(c: DecoderConfig, source: _Place, name: str, size: int) -> torch.Tensor:
    """The weight [size] of a norm, as it multiplies. Raises CheckpointError or Unsupported."""
    dtype = torch.float32 if c.norms.wide else source.dtype
    weight = source.weights.get(f"{name}.weight", (size,), source.device, dtype)
    return weight + c.norms.offset if c.norms.offset else weight


def layer_norms(c: DecoderConfig, source: _Place, at: str) -> list[torch.Tensor | None]:
    """Those of a layer, in the order of `Norms`."""
    n = c.norms
    names = n.before_attention, n.after_attention, n.before_feed, n.after_feed
    return [None if name is None else read_norm(c, source, f"{at}.{name}", c.hidden) for name in names]


def head_norms(c: DecoderConfig, source: _Place, at: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Of queries and of keys, [1, D], or [heads, D] and [kv_heads, D] if they are normalised together."""
    if not c.qk_norm:
        return None
    heads, kv_heads = (c.heads, c.kv_heads) if c.qk_joint else (1, 1)
    q, k = (read_norm(c, source, f"{at}.{x}_norm", n * c.head_dim) for x, n in (("q", heads), ("k", kv_heads)))
    return q.view(heads, -1), k.view(kv_heads, -1)


def _layer(c: DecoderConfig, source: Checkpoint, layer: int) -> LayerWeights:
    at = f"model.layers.{layer}"
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    attention = f"{at}.self_attn"
    qkv = {f"{attention}.q_proj": q, f"{attention}.k_proj": kv, f"{attention}.v_proj": kv}
    if c.fused:
        qkv = {f"{attention}.qkv_proj": q + 2 * kv}
    weight, bias = source.projection(qkv, c.hidden, c.qkv_bias)
    if (order := qkv_order(c)) is not None:
        weight, bias = weight[order], None if bias is None else bias[order]
    qk_norm = None
    if (found := head_norms(c, source, attention)) is not None:
        qk_norm = torch.cat([found[0].expand(c.heads, -1), found[1].expand(c.kv_heads, -1)])
    norm, after_norm, mlp_norm, after_mlp_norm = layer_norms(c, source, at)
    return LayerWeights(
        norm=norm,
        qkv=(weight, bias),
        qk_norm=qk_norm,
        o=source.projection({f"{attention}.o_proj": c.hidden}, q, c.o_bias),
        mlp_norm=mlp_norm,
        mlp=_feed(c, source, at, c.mixture(layer)),
        after_norm=after_norm,
        after_mlp_norm=after_mlp_norm,
    )


def _feed(c: DecoderConfig, source: Checkpoint, at: str, mixture: Mixture | None) -> MlpWeights | ExpertWeights:
    def mlp(names: list[str], down: str, inner: int, bias: bool) -> MlpWeights:
        gate_up = source.projection({name: 2 * inner // len(names) for name in names}, c.hidden, bias)
        return MlpWeights(gate_up, source.projection({down: c.hidden}, inner, bias))

    if mixture is None:
        names = ["gate_up_proj"] if c.fused else ["gate_proj", "up_proj"]
        return mlp([f"{at}.mlp.{name}" for name in names], f"{at}.mlp.down_proj", c.intermediate, c.mlp_bias)
    m, at = mixture, f"{at}.{mixture.place}"
    router = source.tensor(f"{at}.gate.weight", m.count, c.hidden)

    def expert(number: int) -> MlpWeights:
        gate, up, down = (f"{at}.experts.{number}.{name}" for name in m.names)
        return mlp([gate, up], down, m.intermediate, False)

    return ExpertWeights(m, router, (expert(i) for i in range(m.count)))
