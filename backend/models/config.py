"""The fields of a Llama-like `config.json` that matter, checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampc.backend.errors import CheckpointError, Unsupported


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched; `kind` is "linear" or "llama3"."""

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Shape of a model. `qkv_bias`, `o_bias` and `mlp_bias` say which projections have a bias."""

    vocab_size: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None
    tied: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool

    @classmethod
    def parse(cls, config: dict[str, Any], path: Path) -> "LlamaConfig":
        """From parsed JSON; `path` is for messages. Raises CheckpointError or Unsupported."""

        def need(name: str) -> int:
            value = config.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CheckpointError(f"{path}: {name} is {value!r}; expected a positive integer")
            return value

        if config.get("hidden_act", "silu") != "silu":
            raise Unsupported(f"{path}: hidden_act {config['hidden_act']!r}; only 'silu' is supported")
        heads = need("num_attention_heads")
        hidden = need("hidden_size")
        kv_heads = config.get("num_key_value_heads") or heads
        head_dim = config.get("head_dim") or hidden // heads
        context = need("max_position_embeddings")
        if heads % kv_heads or head_dim % 2:
            raise CheckpointError(
                f"{path}: {heads} heads, {kv_heads} kv heads, head_dim {head_dim}; "
                "heads must be a multiple of kv heads and head_dim even"
            )
        window = config.get("sliding_window")
        if window is not None and window < context and config.get("use_sliding_window", True):
            raise Unsupported(
                f"{path}: sliding_window {window} is shorter than the context of {context}; "
                "lower max_position_embeddings to the window to use this checkpoint"
            )
        qwen = (config.get("architectures") or [""])[0] == "Qwen2ForCausalLM"
        bias = bool(config.get("attention_bias", False))
        rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
        return cls(
            vocab_size=need("vocab_size"),
            hidden=hidden,
            intermediate=need("intermediate_size"),
            layers=need("num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context_length=context,
            norm_eps=float(config.get("rms_norm_eps", 1e-6)),
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
            rope_scaling=_rope_scaling(rope, path),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=bias or qwen,
            o_bias=bias,
            mlp_bias=bool(config.get("mlp_bias", False)),
        )


def _rope_scaling(rope: dict[str, Any], path: Path) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind not in ("linear", "llama3"):
        raise Unsupported(f"{path}: rope scaling {kind!r}; supported are 'default', 'linear' and 'llama3'")
    try:
        if kind == "linear":
            return RopeScaling(kind, float(rope["factor"]))
        return RopeScaling(
            kind,
            float(rope["factor"]),
            float(rope["low_freq_factor"]),
            float(rope["high_freq_factor"]),
            int(rope["original_max_position_embeddings"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: rope scaling {kind!r} lacks or misspells {error}") from error
