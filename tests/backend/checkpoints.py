"""Small random checkpoints, in the format of Hugging Face folders, made on the spot."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from lampc.backend.chat import CHAT_TEMPLATE

MARKERS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CORPUS = [
    "the cat sat on the mat and saw the red hat",
    "Question: who wrote it? Answer: nobody knows, 12 + 30 = 42!",
    "def f(x):\n    return x * 2\n",
    "naïve café, 中文字 and so on",
]


def train_tokenizer(vocab_size: int = 300, add_prefix_space: bool = False) -> Tokenizer:
    """A byte-level BPE tokenizer with the chat markers as special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in MARKERS])
    return tokenizer


def save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """tokenizer.json and tokenizer_config.json with the chat template."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def llama_config(**changes: Any) -> dict[str, Any]:
    """config.json of a tiny Llama."""
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
    }
    config.update(changes)
    return config


def llama_tensors(config: dict[str, Any], seed: int = 0, scale: float = 0.3) -> dict[str, torch.Tensor]:
    """Random weights under the names of the Hugging Face format."""
    noise = torch.Generator().manual_seed(seed)
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}"
        shapes[f"{at}.self_attn.q_proj.weight"] = (q, hidden)
        shapes[f"{at}.self_attn.k_proj.weight"] = (kv, hidden)
        shapes[f"{at}.self_attn.v_proj.weight"] = (kv, hidden)
        shapes[f"{at}.self_attn.o_proj.weight"] = (hidden, q)
        if config["attention_bias"]:
            shapes[f"{at}.self_attn.q_proj.bias"] = (q,)
            shapes[f"{at}.self_attn.k_proj.bias"] = (kv,)
            shapes[f"{at}.self_attn.v_proj.bias"] = (kv,)
            shapes[f"{at}.self_attn.o_proj.bias"] = (hidden,)
        for name in ("gate_proj", "up_proj"):
            shapes[f"{at}.mlp.{name}.weight"] = (inner, hidden)
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, inner)
    tensors = {name: torch.randn(shape, generator=noise) * scale for name, shape in shapes.items()}
    norms = [f"model.layers.{i}.{n}.weight" for i in range(config["num_hidden_layers"]) for n in _NORMS]
    for name in [*norms, "model.norm.weight"]:
        tensors[name] = 1.0 + 0.1 * torch.randn(hidden, generator=noise)
    return tensors


_NORMS = ("input_layernorm", "post_attention_layernorm")


def save_checkpoint(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A whole checkpoint folder of a tiny random Llama."""
    folder.mkdir(parents=True, exist_ok=True)
    config = llama_config(**changes)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(llama_tensors(config, seed), folder / "model.safetensors")
    save_tokenizer(folder, train_tokenizer(config["vocab_size"]))
    return folder
