"""Small random checkpoints of every architecture, saved by transformers: the names and shapes are theirs."""

from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.backend.checkpoints import save_tokenizer, train_tokenizer

COMMON = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
GPT2 = {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
EVEN = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
"""Sides that are multiples of 64 take another path through the row scheme, the one of real models."""
ORIGINAL = {"original_max_position_embeddings": 64}
LONG = {"short_factor": [1.0, 1.1, 1.5, 2.0], "long_factor": [1.0, 2.0, 4.0, 6.0]}


def rope(kind: str, **entries: Any) -> dict[str, Any]:
    """Changes to a config."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **entries}}


QWEN_WINDOWS = {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1, "num_hidden_layers": 3}

CAPS = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 6.0}  # low enough to bend what small models give
GEMMA3 = {"head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 24}
QWEN3_MOE = {"num_experts": 12, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "head_dim": 8}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama3": (
        "llama",
        rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, **ORIGINAL)
        | {"tie_word_embeddings": True},
    ),
    "yarn": ("llama", rope("yarn", factor=4.0, **ORIGINAL)),
    "mistral": ("mistral", {"sliding_window": 24}),
    "qwen2": ("qwen2", QWEN_WINDOWS),
    "qwen3": ("qwen3", EVEN | {"tie_word_embeddings": True}),
    "gpt2": ("gpt2", {"vocab_size": 320, "n_embd": 64}),
    "mixtral": ("mixtral", {"num_local_experts": 4}),
    "qwen3_moe": ("qwen3_moe", QWEN3_MOE),
    "gemma2": ("gemma2", {"head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 24} | CAPS),
    "gemma3": ("gemma3_text", GEMMA3 | {"layer_types": ["sliding_attention", "full_attention"]}),
    "phi3": ("phi3", {"head_dim": 16, "sliding_window": 40} | rope("default", partial_rotary_factor=0.75)),
    "olmo2": ("olmo2", {"num_hidden_layers": 3}),
}
"""The ones that every test run looks at."""

MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("llama", rope("linear", factor=4.0)),
    "dynamic": ("llama", rope("dynamic", factor=2.0)),
    "longrope": ("llama", rope("longrope", factor=4.0, **LONG, **ORIGINAL)),
    "longrope-without-factor": ("llama", rope("longrope", **LONG, **ORIGINAL)),
    "yarn-mscale": ("llama", rope("yarn", factor=4.0, mscale=0.7, mscale_all_dim=1.2, truncate=False, **ORIGINAL)),
    "yarn-betas": ("qwen2", rope("yarn", factor=4.0, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3, **ORIGINAL)),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3}),
    "llama-wide-heads": ("llama", {"head_dim": 10, "num_key_value_heads": 1, "rope_parameters": {"rope_theta": 500.0}}),
    "llama-one-query-per-kv": ("llama", {"num_key_value_heads": 4, "num_hidden_layers": 3}),
    "mistral-no-window": ("mistral", {"sliding_window": None, "head_dim": 12}),
    "mistral-window-past-a-chunk": ("mistral", {"sliding_window": 70}),
    "mistral-yarn": ("mistral", {"sliding_window": 100} | rope("yarn", factor=2.0, **ORIGINAL)),
    "qwen2-no-window": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2-layer-types": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen3-odd": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "gpt2-odd": ("gpt2", {}),
    "mistral-even": ("mistral", EVEN | {"sliding_window": 24}),
    "qwen2-even": ("qwen2", EVEN | QWEN_WINDOWS),
    "qwen3-windows": ("qwen3", QWEN_WINDOWS | {"head_dim": 8}),
    "qwen3-biases": ("qwen3", {"attention_bias": True, "head_dim": 8} | rope("yarn", factor=4.0, **ORIGINAL)),
    "gpt2-odd-heads": ("gpt2", {"n_embd": 20}),
    "gpt2-inner": ("gpt2", {"n_inner": 40, "n_head": 2, "layer_norm_epsilon": 1e-3, "n_layer": 3}),
    "mixtral-window": ("mixtral", EVEN | {"sliding_window": 24, "num_experts_per_tok": 3}),
    "qwen3_moe-some": (
        "qwen3_moe",
        QWEN3_MOE | {"norm_topk_prob": True, "num_hidden_layers": 4, "decoder_sparse_step": 2, "mlp_only_layers": [3]},
    ),
    "gemma2-no-caps": (
        "gemma2",
        EVEN | dict.fromkeys(CAPS) | {"sliding_window": 70, "num_hidden_layers": 3},
    ),
    "gemma3-pattern": ("gemma3_text", GEMMA3 | {"num_hidden_layers": 7}),
    "gemma3-linear": (
        "gemma3_text",
        GEMMA3
        | {"layer_types": ["full_attention", "sliding_attention"] * 2, "num_hidden_layers": 4}
        | {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        },
    ),
    "phi3-longrope": (
        "phi3",
        {"num_key_value_heads": 4, **ORIGINAL} | rope("longrope", **LONG | ORIGINAL, partial_rotary_factor=1.0),
    ),
    "phi3-longrope-partial": (
        "phi3",
        {"hidden_size": 64, "tie_word_embeddings": True, **ORIGINAL}
        | rope("longrope", **LONG | ORIGINAL, partial_rotary_factor=0.5),
    ),
    "olmo2-even": ("olmo2", EVEN | {"num_key_value_heads": 4, "attention_bias": True}),
    "gpt2-untied": ("gpt2", {"tie_word_embeddings": False}),
}
"""The rest of what is supported; `EVERY` is both."""

EVERY = VARIANTS | MORE


def reference(name: str) -> Any:
    """A model of transformers, in float32, with random weights that depend on the name alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, changes = EVERY[name]
    config = AutoConfig.for_model(kind, **(GPT2 if kind == "gpt2" else COMMON) | changes)
    # No id ends a text here, so that every generation has its full length.
    config.bos_token_id = config.eos_token_id = config.pad_token_id = None
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    noise = torch.Generator().manual_seed(sum(name.encode()))
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=noise)
            if parameter.dim() > 1:
                parameter.copy_(drawn * 0.3)
            else:  # norms and biases
                parameter.copy_(parameter.round() + 0.1 * drawn)
    return model


def save(name: str, folder: Path, **options: Any) -> Path:
    """The checkpoint folder of a variant; `options` go to save_pretrained."""
    reference(name).save_pretrained(folder, **options)
    save_tokenizer(folder, _tokenizer())
    return folder


@cache
def _tokenizer() -> Any:
    return train_tokenizer(300)
