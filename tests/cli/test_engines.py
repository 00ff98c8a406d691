"""`--backend` and `--tensor-parallel`: what they take, and a clear error for what they cannot do; that tokens are the
same is held by tests/examples/test_whole_sentence.py."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tests.backend.kernels.conftest  # noqa: F401  # asks for Triton's interpreter where there is no GPU
from lampc.backend.kernel_choice import BACKENDS
from lampc.runtime.cli.engines import BackendName
from tests.cli.conftest import Result

Lampc = Callable[..., Result]

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")


def test_the_names_are_those_of_the_engine(lampc: Lampc, folder: Path) -> None:
    assert tuple(BackendName) == BACKENDS
    wrong = lampc("run", "classify.lmp", "-i", "text=a", "--backend", "tritn")
    assert wrong.code == 2
    assert all(name in wrong.err for name in BACKENDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tensor-parallel", "3"], "firefly: tensor_parallel is 3; choose 1, 2, 4 or 8"),
        (["--tensor-parallel", "8"], "4 heads with 2 K/V heads cannot be split over 8 ranks: heads must be"),
    ],
)
def test_ranks_that_do_not_divide(lampc: Lampc, folder: Path, options: list[str], message: str) -> None:
    result = lampc("run", "classify.lmp", "-i", "text=a", *options)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: ")
    assert message in result.err


@pytest.mark.parametrize("command", ["run", "test", "optimize", "explain"])
def test_endpoints_compute_elsewhere(lampc: Lampc, folder: Path, command: str) -> None:
    program = (folder / "classify.lmp").read_text()
    unmocked = 'test "for real" {\n  run Classify(text: "a");\n  expect tone == "good";\n}\n'
    (folder / "real.lmp").write_text(program.split("test ")[0] + unmocked)
    given = {"run": ("-i", "text=a"), "test": (), "optimize": (), "explain": ("--analyze",)}[command]
    model = ("--model", "http://127.0.0.1:9/v1")
    result = lampc(command, "real.lmp", *given, *model, "--backend", "torch", "--tensor-parallel", "2")
    assert result.code == 1
    assert (
        "error: model `main` is an endpoint and computes elsewhere: `backend` and `tensor_parallel` can only be said "
        "of a model on this machine; leave it out, or name a checkpoint folder"
    ) in result.err


def test_without_triton(lampc: Lampc, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    result = lampc("run", "classify.lmp", "-i", "text=a", "--backend", "triton")
    assert (result.code, result.out) == (1, "")
    assert "error: backend 'triton' needs triton, which cannot be imported (" in result.err
    assert "on Linux `pip install triton` installs it, elsewhere choose another backend" in result.err


@pytest.mark.kernels
@needs_triton
@needs_no_gpu
def test_without_a_gpu_or_an_interpreter(lampc: Lampc, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lampc.backend.kernels import paged

    monkeypatch.setattr(paged, "interpreted", lambda: False)
    result = lampc("run", "classify.lmp", "-i", "text=a", "--backend", "triton")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: Triton's kernels need a GPU, and torch sees none here; set TRITON_INTERPRET=1")


def test_a_batch_knows_what_computed_it(lampc: Lampc, folder: Path) -> None:
    (folder / "in.jsonl").write_text('{"prompt": "a", "max_tokens": 2}\n')
    command = ("batch", "in.jsonl", "--out", "out.jsonl", "--backend")
    assert lampc(*command, "torch").code == 0
    assert "going on from there" in lampc(*command, "torch").err
    other = lampc(*command, "torch", "--tensor-parallel", "1")
    assert other.code == 1
    assert "input, model, options or kernels have changed" in other.err
    wrong = lampc(*command, "torch", "--tensor-parallel", "3")
    assert "tensor_parallel is 3; choose 1, 2, 4 or 8" in wrong.err
