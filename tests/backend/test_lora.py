"""Adapters: the same as merged weights, served together, exact, and strangers to each other's prefixes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.facade import Engine
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from tests.backend.architectures import save
from tests.backend.test_exact import finish
from tests.backend.test_models import prompt
from tests.backend.test_models_exact import KV, answers

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
FUSED = ("qkv_proj", "gate_up_proj", "down_proj")


def make(base: Path, folder: Path, targets: tuple[str, ...], seed: int, rank: int = 4, **config: Any) -> Path:
    """An adapter as PEFT saves it, with random weights for some projections of all layers."""
    noise = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in load_file(base / "model.safetensors").items():
        if name.endswith(tuple(f"{target}.weight" for target in targets)):
            n, k = weight.shape
            at = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{at}.lora_A.weight"] = 0.3 * torch.randn(rank, k, generator=noise)
            tensors[f"{at}.lora_B.weight"] = 0.3 * torch.randn(n, rank, generator=noise)
    assert tensors
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    known = {"peft_type": "LORA", "r": rank, "lora_alpha": 6, "target_modules": list(targets), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(known | config))
    return folder


def merged(base: Path, adapter: Path, folder: Path, scale: float) -> Path:
    """A copy of a checkpoint whose weights have the adapter's products added to them."""
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights, more = (load_file(at) for at in (base / "model.safetensors", adapter / "adapter_model.safetensors"))
    for name in weights:
        at = f"base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{at}A.weight" in more:
            weights[name] = weights[name] + scale * (more[f"{at}B.weight"] @ more[f"{at}A.weight"])
    save_file(weights, folder / "model.safetensors")
    return folder


def request(ids: list[int], adapter: str | None, key: int = 0, temperature: float = 0.0) -> Request:
    sampling = Sampling(max_tokens=12, temperature=temperature, ignore_eos=True)
    return Request(tuple(ids), sampling, key=key, logprobs=True, adapter=adapter)


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize(("name", "targets"), [("qwen2", ATTENTION + MLP), ("phi3", FUSED), ("mixtral", ATTENTION)])
def test_outputs_are_those_of_merged_weights(name: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    base = save(name, tmp_path / "base")
    folders = {
        "a": make(base, tmp_path / "a", targets, seed=1),
        "b": make(base, tmp_path / "b", targets[:1], seed=2, rank=3, use_rslora=True),
    }
    scales = {"a": 6 / 4, "b": 6 / 3**0.5}
    engine = load_engine(base, adapters=folders, kv_tokens=KV)
    assert engine.info.adapters == ("a", "b")
    prompts = [prompt(n, seed=n) for n in (5, 40, 70)]
    # All together, of each prompt one with either adapter and one without.
    found = finish(engine, [request(ids, adapter) for adapter in ("a", "b", None) for ids in prompts])
    together: dict[str | None, Any] = {"a": found[:3], "b": found[3:6], None: found[6:]}
    for adapter, completions in together.items():
        folder = (
            base if adapter is None else merged(base, folders[adapter], tmp_path / f"{adapter}-merged", scales[adapter])
        )
        right = load_engine(folder, kv_tokens=KV)
        for ours, theirs in zip(completions, finish(right, [request(ids, None) for ids in prompts]), strict=True):
            assert ours.tokens == theirs.tokens
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=2e-4)
    assert together["a"][1].logprobs != together[None][1].logprobs != together["b"][1].logprobs


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("options", [{}, pytest.param({"weight_dtype": "int8"}, marks=pytest.mark.slow)])
def test_the_same_bits_alone_and_among_other_adapters(options: dict[str, Any], tmp_path: Path) -> None:
    base = save("llama", tmp_path / "base")
    folders = {name: make(base, tmp_path / name, ATTENTION + MLP, seed=i) for i, name in enumerate("ab")}
    stem = prompt(40)
    asked = [
        request([*stem, i], adapter, key=i, temperature=i % 2)
        for i, adapter in enumerate(["a", None, "b", "a", "b", None, "a"])
    ]
    naive = load_engine(base, kind="naive", adapters=folders, **options)
    expected = answers([finish(naive, [one])[0] for one in asked])
    for how in ({}, {"chunk": 7}, {"prefix_cache": False}, {"max_running": 2}, {"block_size": 4, "chunk": 1}):
        engine = load_engine(base, adapters=folders, kv_tokens=KV, **how, **options)  # type: ignore[arg-type]
        for _ in range(2):  # again, over what the cache holds now
            assert answers(finish(engine, asked)) == expected, how
        engine.check()
        engine.close()


def test_prefixes_are_shared_within_an_adapter_alone(tmp_path: Path) -> None:
    base = save("llama", tmp_path / "base")
    folders = {name: make(base, tmp_path / name, ATTENTION, seed=i) for i, name in enumerate("ab")}
    engine, ids = load_engine(base, adapters=folders, kv_tokens=KV), prompt(50)
    for adapter in ("a", "b", None):
        first = finish(engine, [request(ids, adapter)])[0]
        assert (first.computed_tokens, first.cached_tokens) == (50, 0)
        again = finish(engine, [request(ids, adapter)])[0]
        assert again.cached_tokens >= 49
        assert answers([again]) == answers([first])
    engine.reset_cache()
    engine.check()
    assert finish(engine, [request(ids, "a")])[0].cached_tokens == 0


def test_by_the_engine_that_takes_texts(tiny: Path, tmp_path: Path) -> None:
    adapter = make(tiny, tmp_path / "a", ATTENTION, seed=3)
    with Engine.load(tiny, adapters={"a": adapter}) as engine:
        plain, tuned = (engine.generate("Once", max_tokens=8, logprobs=True, adapter=x) for x in (None, "a"))
        assert plain.completions[0].logprobs != tuned.completions[0].logprobs
        with pytest.raises(Unsupported, match=r"Request.adapter is 'b'; loaded: 'a'"):
            engine.generate("Once", adapter="b")


def test_other_adapters_are_another_digest(tiny: Path, tmp_path: Path) -> None:
    one, two = (make(tiny, tmp_path / str(i), ATTENTION, seed=i) for i in range(2))
    loads = ({}, {"adapters": {"x": one}}, {"adapters": {"x": two}}, {"adapters": {"y": one}})
    assert len({load_engine(tiny, kind="naive", **how).info.digest for how in loads}) == 4  # type: ignore[arg-type]


def test_what_cannot_be_used_is_refused(tiny: Path, tmp_path: Path) -> None:
    good = make(tiny, tmp_path / "good", ATTENTION, seed=0)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"use_dora": True}, Unsupported, "use_dora is True"),
        ({"bias": "all"}, Unsupported, "bias is 'all'"),
        ({"peft_type": "IA3"}, Unsupported, "peft_type is 'IA3'; supported here: 'LORA'"),
        ({"modules_to_save": ["lm_head"]}, Unsupported, "modules_to_save"),
        ({"alora_invocation_tokens": [5]}, Unsupported, "alora_invocation_tokens"),
        ({"init_lora_weights": "pissa"}, Unsupported, "changes the model.s own weights"),
        ({"task_type": "SEQ_CLS"}, Unsupported, "supported here: CAUSAL_LM"),
        ({"lora_alpha": "6"}, CheckpointError, "lora_alpha is '6'; expected a positive number"),
    ]
    for i, (entries, error, message) in enumerate(wrong):
        folder = make(tiny, tmp_path / f"wrong{i}", ATTENTION, seed=0, **entries)
        with pytest.raises(error, match=message):
            load_engine(tiny, adapters={"x": folder})
    with pytest.raises(CheckpointError, match="give the folder that PEFT saved"):
        load_engine(tiny, adapters={"x": tiny})
    with pytest.raises(CheckpointError, match=r"embed_tokens.* in the weights but not in the model"):
        load_engine(tiny, adapters={"x": make(tiny, tmp_path / "embed", ("embed_tokens",), seed=0)})
    for options in ({"backend": "triton"}, {"tensor_parallel": 2}, {"host_kv_tokens": 64}):
        with pytest.raises(Unsupported, match="adapters are for one rank"):
            load_engine(tiny, adapters={"x": good}, **options)  # type: ignore[arg-type]
    gpt2 = save("gpt2", tmp_path / "gpt2")
    with pytest.raises(Unsupported, match="take no adapters"):
        load_engine(gpt2, adapters={"x": good})
