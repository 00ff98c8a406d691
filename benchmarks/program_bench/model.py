"""The model that programs are timed on: random weights of a shape that two cores run, the bundled model's tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from engine_bench import cache
from engine_bench.model import _weights, config

from lampc.runtime.pool import firefly_folder

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2880,
}
CONTEXT = 16384


def folder() -> Path:
    """The checkpoint, made when first asked for: 5.1 M parameters, contexts of 16,384 tokens."""
    path = cache.folder("models") / "programs-random"
    done = path / "done.json"
    if done.exists() and json.loads(done.read_text(encoding="utf-8")) == SHAPE:
        return path
    path.mkdir(parents=True, exist_ok=True)
    about = config(SHAPE) | {"max_position_embeddings": CONTEXT, "bos_token_id": None, "eos_token_id": 4}
    (path / "config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(firefly_folder() / name, path)
    _weights(path / "model.safetensors", SHAPE)
    done.write_text(json.dumps(SHAPE), encoding="utf-8")
    return path
