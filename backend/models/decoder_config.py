"""What Llama and its relatives differ in."""

from collections.abc import Mapping
from dataclasses import dataclass

from lampc.backend.errors import CheckpointError
from lampc.backend.models.experts import Mixture
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Activation
from lampc.backend.models.rope import Rope

SILU: Mapping[str, Activation] = {"silu": "silu"}


@dataclass(frozen=True, slots=True)
class Norms:
    """A layer's norms: their names, None where there is none. Those after a part are of what it gives.

    `offset` is added to the weights. `wide`: weights multiply in float32, and what comes out is rounded; else values
    are rounded before they meet the weight.
    """

    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_feed: str | None = "post_attention_layernorm"
    after_feed: str | None = None
    offset: float = 0.0
    wide: bool = False


AROUND = Norms("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
"""Before and after both parts of a layer."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Shape of a model.

    `qk_norm`: queries and keys are normalised, before they are rotated: each head by itself, or with `qk_joint` all of
    a row's together. `mixtures`: the experts of layers that have some. `embed_scale` multiplies embeddings. Scores are
    q . k / sqrt(`score_divisor`, the head size if None); `score_cap` and `logit_cap` are soft (see
    `lampc.backend.scores`). Layers that are `local` rotate by `local_rope`. `rotary` values of each head are rotated,
    all if None. `fused`: q, k and v are one tensor of the checkpoint, and so are gate and up.
    """

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
    norms: Norms = Norms()
    qk_joint: bool = False
    activation: Activation = "silu"
    embed_scale: float = 1.0
    score_divisor: float | None = None
    score_cap: float | None = None
    logit_cap: float | None = None
    local_rope: Rope | None = None
    local: tuple[bool, ...] = ()
    rotary: int | None = None
    fused: bool = False

    def mixture(self, layer: int) -> Mixture | None:
        """The experts of a layer; None if it has a feed-forward part like others."""
        return self.mixtures[layer] if self.mixtures else None

    def is_local(self, layer: int) -> bool:
        """Whether the layer rotates by `local_rope`."""
        return self.local_rope is not None and self.local[layer]

    @classmethod
    def read(
        cls,
        fields: Fields,
        context: int | None,
        head_dim: int | None = None,
        activations: Mapping[str, Activation] = SILU,
        act_name: str = "hidden_act",
        rope: Rope | None = None,
        tied: bool = False,
    ) -> "DecoderConfig":
        """What all config.json of this family say alike; `head_dim` and `tied` are what they are if the file does not
        say. `rope` is read from the file if it is not given.

        Raises CheckpointError, Unsupported or ValueError.
        """
        fields.only(act_name, *activations)
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
            rope=rope or Rope.read(fields, dim, context),
            windows=(None,) * layers,
            tied=fields.flag("tie_word_embeddings", tied),
            activation=activations.get(fields.values.get(act_name) or "", next(iter(activations.values()))),
        )
