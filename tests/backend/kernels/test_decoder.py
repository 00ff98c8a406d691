"""Whole models by Triton's kernels: against torch's layers, and a request alone against the same among others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.kernels.decoder import TritonLayers
from lampc.backend.kernels.drawing import DeviceSampler
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from lampc.backend.runner import TorchRunner
from tests.backend.architectures import save
from tests.backend.kernels.test_attention_model import asked, ids
from tests.backend.test_exact import Recorder, finish
from tests.backend.test_models_exact import answers

KV = 1024
NAMES = ["llama", "qwen2", "qwen3", "mixtral", "qwen3_moe"]  # plain, with biases, with normalised heads, experts


MORE = ["gemma2", "gemma3", "phi3", "olmo2"]  # caps, two rotations, partial rotation, norms behind parts


@pytest.fixture(autouse=True)
def interpreted(device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("about the CPU's interpreter")


def rows_of(engine: Any) -> dict[Any, torch.Tensor]:
    seen: dict[Any, torch.Tensor] = Recorder(engine).seen
    return seen


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in NAMES if name != "qwen3_moe"),
        *((name, {}) for name in MORE),
        ("qwen3", {"weight_dtype": "int8"}),
        ("qwen3", {"kv_dtype": "int8"}),
    ],
)
def test_logits_are_those_of_torch(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    found = {}
    for backend in ("torch", "triton"):
        engine: Any = load_engine(folder, backend=backend, kv_tokens=KV, **options)
        assert isinstance(engine._runner._model._compute, TritonLayers) == (backend == "triton")
        seen = rows_of(engine)
        length = 40 if name == "qwen3" else 9  # an interpreter takes its time
        finish(engine, [Request(tuple(range(1, length)), Sampling(max_tokens=3, ignore_eos=True), logprobs=True)])
        found[backend] = seen
    ours, theirs = found["triton"], found["torch"]
    assert ours.keys() == theirs.keys()
    for place, row in ours.items():
        torch.testing.assert_close(row, theirs[place], atol=2e-3 if options else 1e-4, rtol=0)


def same_bits(name: str, weights: Any, folder: Path, requests: list[Request]) -> None:
    folder = save(name, folder)
    engine = load_engine(folder, backend="triton", kv_tokens=KV, weight_dtype=weights)
    together = answers(finish(engine, requests))
    engine.check()
    alone = load_engine(folder, backend="triton", kv_tokens=KV, weight_dtype=weights, prefix_cache=False, chunk=17)
    assert together == answers([finish(alone, [one])[0] for one in requests])


@pytest.mark.parametrize(("name", "weights"), [("qwen3", "auto"), ("qwen2", "int8")])
def test_alone_or_among_others_the_same_bits(name: str, weights: str, tmp_path: Path) -> None:
    stem = tuple(range(1, 20))
    sampling = Sampling(max_tokens=3, temperature=0.9, ignore_eos=True)
    same_bits(name, weights, tmp_path, [Request((*stem, i), sampling, key=i, logprobs=True) for i in range(3)])


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["auto", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_more_of_them_alone_or_among_others(name: str, weights: str, tmp_path: Path) -> None:
    same_bits(name, weights, tmp_path, asked())


def test_tokens_are_drawn_on_the_device_as_on_the_host(tiny: Path) -> None:
    engine: Any = load_engine(tiny, backend="triton", kv_tokens=KV)
    runner: TorchRunner = engine._runner
    assert isinstance(runner._resolve.__self__, DeviceSampler)  # type: ignore[attr-defined]
    plain = load_engine(tiny, backend="torch", kv_tokens=KV)
    wide = {"temperature": 0.8, "max_tokens": 6, "ignore_eos": True}
    some = [{"top_k": 5}, {"top_p": 0.7}, {"min_p": 0.1}, {"min_tokens": 4, "stop_ids": tuple(range(100))}, {}]
    requests = [
        *(Request((1, 2, i), Sampling(**wide, **one), key=i) for i, one in enumerate(some)),
        Request((1, 2, 9), Sampling(**wide), key=9, logprobs=True, prompt_logprobs=True, top_logprobs=2),
        Request((1, 2, 9), score=(4, 5, 6)),
        Request((1, 2, 9), Sampling(max_tokens=3, min_tokens=3, stop_ids=tuple(range(50)))),
    ]
    ours, theirs = finish(engine, requests), finish(plain, requests)
    assert ids(ours) == ids(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.logprobs is None) == (b.logprobs is None)
        if a.logprobs is not None and b.logprobs is not None:
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_what_is_not_finite_is_an_error(tiny: Path) -> None:
    engine: Any = load_engine(tiny, backend="triton", kv_tokens=KV)
    resolve = engine._runner._resolve

    def spoiled(wants: Any, logits: torch.Tensor) -> Any:
        return resolve(wants, torch.full_like(logits, torch.nan))

    engine._runner._resolve = spoiled
    done = finish(engine, [Request((1, 2), Sampling(temperature=1.0, max_tokens=2), key=1)])[0]
    assert done.finish == "error"
    assert "not finite" in (done.error or "")
