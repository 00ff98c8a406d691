"""Recorded decode steps: the same bits as steps launched kernel by kernel, and few recordings.

Without a GPU a replay computes the step again, but over the memory and the padded tables of a recorded one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lampc.backend.kernels.graphs import Room
from lampc.backend.kernels.shape import Tile, Tiling
from lampc.backend.kernels.worktable import WORK, Launch, WorkTable
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from lampc.backend.runner import record_steps
from tests.backend.architectures import save
from tests.backend.test_exact import finish
from tests.backend.test_models_exact import answers

STEM = tuple(range(1, 30))


def engine(folder: Path, recorded: bool, **options: Any) -> Any:
    made: Any = load_engine(folder, backend="triton", kv_tokens=2048, **options)
    runner = made._runner
    runner.graphs = record_steps(runner._attention) if recorded else None
    return made


def crowd() -> list[Request]:
    """Five at first, then fewer; greedy ones, drawn ones, one with logprobs, one with a stop string."""
    lengths = (5, 2, 4, 3, 1)
    kinds: list[dict[str, Any]] = [{}, {"temperature": 0.8}, {}, {"top_p": 0.6, "temperature": 1.0}, {"stop": ("zz",)}]
    return [
        Request((*STEM, i), Sampling(max_tokens=n, ignore_eos=True, **kind), key=i, logprobs=i == 2)
        for i, (n, kind) in enumerate(zip(lengths, kinds, strict=True))
    ]


@pytest.mark.parametrize(
    "name", ["llama", "mistral", "gpt2", pytest.param("mixtral", marks=pytest.mark.slow)]
)  # mistral: a sliding window
def test_recorded_or_not_the_same_bits(name: str, tmp_path: Path) -> None:
    folder = save(name, tmp_path)
    plain, recorded = engine(folder, False), engine(folder, True)
    expected = answers(finish(plain, crowd()))
    assert answers(finish(recorded, crowd())) == expected
    recorded.check()
    made = recorded._runner.graphs.recorded
    assert 2 <= made <= 12
    assert answers(finish(recorded, crowd())) == expected
    assert recorded._runner.graphs.recorded <= made + 1  # nearly nothing is recorded anew


def test_greedy_steps_are_recorded_without_logits(tiny: Path) -> None:
    plain, recorded = engine(tiny, False, dtype="float16"), engine(tiny, True, dtype="float16")
    requests = [Request((*STEM, i), Sampling(max_tokens=8, ignore_eos=True)) for i in range(2)]
    assert answers(finish(recorded, requests)) == answers(finish(plain, requests))
    assert {name for name, _ in recorded._runner.graphs._steps} == {"likeliest"}


def test_room_grows_by_powers_of_two() -> None:
    thin, fat = Tile(16, 64, 4, 2), Tile(64, 64, 8, 2)
    table = WorkTable(
        (Launch(fat, np.zeros((5, WORK), np.int32)),),
        np.zeros((9, 2), np.int32),
        np.zeros(4, np.int32),
        np.zeros(100, np.int32),
        np.zeros((0, 3), np.int32),
        0,
        0,
    )
    room = Room.of(table, Tiling((thin, fat), 0))
    assert room == Room((0, 8), 16, 128, 0, 0)
    assert room.joined(Room((4, 2), 4, 256, 1, 2)) == Room((4, 8), 16, 256, 1, 2)


def test_steps_are_recorded_on_a_gpu(tiny: Path, device: torch.device) -> None:
    runner: Any = load_engine(tiny, backend="triton", kv_tokens=256)._runner  # type: ignore[attr-defined]
    assert (runner.graphs is not None) == (device.type == "cuda")
