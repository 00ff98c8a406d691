"""`load_engine(backend="triton")`: one rank or several, the same bits; what it cannot do, and why."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton

from lampc.backend.kernels import paged
from lampc.backend.kernels.paged import TritonAttention
from lampc.backend.load import load_engine
from lampc.backend.native.build import NoKernels
from lampc.backend.parallel.engine import ParallelEngine
from lampc.backend.runner import TorchRunner
from tests.backend.checkpoints import save_checkpoint
from tests.backend.kernels.test_attention_model import asked, ids
from tests.backend.parallel.ranks import threads
from tests.backend.test_exact import finish
from tests.backend.test_models_exact import answers

__all__ = ["threads"]
KV = 1024


@pytest.fixture(autouse=True)
def interpreted(device: torch.device) -> None:
    if device.type != "cpu":
        pytest.skip("about the CPU's interpreter")


def test_the_engine_attends_by_triton(tiny: Path) -> None:
    engine = load_engine(tiny, backend="triton", kv_tokens=KV)
    runner = engine._runner
    assert isinstance(runner, TorchRunner)
    assert isinstance(runner._attention, TritonAttention)
    plain = load_engine(tiny, backend="torch", kv_tokens=KV)
    requests = asked()[2:]
    assert ids(finish(engine, requests)) == ids(finish(plain, requests))
    assert engine.info.digest != plain.info.digest


def by_ranks(folder: Path, ranks: int) -> tuple[list[tuple[Any, ...]], str]:
    """What so many ranks answer, and the engine's digest."""
    engine = load_engine(folder, backend="triton", tensor_parallel=ranks, kv_tokens=KV)
    assert isinstance(engine, ParallelEngine)
    assert all(isinstance(one, TritonAttention) for one in engine.parallel.share._attention)
    found = answers(finish(engine, asked()[2:]))
    engine.close()
    return found, engine.info.digest


def like_torch(folder: Path, found: list[tuple[Any, ...]], digest: str) -> None:
    engine = load_engine(folder, backend="torch", tensor_parallel=1, kv_tokens=KV)
    assert ids(finish(engine, asked()[2:])) == [tokens for _, tokens, _ in found]
    assert engine.info.digest != digest
    engine.close()


@pytest.fixture(scope="module")
def of_one(tiny: Path) -> tuple[list[tuple[Any, ...]], str]:
    return by_ranks(tiny, 1)


def test_two_ranks_give_the_bits_of_one(tiny: Path, of_one: tuple[list[tuple[Any, ...]], str]) -> None:
    assert by_ranks(tiny, 2) == of_one
    like_torch(tiny, *of_one)


@pytest.mark.usefixtures("threads")
def test_a_single_kv_head_is_kept_by_both(tmp_path: Path) -> None:
    """Fewer query heads then share a tile."""
    folder = save_checkpoint(tmp_path, num_key_value_heads=1)
    alone = by_ranks(folder, 1)
    assert by_ranks(folder, 2) == alone
    like_torch(folder, *alone)


@pytest.mark.usefixtures("threads")
def test_four_ranks_in_one_process(tiny: Path, of_one: tuple[list[tuple[Any, ...]], str]) -> None:
    """Threads of one process take turns in the interpreter; two at once would break each other's kernels."""
    assert by_ranks(tiny, 4) == of_one


def test_the_digest_names_sources_and_what_runs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    here = paged.digest(cpu)
    assert paged.digest(cpu) == here
    for file in Path(paged.__file__).parent.glob("*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(paged, "__file__", str(tmp_path / "paged.py"))
    assert paged.digest(cpu) == here
    with (tmp_path / "attention.py").open("a") as file:
        file.write("\n")
    other = paged.digest(cpu)
    monkeypatch.undo()
    monkeypatch.setattr(paged.triton, "__version__", "9.0.1")
    assert len({here, other, paged.digest(cpu)}) == 3


def test_what_cannot_be(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="backend is 'tritn'; choose one of auto, torch, native, triton"):
        load_engine(tiny, backend="tritn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the naive engine has no Triton kernels"):
        load_engine(tiny, kind="naive", backend="triton")
    with pytest.raises(NoKernels, match=r"TRITON_INTERPRET is set, and .* on the cpu, not on cuda; unset it"):
        load_engine(tiny, device="cuda", backend="triton")
    with monkeypatch.context() as old:
        old.setattr(triton, "__version__", "3.6.0")
        old.setattr(np, "__version__", "2.4.0rc1")
        with pytest.raises(NoKernels, match=r"triton 3\.6\.0 .* numpy 2\.4\.0rc1; install numpy below 2\.4"):
            load_engine(tiny, backend="triton")
        old.setattr(np, "__version__", "2.3.5")
        load_engine(tiny, backend="triton").close()
    monkeypatch.setattr(paged, "interpreted", lambda: False)
    with pytest.raises(NoKernels, match="need a GPU, and torch sees none here; set TRITON_INTERPRET=1"):
        load_engine(tiny, backend="triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(NoKernels, match="compute on cuda, not on cpu; leave the device out"):
        load_engine(tiny, device="cpu", backend="triton")
