"""The attention kernel against its twin over the same table, and against the engine's torch attention."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from lampc.backend.kernels import worktable
from lampc.backend.kernels.attention import attend_rows_torch
from lampc.backend.kernels.merge import merge_parts_torch
from lampc.backend.kernels.paged import TritonAttention, interpreted
from lampc.backend.kernels.shape import Shape, tiling
from lampc.backend.kernels.worktable import BEGIN, END, MEMBERS
from lampc.backend.kv_cache import KVCache
from lampc.backend.scores import Scores
from lampc.backend.spans import Span
from tests.backend.kernels.steps import EXACT, SLOTS, Contexts, Step, spans_of

MIXED: Contexts = [
    ([0] * 70 + [1] * 27, 1),  # decoding, a stem of two tiles and a piece
    ([0] * 70 + [2] * 58, 1),  # its last block is full
    ([0] * 64 + [3], 1),  # one token in its last block
    ([0] * 66 + [4] * 30, 3),  # short, under the same stem
    ([5] * 75, 11),  # a prompt that goes on
    ([6], 1),  # one key
]
"""Ragged: decoding, prefill and chunked prefill."""
TREE: Contexts = [([0] * 64 + [1 + i // 4] * 64 + [8 + i] * (i + 1), 1) for i in range(8)]
"""Eight requests under one stem, four under each of two stems that grow from it."""


def twin(step: Step, attention: TritonAttention) -> torch.Tensor:
    """The twins of both kernels over the table that the kernels get."""
    table, cache = attention.plan(step.spans, step.rows, step.window), attention.cache
    q = step.inputs()[0]
    out = torch.zeros_like(q)
    parts = torch.full((table.places, q.shape[1], step.dim), torch.nan, device=step.device)
    marks = torch.full((table.places, q.shape[1], 2), torch.nan, device=step.device)
    scales = (None, None) if cache.scales is None else cache.scales[0].unbind()
    arrays = [torch.from_numpy(a).to(step.device) for a in (table.members, table.positions, table.slots)]
    for launch in table.launches:
        work = torch.from_numpy(launch.work)
        inputs = (q, *cache.data[0].unbind(), *scales, out, parts, marks)
        scores = step.scores or Scores(step.dim)
        attend_rows_torch(*inputs, work, *arrays, scores.factor, table.window, scores.limit)
    merge_parts_torch(parts, marks, torch.from_numpy(table.merged), out)
    return out.cpu()


def check(step: Step, exact: bool) -> None:
    attention = step.attention(exact)
    out = attention.step(step.spans, step.to)(0, *step.inputs()).cpu()
    for right in (twin(step, attention), step.run_torch()):
        step.check(out, right)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("fold", "dim", "block", "more"),
    [
        (1, 64, 16, {}),
        (2, 128, 64, {"dtype": torch.float16}),
        (3, 64, 16, {"window": 40, "kv_heads": 2}),
        (4, 256, 16, {"dtype": torch.float16}),
        (4, 64, 64, {"int8": True}),
        (5, 64, 64, {"window": 1}),
        (6, 40, 16, {"int8": True, "window": 70}),  # a head that fills no tile
        (7, 128, 16, {"int8": True, "dtype": torch.float16, "kv_heads": 2}),
        (8, 64, 64, {"dtype": torch.bfloat16}),
        (8, 128, 16, {"window": 1000}),
        (2, 64, 16, {"window": 40, "scores": Scores(40.0, 1.5)}),
    ],
)
def test_mixed_steps(
    device: torch.device, fold: int, dim: int, block: int, more: dict[str, object], exact: bool
) -> None:
    check(Step(spans_of(MIXED, block), device, fold=fold, dim=dim, **more), exact)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", range(1, 13))
def test_groups_under_a_prefix_of_any_length(device: torch.device, count: int) -> None:
    found = [([0] * (13 * count + 20) + [i] * (i % 5 + 1), 1) for i in range(1, count + 1)]
    check(Step(spans_of(found, 16), device, fold=count % 8 + 1), exact=count % 2 == 0)


@pytest.mark.parametrize("exact", [True, False])
def test_nested_prefixes_are_rows_of_one_table(device: torch.device, exact: bool) -> None:
    step = Step(spans_of(TREE), device)
    table = step.attention(exact).plan(step.spans, step.rows)
    rows = [tuple(work[[MEMBERS, BEGIN, END]].tolist()) for launch in table.launches for work in launch.work]
    assert sorted(row for row in rows if row[0] > 1) == [(4, 64, 128), (4, 64, 128), (8, 0, 64)]
    assert sorted(row for row in rows if row[0] == 1) == [(1, 128, 129 + i) for i in range(8)]
    check(step, exact)


def test_contexts_in_pieces(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worktable, "best_length", lambda *args: 32)
    step = Step(spans_of(MIXED), device, kv_heads=2, fold=3)
    assert step.attention(exact=False).plan(step.spans, step.rows).places > 2 * step.rows
    check(step, exact=False)


@pytest.mark.parametrize("dim", [64, 128, 256])
@pytest.mark.parametrize("exact", [True, False])
def test_tiles_of_the_real_sizes(device: torch.device, dim: int, exact: bool) -> None:
    """Chunks of 256 keys and all."""
    step = Step(spans_of([([0] * 520, 1), ([0] * 300, 3), ([1] * 40, 30)]), device, dim=dim, dtype=torch.float16)
    shape = Shape(1, step.fold, dim, 2, coded=False, processors=132)
    step.check(step.run(exact, tiling(shape, exact)), step.run_torch())


def test_many_requests_under_one_prefix_in_several_tiles(device: torch.device) -> None:
    found = [([0] * 64 + [i], 1) for i in range(20)]
    check(Step(spans_of(found), device, int8=True), exact=False)


def test_rows_that_only_fill_a_table_do_nothing(device: torch.device) -> None:
    step = Step(spans_of(TREE), device)
    attention = step.attention(exact=True)
    expected = attention.step(step.spans, step.to)(0, *step.inputs())
    table = attention.plan(step.spans, step.rows)
    fuller = dataclasses.replace(
        table,
        launches=tuple(replace(one, work=np.pad(one.work, ((0, 5), (0, 0)))) for one in table.launches),
        merged=np.pad(table.merged, ((0, 3), (0, 0))),
    )
    assert torch.equal(attention.run(0, step.inputs()[0], attention._upload(fuller)), expected)


def test_rows_in_no_span_give_zeros_and_are_stored_nowhere(device: torch.device) -> None:
    step = Step(spans_of([([1] * 10, 3)]), device)
    cache = KVCache(SLOTS, 1, 1, 64, device, torch.float32)
    to = np.concatenate([step.to, [-1, -1]])
    q, k, v = (torch.cat([x, torch.full_like(x[:2], torch.nan)]) for x in step.inputs())
    out = TritonAttention(cache, 4, [None], True, EXACT).step(step.spans, to)(0, q, k, v)
    assert torch.equal(out[3:], torch.zeros(2, 4, 64, device=device))
    assert out[:3].isfinite().all()
    assert sorted(cache.data[0, 0, 0, :SLOTS].abs().sum(-1).nonzero().flatten().tolist()) == sorted(step.to.tolist())


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numpy's word for what is tried here
def test_what_is_not_finite_stays_with_its_request(device: torch.device) -> None:
    step = Step(spans_of([([i] * 70, 1) for i in range(5)]), device)
    clean = step.run(exact=True)
    step.by_slot[1][step.spans[1].slots[50]] = torch.nan
    step.by_slot[2][step.spans[3].slots[50]] = torch.inf
    out = step.run(exact=True)
    assert not out[1].isfinite().any()
    assert not out[3].isfinite().all()
    assert torch.equal(out[[0, 2, 4]], clean[[0, 2, 4]])


def test_scores_of_any_size_do_not_overflow(device: torch.device) -> None:
    step = Step(spans_of([([1] * 130, 1)]), device)
    for x in step.by_slot[:2]:
        x *= 1e6
    for exact in (True, False):
        step.check(step.run(exact), step.run_torch())


def test_q_k_v_may_be_parts_of_one_product(device: torch.device) -> None:
    step = Step(spans_of(MIXED), device)
    inputs = step.inputs()
    heads = torch.cat(inputs, 1)
    attend = step.attention(exact=True).step(step.spans, step.to)
    assert torch.equal(attend(0, heads[:, :4], heads[:, 4:5], heads[:, 5:]), attend(0, *inputs))


def test_layers_with_and_without_a_window(device: torch.device) -> None:
    step = Step(spans_of(MIXED), device)
    cache = KVCache(SLOTS, 2, 1, 64, device, torch.float32)
    for layer in range(2):
        cache.write(layer, torch.arange(SLOTS, device=device), *(x.to(device) for x in step.by_slot[1:]))
    attend = TritonAttention(cache, 4, [None, 50], True, EXACT).step(step.spans, step.to)
    for layer, window in enumerate((None, 50)):
        step.check(attend(layer, *step.inputs()).cpu(), replace(step, window=window).run_torch())


def test_what_the_kernels_cannot_compute_is_refused() -> None:
    with pytest.raises(ValueError, match=r"float64 on cpu; the kernels take float32, float16 and bfloat16"):
        TritonAttention(KVCache(8, 1, 2, 64, torch.device("cpu"), torch.float64), 2, [None], True)
    if not interpreted():
        with pytest.raises(ValueError, match="on cuda"):
            TritonAttention(KVCache(8, 1, 2, 64, torch.device("cpu"), torch.float32), 2, [None], True)


def test_a_step_without_rows(device: torch.device) -> None:
    spans: list[Span] = []
    cache = KVCache(8, 1, 1, 64, device, torch.float32)
    empty = [torch.zeros(0, n, 64, device=device) for n in (4, 1, 1)]
    out = TritonAttention(cache, 4, [None], True).step(spans, np.zeros(0, np.int64))(0, *empty)
    assert out.shape == (0, 4, 64)
