"""Recorded decode steps: the same bits as steps launched kernel by kernel, and few recordings.

Without a GPU a replay computes the step again, but over the memory and the padded tables of a recorded one.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lampc.backend.grammar.texts import regex
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


@pytest.mark.parametrize("recorded", [pytest.param(False, marks=pytest.mark.slow), True])
def test_steps_launched_ahead_have_the_same_bits(recorded: bool, tiny: Path) -> None:
    """Ids come from the tokens of the step before, where they are; drawn ones and likeliest ones."""
    plain, ahead = engine(tiny, recorded), engine(tiny, recorded, async_scheduling=True)
    greedy = [Request((9, 8, i), Sampling(max_tokens=4, ignore_eos=True)) for i in range(2)]  # nobody needs logits
    requests = [*crowd()[1:4], *greedy]
    expected = answers(finish(plain, requests))
    taken: list[int] = []
    runner = type(ahead._runner)

    class Noting(runner):  # type: ignore[misc, valid-type]
        def launch(self, plan: Any, before: Any) -> Any:
            taken.append(-1 if before is None else int((plan.sources(before.plan) >= 0).sum()))
            return super().launch(plan, before)

    ahead._runner.__class__ = Noting
    assert answers(finish(ahead, requests)) == expected
    ahead.run()
    ahead.check()
    assert max(taken) >= 3
    assert answers(finish(ahead, greedy)) == answers(finish(plain, greedy))


def test_what_is_not_finite_is_an_error_of_the_step_that_drew_it(tiny: Path) -> None:
    made = engine(tiny, True, async_scheduling=True)
    good = made.submit(Request((1, 2, 3), Sampling(max_tokens=6, temperature=1.0, ignore_eos=True)))
    for _ in range(3):
        made.step()
    resolve = made._runner._resolve
    made._runner._resolve = lambda wants, logits: resolve(wants, torch.full_like(logits, torch.nan))
    made.step()  # launched, and the one before it taken
    assert made._flight is not None
    made._runner._resolve = resolve
    sent = list(good.sent)
    made.run()
    assert good.completion is not None
    assert good.completion.finish == "error"
    assert "not finite" in (good.completion.error or "")
    assert list(good.completion.tokens) == sent
    made.check()


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


def test_a_step_goes_on_from_one_that_draws_nothing(tiny: Path) -> None:
    made = load_engine(tiny, backend="triton", async_scheduling=True, kv_tokens=512, chunk=2, max_batch_tokens=8)
    sampling = Sampling(max_tokens=6, temperature=0.5, ignore_eos=True)
    kept = made.submit(Request((5, 6), sampling, grammar=regex("[a-z]{20}")))
    made.step()
    long = made.submit(Request(tuple(range(40)), Sampling(max_tokens=4)))
    for _ in range(3):
        made.step()
    made.abort(long)
    made.run()
    assert kept.completion is not None
    assert kept.completion.finish == "length"
    assert made.metrics().failed_steps == 0
    made.close()
