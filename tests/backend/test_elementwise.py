"""Elementwise functions and norms: a value has the same bits wherever it stands, with any number of threads."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.nn.functional import silu

from lampc.backend.load import load_engine
from lampc.backend.models.layers import LayerNorm, elementwise, gated_silu, gelu_tanh, rms_norm
from lampc.backend.request import Request, Sampling
from tests.backend.checkpoints import save_checkpoint
from tests.backend.test_exact import answer, finish


@pytest.fixture(params=[1, 2, 3, 4, 6, 8])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def exp2(x: torch.Tensor) -> torch.Tensor:
    return elementwise(torch.exp2, x)


def layer_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return LayerNorm(weight, weight, eps)(x)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (4 * torch.randn(*shape, generator=torch.Generator().manual_seed(shape[-1]))).to(dtype)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "width"), [(112, 4864), (3585, 64), (16, 41), (1001, 41), (7, 98306)])
@pytest.mark.parametrize("f", [gated_silu, gelu_tanh, exp2])
def test_a_row_has_the_bits_that_it_has_alone(
    f: Callable[[torch.Tensor], torch.Tensor], rows: int, width: int, dtype: torch.dtype
) -> None:
    x = noise(rows, 2 * width if f is gated_silu else width, dtype=dtype)
    before = x.clone()
    found = f(x)
    assert all(torch.equal(f(row.clone()), found[i : i + 1]) for i, row in enumerate(x.split(1)))
    assert torch.equal(x, before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 32768, 32769, 32832, 98305, 131136, 400003])
def test_the_values_are_right_in_place_too(count: int) -> None:
    x = noise(count + 1)[1:]
    assert torch.allclose(elementwise(silu, x), silu(x.double()).float(), rtol=1e-6, atol=1e-7)
    right = torch.exp2(x.double()).float()
    assert torch.allclose(elementwise(torch.exp2_, x.clone()), right, rtol=1e-6, atol=0)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("count", [32769, 32832, 98368, 112 * 4864, 3585 * 64])
def test_every_share_is_whole_vectors(count: int) -> None:
    """Whatever the library: no call of f leaves a thread values that are not a whole number of vectors."""

    def f(x: torch.Tensor) -> torch.Tensor:
        threads = torch.get_num_threads()
        shares = (min(threads, -(-len(x) // 32768)), threads) if len(x) > 16384 else (1,)
        assert all(len(x) % (64 * n) == 0 for n in shares)
        return x + 1

    assert torch.equal(elementwise(f, noise(count)), noise(count) + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [192, 32767, 32768, 40960, 100003])
@pytest.mark.parametrize("norm", [rms_norm, layer_norm])
def test_a_norm_has_the_same_bits_alone_and_with_any_number_of_threads(
    norm: Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor], width: int, dtype: torch.dtype
) -> None:
    rows, weight, before = noise(5, width, dtype=dtype), noise(width, dtype=dtype), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3, 4, 7):
            torch.set_num_threads(count)
            found += [norm(rows, weight, 1e-5), torch.cat([norm(row, weight, 1e-5) for row in rows.split(1)])]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, found[0]) for one in found)


def test_the_engine_is_exact_with_four_threads(tmp_path: Path) -> None:
    """Wide enough that torch cuts the feed-forward part's values, and the scores of attention, into shares."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        folder = save_checkpoint(tmp_path, intermediate_size=1037, max_position_embeddings=512)
        requests = [
            Request(tuple((7 * i + 3 * k) % 290 for k in range(180 + i)), Sampling(max_tokens=3), prompt_logprobs=True)
            for i in range(5)
        ]
        naive = load_engine(folder, kind="naive", backend="torch")
        alone = [answer(finish(naive, [request])[0]) for request in requests]
        for options in ({}, {"max_batch_tokens": 997}, {"chunk": 37}):
            engine = load_engine(folder, backend="torch", kv_tokens=2048, **options)  # type: ignore[arg-type]
            assert [answer(c) for c in finish(engine, requests)] == alone
            engine.close()
    finally:
        torch.set_num_threads(before)
