"""Write a Hugging Face folder from a checkpoint, file by file and each in one move."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from firefly.model import Firefly, Shape, hf_config, hf_references, hf_tensors
from firefly.tokenizer import SPECIALS, write_tokenizer


def load_average(checkpoint: Path, raw: bool = False) -> Firefly:
    """The averaged (or the raw) network of a checkpoint."""
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = Firefly(Shape(**state["shape"]))
    model.load_state_dict(state["model" if raw else "average"])
    return model


def load_folder(folder: Path) -> Firefly:
    """The network of an exported folder, in float32."""
    config = json.loads((folder / "config.json").read_text())
    shape = Shape(
        vocab=config["vocab_size"],
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        ffn=config["intermediate_size"],
    )
    model = Firefly(shape)
    stored = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, tensor in hf_references(model).items():
            tensor.copy_(stored[name])
    return model


def export(model: Firefly, folder: Path) -> None:
    """Write configuration, weights and tokenizer; readers never see half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    pad, end = SPECIALS.index("<|pad|>"), SPECIALS.index("<|end|>")
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        temporary = Path(name)
        write_tokenizer(temporary)
        config = hf_config(model.shape, pad, end)
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        generation = {"eos_token_id": end, "pad_token_id": pad, "do_sample": False, "max_new_tokens": 64}
        (temporary / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
        save_file(hf_tensors(model), temporary / "model.safetensors", metadata={"format": "pt"})
        for file in sorted(temporary.iterdir()):
            file.chmod(0o644)
            os.replace(file, folder / file.name)
