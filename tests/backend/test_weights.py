"""Weights in every form that is supported, and what is said about broken checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from tests.backend.architectures import reference, save
from tests.backend.checkpoints import save_checkpoint
from tests.backend.test_exact import finish
from tests.backend.test_models import our_logits, prompt, their_logits

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def rewrite(folder: Path, dtype: torch.dtype) -> None:
    path = folder / "model.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("stored", DTYPES)
def test_every_stored_dtype_loads_as_any(name: str, stored: str, tmp_path: Path) -> None:
    folder, ids, model = save(name, tmp_path), prompt(20), reference(name)
    rewrite(folder, DTYPES[stored])
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPES[stored]).float()
    exact = their_logits(model, ids)
    for dtype, number in DTYPES.items():
        ours = our_logits(folder, ids, dtype=dtype)
        if dtype == "float32":
            torch.testing.assert_close(ours, exact, atol=1e-4, rtol=0)
        theirs = their_logits(reference(name).to(number), ids).float()
        error = (theirs - their_logits(reference(name), ids)).abs().max()
        assert (ours - exact).abs().max() <= max(1e-4, 2 * error.item())
        engine = load_engine(folder, dtype=dtype)
        assert finish(engine, [Request(tuple(ids), Sampling(max_tokens=3, ignore_eos=True))])[0].finish == "length"


@pytest.mark.parametrize("name", ["llama3", "gpt2"])  # both are tied
def test_sharded_weights(name: str, tmp_path: Path) -> None:
    whole, parts = save(name, tmp_path / "whole"), save(name, tmp_path / "parts", max_shard_size="20KB")
    assert not (parts / "model.safetensors").exists()
    assert len(list(parts.glob("model-*.safetensors"))) > 2
    ids = prompt(20)
    assert torch.equal(our_logits(whole, ids), our_logits(parts, ids))
    lost = sorted(parts.glob("model-*.safetensors"))[-1]
    lost.unlink()
    with pytest.raises(CheckpointError, match=f"{lost.name}: no such file"):
        load_engine(parts)


def test_truncated_weights(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    for size in (0, 5, 100, len(data) // 2, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=r"model\.safetensors: not a whole safetensors file"):
            load_engine(folder)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("llama", "model.layers.1.mlp.up_proj.weight"), ("gpt2", "transformer.h.0.attn.c_attn.bias")],
)
def test_missing_misshaped_and_extra_tensors(name: str, tensor: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    path, pattern = folder / "model.safetensors", tensor.replace(".", r"\.")
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if n != tensor}, path)
    with pytest.raises(CheckpointError, match=f"'{pattern}' is missing from the weights"):
        load_engine(folder)
    save_file(tensors | {tensor: torch.zeros(4, 4)}, path)
    with pytest.raises(CheckpointError, match=rf"{pattern}' has shape \(4, 4\).*asks for \((48, 32|192,)\)"):
        load_engine(folder)
    save_file(tensors | {"model.layers.2.odd": torch.zeros(1), "z": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"safetensors: tensor 'model\.layers\.2\.odd' and 1 more in the weights"):
        load_engine(folder)


def test_weights_of_more_layers_than_the_config_has(tmp_path: Path) -> None:
    folder = save("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(CheckpointError, match=r"'model\.layers\.1\..*config\.json does not describe these weights"):
        load_engine(folder)


def test_tied_weights_that_are_stored_twice(tmp_path: Path) -> None:
    folder, ids = save("llama3", tmp_path), prompt(5)
    expected, path = our_logits(folder, ids), folder / "model.safetensors"
    tensors = load_file(path)
    assert "lm_head.weight" not in tensors
    copy = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": copy, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path)
    assert torch.equal(our_logits(folder, ids), expected)
    save_file(tensors | {"lm_head.weight": copy + 1}, path)
    with pytest.raises(CheckpointError, match=r"tie_word_embeddings is True; expected false, since lm_head"):
        load_engine(folder)


def test_dtypes_that_are_not_supported(tmp_path: Path) -> None:
    folder = save("llama", tmp_path)
    rewrite(folder, torch.float8_e4m3fn)
    with pytest.raises(Unsupported, match="is stored as float8_e4m3fn; supported are float32, bfloat16, float16"):
        load_engine(folder)


def test_values_beyond_float16(tmp_path: Path) -> None:
    folder = save("llama", tmp_path)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][3] = 1e5
    save_file(tensors, path)
    load_engine(folder, dtype="bfloat16")
    with pytest.raises(CheckpointError, match=r"'model\.norm\.weight' has values beyond float16"):
        load_engine(folder, dtype="float16")


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
