"""A model of the shape of Qwen2.5-0.5B with random weights, and a tokenizer trained on Python's own sources.

    python -m engine_bench.model [--small] [--folder DIR]

386.6 M parameters (vocabulary 32,000, tied) in bfloat16. The weights come from a seed, so every machine makes the same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from engine_bench import cache

QWEN = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
}
SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
}
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def config(shape: dict[str, int]) -> dict[str, Any]:
    """config.json of a Qwen2 of this shape."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        **shape,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "torch_dtype": "bfloat16",
    }


def make(folder: Path, shape: dict[str, int]) -> Path:
    """Writes the checkpoint if it is not there whole; returns its folder."""
    done = folder / "done.json"
    if done.exists() and json.loads(done.read_text(encoding="utf-8")) == shape:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"  making the model in {folder} ...", flush=True)
    (folder / "config.json").write_text(json.dumps(config(shape), indent=2), encoding="utf-8")
    generation = {"bos_token_id": 0, "eos_token_id": 2, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    _tokenizer(folder, shape["vocab_size"])
    _weights(folder / "model.safetensors", shape)
    done.write_text(json.dumps(shape), encoding="utf-8")
    return folder


def qwen() -> Path:
    """The benchmark's model, made when first asked for."""
    return make(cache.folder("models") / "qwen-0.5b-random", QWEN)


def _weights(path: Path, shape: dict[str, int]) -> None:
    import torch
    from safetensors.torch import save_file

    noise = torch.Generator().manual_seed(2025)
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    head_dim = hidden // shape["num_attention_heads"]
    kv = shape["num_key_value_heads"] * head_dim

    def normal(*size: int, std: float) -> torch.Tensor:
        return (torch.randn(size, generator=noise) * std).to(torch.bfloat16)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return normal(rows, columns, std=columns**-0.5)

    def near_one() -> torch.Tensor:
        return (1 + 0.1 * torch.randn(hidden, generator=noise)).to(torch.bfloat16)

    out = {"model.embed_tokens.weight": normal(shape["vocab_size"], hidden, std=0.05)}
    for i in range(shape["num_hidden_layers"]):
        at = f"model.layers.{i}"
        out[f"{at}.input_layernorm.weight"] = near_one()
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            out[f"{at}.self_attn.{name}_proj.weight"] = matrix(rows, hidden)
            out[f"{at}.self_attn.{name}_proj.bias"] = normal(rows, std=0.1)
        out[f"{at}.self_attn.o_proj.weight"] = matrix(hidden, hidden)
        out[f"{at}.post_attention_layernorm.weight"] = near_one()
        out[f"{at}.mlp.gate_proj.weight"] = matrix(inner, hidden)
        out[f"{at}.mlp.up_proj.weight"] = matrix(inner, hidden)
        out[f"{at}.mlp.down_proj.weight"] = matrix(hidden, inner)
    # Signs at random: with tied embeddings the last token would otherwise predict itself for ever.
    signs = torch.randint(0, 2, (hidden,), generator=noise) * 2 - 1
    out["model.norm.weight"] = (2.0 * signs).to(torch.bfloat16)
    save_file(out, path, metadata={"format": "pt"})


def _tokenizer(folder: Path, vocab: int) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((p.read_text(encoding="utf-8", errors="replace") for p in sources), trainer)
    missing = vocab - tokenizer.get_vocab_size(with_added_tokens=True)
    tokenizer.add_tokens([f"<|unused_{i}|>" for i in range(missing)])
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 4096,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": _TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a model for trying things out")
    parser.add_argument("--folder", type=Path, help="where to; the user's cache if left out")
    args = parser.parse_args()
    shape, name = (SMALL, "small-random") if args.small else (QWEN, "qwen-0.5b-random")
    print(make(args.folder or cache.folder("models") / name, shape))


if __name__ == "__main__":
    main()
