"""The shipped folder: size, configuration, chat template."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import pytest
from safetensors import safe_open

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "firefly"


def test_weights_and_tokenizer_stay_small() -> None:
    size = sum((FOLDER / name).stat().st_size for name in ("model.safetensors", "tokenizer.json"))
    assert size <= 12 * 2**20


def test_configuration_matches_the_weights() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    with safe_open(FOLDER / "model.safetensors", framework="pt") as weights:
        names = set(weights.keys())
        embedding = weights.get_slice("model.embed_tokens.weight").get_shape()
    assert embedding == [config["vocab_size"], config["hidden_size"]]
    assert len([name for name in names if name.endswith("q_proj.weight")]) == config["num_hidden_layers"]
    assert "lm_head.weight" not in names
    assert config["tie_word_embeddings"]


def test_chat_template() -> None:
    config = json.loads((FOLDER / "tokenizer_config.json").read_text())
    template = jinja2.Environment().from_string(config["chat_template"])
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": "a"},
    ]
    assert template.render(messages=messages) == "<|system|>s<|end|><|user|>u<|end|><|assistant|>a<|end|>"
    text = template.render(messages=messages[:2], add_generation_prompt=True)
    assert text == "<|system|>s<|end|><|user|>u<|end|><|assistant|>"


def test_transformers_agrees_with_the_training_code() -> None:
    transformers = pytest.importorskip("transformers")
    import torch
    from firefly.batches import collate
    from firefly.export import load_folder

    ids = list(range(400, 440))
    batch = collate([[(ids, [1.0] * len(ids))]], len(ids), "cpu")
    ours = load_folder(FOLDER)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    with torch.no_grad():
        a = ours(batch.ids, batch.positions, batch.mask) @ ours.embed.t()
        b = theirs(batch.ids).logits
    assert torch.allclose(a, b, atol=1e-3)
