"""The decoder that Llama and its relatives share; what they differ in is in `DecoderConfig`.

Pre-norm layers of grouped-query attention with rotary positions and a gated SiLU feed-forward part
(Touvron et al., arXiv 2302.13971; Ainslie et al., arXiv 2305.13245).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch

from lampc.backend.errors import CheckpointError
from lampc.backend.models.checkpoint import Checkpoint, Projection
from lampc.backend.models.decoder_torch import TorchLayers
from lampc.backend.models.experts import ExpertWeights, Mixture, MlpWeights
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Attend
from lampc.backend.models.rope import Rope
from lampc.backend.native.decoder import NativeLayers


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of a model. `qk_norm`: queries and keys are normalised per head, before they are rotated."""

    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope: Rope
    windows: tuple[int | None, ...]
    tied: bool
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    mixtures: tuple[Mixture | None, ...] = ()

    def mixture(self, layer: int) -> Mixture | None:
        """The experts of a layer; None if it has a feed-forward part like others."""
        return self.mixtures[layer] if self.mixtures else None

    @classmethod
    def read(cls, fields: Fields, context: int | None, head_dim: int | None = None) -> "DecoderConfig":
        """What all config.json of this family say alike; `head_dim` is what it is if the file does not say.

        Raises CheckpointError, Unsupported or ValueError.
        """
        fields.only("hidden_act", "silu")
        heads, hidden = fields.count("num_attention_heads"), fields.count("hidden_size")
        kv_heads = fields.count("num_key_value_heads", heads)
        dim = fields.count("head_dim", head_dim or max(1, hidden // heads))
        if heads % kv_heads or dim % 2:
            raise CheckpointError(
                f"{fields.path}: {heads} heads, {kv_heads} kv heads, head_dim {dim}; "
                "heads must be a multiple of kv heads and head_dim even"
            )
        layers = fields.count("num_hidden_layers")
        return cls(
            vocab_size=fields.count("vocab_size"),
            hidden=hidden,
            intermediate=fields.count("intermediate_size"),
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=dim,
            norm_eps=fields.number("rms_norm_eps", 1e-6),
            rope=Rope.read(fields, dim, context),
            windows=(None,) * layers,
            tied=fields.flag("tie_word_embeddings"),
        )


class LayerWeights(NamedTuple):
    """Projections are weights [N, K] with biases [N]."""

    norm: torch.Tensor
    qkv: Projection  # [(heads + 2 kv_heads) * D, hidden]
    qk_norm: torch.Tensor | None  # [heads + kv_heads, D]
    o: Projection
    mlp_norm: torch.Tensor
    mlp: MlpWeights | ExpertWeights


class DecoderWeights(NamedTuple):
    """`cos` and `sin` [context, D / 2] in float32. `layers` is read once, so that not all need be held twice."""

    embed: torch.Tensor  # [vocab, hidden]
    layers: Iterable[LayerWeights]
    norm: torch.Tensor
    head: Projection  # [vocab, hidden]
    cos: torch.Tensor
    sin: torch.Tensor


class Layers(Protocol):
    """What computes a decoder's layers, all but their attention: torch, or native kernels."""

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "Pass":
        """Looks up the embeddings of ids [M]."""
        ...


class Pass(Protocol):
    """One forward pass of M rows. The methods of each layer are called in turn, layer after layer."""

    def attended(self, layer: int, attend: Attend) -> torch.Tensor:
        """What attention gives, [M, heads, D], for queries and keys normalised if the model says so, and rotated."""
        ...

    def finish(self, layer: int, mixed: torch.Tensor) -> None:
        """Takes what attention gave, [M, heads, D], through output projection and feed-forward part."""
        ...

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        ...

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], the first of equals, and that logit, float32 [n].

        NaN counts as the largest.
        """
        ...


class Decoder:
    """Weights and forward pass; see `lampc.backend.models.registry.Model`. Subclasses read their config."""

    def __init__(self, config: DecoderConfig, source: Checkpoint) -> None:
        c = self.config = config
        self.vocab_size, self.context_length = c.vocab_size, c.rope.context
        self.layers, self.heads, self.kv_heads, self.head_dim = c.layers, c.heads, c.kv_heads, c.head_dim
        self.windows = c.windows
        source.weights.ignore(r".*\.rotary_emb\.inv_freq")
        name = "model.embed_tokens.weight"
        embed = source.tensor(name, c.vocab_size, c.hidden)
        layers = (self._layer(source, i) for i in range(c.layers))
        norm = source.tensor("model.norm.weight", c.hidden)
        head = source.output("lm_head.weight", name, embed, c.tied)
        self._compute = _layers(c, DecoderWeights(embed, layers, norm, head, *c.rope.tables(source.device)), source)

    @classmethod
    def load(cls, source: Checkpoint) -> Self:
        """Builds the model. Raises CheckpointError, Unsupported or ValueError."""
        return cls(cls.read(source.fields, source.context_length), source)

    @classmethod
    def read(cls, fields: Fields, context: int | None) -> DecoderConfig:
        """The architecture's config. Raises CheckpointError, Unsupported or ValueError."""
        raise NotImplementedError

    def _layer(self, source: Checkpoint, layer: int) -> LayerWeights:
        c, at = self.config, f"model.layers.{layer}"
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        attention = f"{at}.self_attn"
        qkv = {f"{attention}.q_proj": q, f"{attention}.k_proj": kv, f"{attention}.v_proj": kv}
        qk_norm = None
        if c.qk_norm:
            one = [source.tensor(f"{attention}.{name}_norm.weight", c.head_dim) for name in "qk"]
            qk_norm = torch.cat([one[0].expand(c.heads, -1), one[1].expand(c.kv_heads, -1)])
        return LayerWeights(
            norm=source.tensor(f"{at}.input_layernorm.weight", c.hidden),
            qkv=source.projection(qkv, c.hidden, c.qkv_bias),
            qk_norm=qk_norm,
            o=source.projection({f"{attention}.o_proj": c.hidden}, q, c.o_bias),
            mlp_norm=source.tensor(f"{at}.post_attention_layernorm.weight", c.hidden),
            mlp=self._feed(source, at, c.mixture(layer)),
        )

    def _feed(self, source: Checkpoint, at: str, mixture: Mixture | None) -> MlpWeights | ExpertWeights:
        c = self.config

        def mlp(at: str, names: tuple[str, str, str], inner: int, bias: bool) -> MlpWeights:
            gate, up, down = (f"{at}.{name}" for name in names)
            gate_up = source.projection({gate: inner, up: inner}, c.hidden, bias)
            return MlpWeights(gate_up, source.projection({down: c.hidden}, inner, bias))

        if mixture is None:
            return mlp(f"{at}.mlp", ("gate_proj", "up_proj", "down_proj"), c.intermediate, c.mlp_bias)
        m, at = mixture, f"{at}.{mixture.place}"
        router = source.tensor(f"{at}.gate.weight", m.count, c.hidden)
        experts = (mlp(f"{at}.experts.{i}", m.names, m.intermediate, False) for i in range(m.count))
        return ExpertWeights(m, router, experts)

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> torch.Tensor:
        """Logits [n, vocab], float32, of `rows`; see `lampc.backend.models.registry.Model`."""
        return self._run(ids, positions, attend).logits(rows)

    def likeliest(
        self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids [n] and logits [n] of the likeliest; see `lampc.backend.models.registry.Greedy`."""
        return self._run(ids, positions, attend).likeliest(rows)

    def _run(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> Pass:
        run = self._compute.start(ids, positions)
        for i in range(self.layers):
            run.finish(i, run.attended(i, attend))
        return run


def _layers(config: DecoderConfig, weights: DecoderWeights, source: Checkpoint) -> Layers:
    if source.rows.triton:
        from lampc.backend.kernels.decoder import TritonLayers  # nobody else pays for triton

        return TritonLayers(config, weights, source.rows)
    kernels, memory = source.rows.native, source.rows.memory
    if kernels is None or memory is None:
        return TorchLayers(config, weights, source.rows)
    return NativeLayers(config, weights, kernels, memory, source.rows.int8)
