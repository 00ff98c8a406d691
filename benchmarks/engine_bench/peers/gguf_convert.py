"""A checkpoint folder to GGUF: `python gguf_convert.py FOLDER FILE`. Qwen2 and Llama, without the tokenizer.

Norms and biases become float32, as llama.cpp wants them; matrices stay what they are. llama.cpp rotates pairs of
neighbours for "llama" (q and k rows are reordered for that) and halves of a head for "qwen2".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np

_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def tensors(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Name to (dtype, values) of a safetensors file; bfloat16 as uint16, which numpy has no type for."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    kinds = {"BF16": np.uint16, "F32": np.float32, "F16": np.float16}
    out = {}
    for name, about in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            values = np.frombuffer(raw[8 + size + begin : 8 + size + end], kinds[about["dtype"]])
            out[name] = (about["dtype"], values.reshape(about["shape"]))
    return out


def as_float(kind: str, values: np.ndarray) -> np.ndarray:
    """float32 of a tensor."""
    if kind == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def renamed(name: str) -> str:
    """GGUF's name of a tensor."""
    stem, _, kind = name.rpartition(".")
    if stem in _TOP:
        return f"{_TOP[stem]}.{kind}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{_NAMES[rest]}.{kind}"


def neighbours(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k, halves of each head interleaved."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def convert(folder: Path, file: Path, wide: bool) -> None:
    """Writes `file`; with `wide` all tensors are float32."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    arch = config["model_type"]
    if arch not in ("qwen2", "llama"):
        raise ValueError(f"{arch} is not converted; only qwen2 and llama are")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    part = file.with_suffix(".part")
    out = gguf.GGUFWriter(part, arch)
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(head_dim)
    out.add_value_length(head_dim)
    out.add_rope_dimension_count(head_dim)
    out.add_rope_freq_base(config["rope_theta"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    out.add_tokenizer_model("none")
    for name, (kind, values) in tensors(folder / "model.safetensors").items():
        projection = next((p for p in ("q_proj", "k_proj") if p in name), None)
        if arch == "llama" and projection is not None:
            values = neighbours(values, heads if projection == "q_proj" else kv_heads)
        if values.ndim == 1 or wide or kind == "F32":
            out.add_tensor(renamed(name), as_float(kind, values))
        elif kind == "BF16":
            raw = np.ascontiguousarray(values).view(np.uint8)
            out.add_tensor(renamed(name), raw, raw_shape=raw.shape, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            out.add_tensor(renamed(name), np.ascontiguousarray(values))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    part.replace(file)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), wide="--float32" in sys.argv)
