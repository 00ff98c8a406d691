"""Every architecture against transformers: logits, and the tokens of greedy generation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.load import load_engine
from lampc.backend.naive import NaiveEngine
from lampc.backend.request import Request, Sampling
from tests.backend.architectures import EVERY, LONG, MORE, VARIANTS, reference, save

CASES = [*VARIANTS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]


def prompt(length: int, seed: int = 3) -> list[int]:
    noise = torch.Generator().manual_seed(seed)
    return torch.randint(0, 296, (length,), generator=noise).tolist()  # type: ignore[no-any-return]


def their_logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([ids])).logits[0]
    return logits


def our_logits(folder: Path, ids: list[int], **options: Any) -> torch.Tensor:
    engine = load_engine(folder, kind="naive", **options)
    assert isinstance(engine, NaiveEngine)
    return engine.logits(ids, list(range(len(ids))))


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("name", EVERY)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    ids = prompt(150)  # past every window and every original context
    torch.testing.assert_close(our_logits(folder, ids), their_logits(reference(name), ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_equal_transformers(name: str, tmp_path: Path) -> None:
    folder, model = save(name, tmp_path), reference(name)
    engine = load_engine(folder, max_batch_tokens=64)
    # Longer than the original context of those that have one: transformers changes frequencies midway there.
    prompts = [prompt(length, seed=length) for length in (65, 150)]
    handles = [engine.submit(Request(tuple(ids), Sampling(max_tokens=64, ignore_eos=True))) for ids in prompts]
    engine.run()
    for ids, handle in zip(prompts, handles):
        theirs = model.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False)
        assert handle.completion is not None
        assert list(handle.completion.tokens) == theirs[0, len(ids) :].tolist()


def test_dynamic_scaling_follows_the_context_asked_for(tmp_path: Path) -> None:
    folder, ids = save("dynamic", tmp_path), prompt(400)
    stretched = our_logits(folder, ids, context_length=400)
    torch.testing.assert_close(stretched, their_logits(reference("dynamic"), ids), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match=r"context_length 513 is more than the 512 positions"):
        load_engine(folder, context_length=513)


def test_longrope_follows_the_context_asked_for(tmp_path: Path) -> None:
    folder, ids = save("longrope", tmp_path), prompt(64)
    short = our_logits(folder, ids, context_length=64)
    torch.testing.assert_close(short, their_logits(reference("longrope"), ids), atol=1e-4, rtol=0)
    assert not torch.allclose(our_logits(folder, ids), short, atol=1e-2)
    digests = {load_engine(folder, kind="naive", context_length=n).info.digest for n in (None, 64, 256)}
    assert len(digests) == 2


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_context_length(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    assert load_engine(folder, kind="naive").info.context_length == 256
    assert load_engine(folder, kind="naive", context_length=10).info.context_length == 10
    for length, message in ((257, "more than the 256 positions"), (0, "context_length is 0")):
        with pytest.raises(ValueError, match=message):
            load_engine(folder, context_length=length)


@pytest.mark.parametrize("name", ["qwen2", "linear", "llama3", "yarn"])
def test_spellings_of_older_configs(name: str, tmp_path: Path) -> None:
    """Without `layer_types`; with `rope_scaling` and its `type` instead of `rope_parameters`."""
    folder, ids = save(name, tmp_path), prompt(150)
    expected = our_logits(folder, ids)
    config = json.loads((folder / "config.json").read_text())
    config.pop("layer_types", None)
    rope = config.pop("rope_parameters")
    config["rope_theta"], kind = rope.pop("rope_theta"), rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(our_logits(folder, ids), expected)
    torch.testing.assert_close(expected, their_logits(reference(name), ids), atol=1e-4, rtol=0)


OLD: dict[str, dict[str, Any]] = {
    "gemma2": {},
    "gemma3-pattern": {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6},
    "gemma3-linear": {
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"factor": 4.0, "rope_type": "linear"},
        "sliding_window_pattern": 2,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    },
    "phi3": {"rope_theta": 10000.0, "partial_rotary_factor": 0.75},
    "phi3-longrope": {"rope_scaling": {"type": "longrope", **LONG}},
}


@pytest.mark.parametrize("name", OLD)
def test_spellings_of_older_configs_of_more_models(name: str, tmp_path: Path) -> None:
    """With entries that newer files keep in `rope_parameters`, and layers by a pattern."""
    folder, ids = save(name, tmp_path), prompt(150)
    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in config.items() if k not in ("layer_types", "rope_parameters", "_sliding_window_pattern")}
    (folder / "config.json").write_text(json.dumps(config | OLD[name]))
    torch.testing.assert_close(our_logits(folder, ids), their_logits(reference(name), ids), atol=1e-4, rtol=0)


def test_names_of_old_gpt2_files(tmp_path: Path) -> None:
    """As published first: without a prefix, with masks among the weights, without the output layer."""
    from safetensors.torch import load_file, save_file

    folder, ids = save("gpt2", tmp_path), prompt(20)
    expected = our_logits(folder, ids)
    path = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    assert "wte.weight" in tensors
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 256, 256)
    save_file(tensors, path)
    assert torch.equal(our_logits(folder, ids), expected)
