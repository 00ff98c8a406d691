"""Logits against transformers, and what is said about broken checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lampc.backend.errors import CheckpointError, UnknownArchitecture, Unsupported
from lampc.backend.load import load_engine
from lampc.backend.models.registry import architectures, resolve
from lampc.backend.naive import NaiveEngine
from tests.backend.checkpoints import llama_config, save_checkpoint

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
SHAPES: list[dict[str, Any]] = [
    {},
    {"tie_word_embeddings": True},
    {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 1, "head_dim": 10},
    {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16, "num_hidden_layers": 3},
    {"attention_bias": True, "rms_norm_eps": 1e-3},
    {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}},
    {"rope_parameters": LLAMA3},
    {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 500.0},
]


def reference_logits(folder: Path, ids: list[int]) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(s) or "plain")
def test_logits_equal_transformers(shape: dict[str, Any], tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model", seed=len(shape), **shape)
    noise = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 300, (150,), generator=noise).tolist()
    engine = load_engine(folder, kind="naive")
    assert isinstance(engine, NaiveEngine)
    ours = engine.logits(ids, list(range(len(ids))))
    theirs = reference_logits(folder, ids)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_sharded_weights(tiny: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "sharded")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        save_file({n: tensors[n] for n in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    whole, sharded = load_engine(tiny, kind="naive"), load_engine(folder, kind="naive")
    assert isinstance(whole, NaiveEngine)
    assert isinstance(sharded, NaiveEngine)
    assert torch.equal(whole.logits([1, 2, 3], [2]), sharded.logits([1, 2, 3], [2]))
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-1\.safetensors: no such file"):
        load_engine(folder)


def test_truncated_weights(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    for size in (0, 5, 100, len(data) // 2, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: not a whole safetensors file"):
            load_engine(folder)


def test_missing_and_misshaped_tensors(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "odd")
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_engine(folder)
    tensors[name] = torch.zeros(4, 4)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"up_proj.*has shape \(4, 4\).*asks for \(48, 32\)"):
        load_engine(folder)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        load_engine(tmp_path)
    folder = save_checkpoint(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load_engine(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not readable as JSON"):
        load_engine(folder)


def test_unknown_architecture(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model", architectures=["MambaForCausalLM"])
    with pytest.raises(UnknownArchitecture, match=r"'MambaForCausalLM'.*LlamaForCausalLM"):
        load_engine(folder)
    with pytest.raises(CheckpointError, match="architectures"):
        resolve({}, folder)
    assert "LlamaForCausalLM" in architectures()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, Unsupported, "dynamic"),
        ({"rope_scaling": {"rope_type": "linear"}}, CheckpointError, "factor"),
        ({"hidden_act": "gelu"}, Unsupported, "gelu"),
        ({"num_key_value_heads": 3}, CheckpointError, "multiple of kv heads"),
        ({"sliding_window": 16}, Unsupported, "sliding_window 16"),
        ({"hidden_size": 0}, CheckpointError, "hidden_size"),
    ],
)
def test_unusable_configs(changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(llama_config(**changes)))
    model = resolve(llama_config(), tmp_path)
    from lampc.backend.models.config import LlamaConfig

    assert model.__name__ == "Llama"  # type: ignore[attr-defined]
    with pytest.raises(error, match=message):
        LlamaConfig.parse(llama_config(**changes), tmp_path / "config.json")


def test_arguments_of_load(tiny: Path) -> None:
    with pytest.raises(ValueError, match="dtype is 'int3'"):
        load_engine(tiny, dtype="int3")
    with pytest.raises(ValueError, match="kind is 'quick'"):
        load_engine(tiny, kind="quick")  # type: ignore[arg-type]
