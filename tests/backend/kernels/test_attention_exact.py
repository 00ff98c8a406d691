"""Exact mode: a row's bits are those it has alone, in whatever company, however contexts are cut and shared."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lampc.backend.kernels import worktable
from lampc.backend.spans import Span
from tests.backend.kernels.steps import EXACT, Contexts, Step, spans_of

COMPANY: Contexts = [
    *(([0] * 140 + [i] * (9 * i), 1) for i in range(1, 5)),  # decoding under a stem of two chunks and a piece
    ([0] * 80 + [7] * 30, 9),  # a prompt under the same stem
    ([8] * 40, 11),
    ([9] * 129, 2),
]
KINDS: list[dict[str, Any]] = [
    {},
    {"fold": 8, "dtype": torch.float16},
    {"fold": 3, "int8": True},
    {"fold": 7, "dim": 128, "window": 70},
]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def step(request: pytest.FixtureRequest, device: torch.device) -> Step:
    return Step(spans_of(COMPANY), device, **request.param)


@pytest.fixture(scope="module")
def together(step: Step) -> torch.Tensor:
    return step.run(exact=True)


def test_alone_and_among_others(step: Step, together: torch.Tensor) -> None:
    for i in (0, 3, 4, 6):
        span = step.spans[i]
        alone = replace(step, spans=[replace(span, first=0)]).run(exact=True)
        assert torch.equal(alone, together[span.first : span.first + span.count])


def test_in_chunks_and_in_another_order(step: Step, together: torch.Tensor) -> None:
    pieces, where = [], []
    for span in (step.spans[i] for i in (5, 2, 4, 6)):
        for at, count in ((0, 1), (1, 3), (4, 7)):
            count = min(count, span.count - at)
            if count > 0:
                pieces.append(Span(len(where), span.start + at, count, span.slots))
                where += range(span.first + at, span.first + at + count)
    assert torch.equal(replace(step, spans=pieces).run(exact=True), together[where])


def test_shared_and_for_itself(step: Step, together: torch.Tensor) -> None:
    assert torch.equal(step.run(exact=True, share=False), together)


def test_cut_at_every_chunk_and_not_at_all(step: Step, together: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for length in (EXACT.chunk, 1 << 16):
        monkeypatch.setattr(worktable, "best_length", lambda *args, one=length: one)
        launches = step.attention(exact=True).plan(step.spans, step.rows, step.window).launches
        rows.append(sum(len(one.work) for one in launches))
        assert torch.equal(step.run(exact=True), together)
    assert rows[0] > rows[1]


def test_in_a_tile_wherever_a_query_stands(device: torch.device) -> None:
    """Twenty queries of one prompt, and each as the first of a tile."""
    step = Step(spans_of([([1] * 140, 20)]), device, fold=2)
    whole = step.run(exact=True)
    span = step.spans[0]
    each = [Span(i, span.start + i, 1, span.slots) for i in range(20)]
    assert torch.equal(replace(step, spans=each).run(exact=True), whole)


def test_copies_of_a_prefix_give_the_bits_of_one(device: torch.device) -> None:
    step = Step(spans_of([([0] * 130 + [i] * 3, 1) for i in range(1, 6)]), device)
    places = iter(range(4096))
    apart = [replace(s, slots=np.array([next(places) for _ in range(s.start + 1)])) for s in step.spans]
    copy = Step(apart, device)
    for x, y in zip(copy.by_slot, step.by_slot):
        filled = y.clone()
        for mine, theirs in zip(apart, step.spans):
            filled[mine.slots] = y[theirs.slots[: len(mine.slots)]]
        x.copy_(filled)
    assert any(n > 1 for one in step.attention(True).plan(step.spans, 5).launches for n in one.work[:, 1])
    assert torch.equal(copy.run(exact=True), step.run(exact=True))


def test_other_chunks_give_other_bits(device: torch.device) -> None:
    """So that the tests above are not true of anything."""
    step = Step(spans_of([([1] * 400, 1)]), device)
    assert not torch.equal(step.run(exact=True), step.run(exact=True, tiles=replace(EXACT, chunk=128)))
