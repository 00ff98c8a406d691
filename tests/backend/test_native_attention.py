"""The native attention kernel: right against float64, and with bits of a row that nothing around it changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lampc.backend.attention import TorchAttention
from lampc.backend.kv_cache import KVCache
from lampc.backend.load import load_engine
from lampc.backend.native.attention import NativeAttention
from lampc.backend.native.shared_library import POINTER, SIZE, Library
from lampc.backend.request import Request, Sampling
from lampc.backend.scores import Scores
from lampc.backend.spans import Span
from lampc.backend.tiles import CHUNK
from tests.backend.checkpoints import save_checkpoint
from tests.backend.test_exact import answer, finish
from tests.backend.test_tiles import contexts, siblings, spans_of, windows

CPU = torch.device("cpu")
SLOTS = 6400
QUIET = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Shape:
    heads: int
    kv_heads: int
    dim: int
    dtype: torch.dtype = torch.float32
    int8: bool = False
    window: int | None = None
    scores: Scores | None = None


SHAPES = [
    Shape(14, 2, 64),
    Shape(14, 2, 64, torch.bfloat16),
    Shape(3, 3, 128, torch.bfloat16),
    Shape(8, 1, 128),
    Shape(4, 2, 6),
    Shape(6, 3, 10, torch.bfloat16),
    Shape(6, 2, 40, torch.bfloat16, int8=True),
    Shape(4, 2, 80, int8=True),
    Shape(8, 2, 64, scores=Scores(40.0, 1.5)),
    Shape(4, 2, 16, int8=True, scores=Scores(16.0, 0.5)),
]
shapes = st.builds(lambda shape, window: replace(shape, window=window), st.sampled_from(SHAPES), windows)


class Step:
    """Rows of a step with random q, k, v that depend on the slot alone, over a cache that holds all other slots."""

    def __init__(self, shape: Shape, spans: Sequence[Span], seed: int = 0) -> None:
        self.shape, self.spans = shape, spans
        noise = torch.Generator().manual_seed(seed)
        heads = shape.heads + 2 * shape.kv_heads
        drawn = torch.randn(SLOTS, heads, shape.dim, generator=noise).to(shape.dtype)
        self.by_slot = [drawn[:, : shape.heads], *drawn[:, shape.heads :].chunk(2, dim=1)]
        self.to = np.concatenate([s.slots[s.start : s.start + s.count] for s in spans])

    def cache(self) -> KVCache:
        s = self.shape
        return KVCache(SLOTS, 1, s.kv_heads, s.dim, CPU, s.dtype, s.int8)

    def run(self, kernels: Library, size: int | None = None) -> torch.Tensor:
        cache = self.cache()
        cache.write(0, torch.arange(SLOTS), *self.by_slot[1:])
        attention = NativeAttention(kernels, cache, self.shape.heads, [self.shape.window], size, self.shape.scores)
        return attention.step(self.spans, self.to)(0, *(x[self.to] for x in self.by_slot)).clone()

    def run_torch(self) -> torch.Tensor:
        cache = self.cache()
        cache.write(0, torch.arange(SLOTS), *self.by_slot[1:])
        attention = TorchAttention(cache, self.shape.heads, [self.shape.window], True, self.shape.scores)
        return attention.step(self.spans, self.to)(0, *(x[self.to] for x in self.by_slot))

    def right(self) -> torch.Tensor:
        """In float64, one query at a time."""
        s = self.shape
        cache = self.cache()
        cache.write(0, torch.arange(SLOTS), *self.by_slot[1:])
        k, v = (x.double() for x in cache.data[0][:, :, :SLOTS])
        if cache.scales is not None:
            k, v = (x * y[:, :SLOTS, None].double() for x, y in zip((k, v), cache.scales[0]))
        q = self.by_slot[0].double().view(SLOTS, s.kv_heads, -1, s.dim)
        rows = []
        for span in self.spans:
            for end in range(span.start + 1, span.start + span.count + 1):
                seen = torch.from_numpy(span.slots[max(0, end - (s.window or end)) : end])
                by = s.scores or Scores(s.dim)
                scores = q[span.slots[end - 1]] @ k[:, seen].transpose(1, 2) / by.divisor**0.5
                if by.cap is not None:
                    scores = (scores / by.cap).tanh() * by.cap
                rows.append((scores.softmax(-1) @ v[:, seen]).view(s.heads, s.dim))
        return torch.stack(rows)


def close(found: torch.Tensor, right: torch.Tensor) -> bool:
    # bf16 rounds weights and results to 8 bits; values are within about 4.
    bound = 1e-5 if found.dtype is torch.float32 else 4 * 2**-8
    return bool((found.double() - right).abs().max() < bound)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@QUIET
@given(found=contexts(), shape=shapes)
def test_right_against_float64_and_the_torch_twin(
    kernels: Library, found: list[tuple[list[int], int]], shape: Shape
) -> None:
    step = Step(shape, spans_of(found)[0])
    out = step.run(kernels)
    assert close(out, step.right())
    assert close(step.run_torch(), step.right())


@QUIET
@given(found=contexts(), shape=shapes, data=st.data())
def test_a_row_has_the_same_bits_alone_and_in_any_company(
    kernels: Library, found: list[tuple[list[int], int]], shape: Shape, data: st.DataObject
) -> None:
    spans, _ = spans_of(found)
    out = Step(shape, spans).run(kernels)
    for size in (1, data.draw(st.integers(2, 80))):
        assert torch.equal(Step(shape, spans).run(kernels, size), out)
    alone = [Step(shape, [replace(span, first=0)]).run(kernels) for span in spans]
    assert torch.equal(torch.cat(alone), out)
    # In another order, and each span cut into chunks of other lengths.
    where, pieces = [], []
    for span in data.draw(st.permutations(spans)):
        at = 0
        while at < span.count:
            count = data.draw(st.integers(1, span.count - at))
            pieces.append(Span(len(where), span.start + at, count, span.slots))
            where += range(span.first + at, span.first + at + count)
            at += count
    assert torch.equal(Step(shape, pieces).run(kernels), out[where])


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[6]])
def test_shared_and_private_slots_give_the_same_bits(kernels: Library, shape: Shape) -> None:
    spans, _ = spans_of([([0] * 200 + [i] * (40 + i), 1) for i in range(20)])
    step = Step(shape, spans)
    assert len({int(s.slots[CHUNK]) for s in spans}) == 1
    shared = step.run(kernels)
    places = iter(range(SLOTS))
    apart = [replace(s, slots=np.array([next(places) for _ in range(s.start + 1)])) for s in spans]
    copy = Step(shape, apart)
    for x, y in zip(copy.by_slot, step.by_slot):
        filled = y.clone()
        for a, b in zip(apart, spans):
            filled[a.slots] = y[b.slots[: len(a.slots)]]
        x.copy_(filled)
    assert torch.equal(copy.run(kernels), shared)


@pytest.mark.parametrize("shape", SHAPES)
def test_needle(kernels: Library, shape: Shape) -> None:
    """One decoding request among 63 others, some with its prefix, and a prefill; with 1, 2 and 3 threads."""
    spans, _ = spans_of([([0] * (64 + 7 * i % 150) + [i] * (i % 70 + 1), 1) for i in range(64)] + [([99] * 150, 90)])
    needle = Step(shape, [replace(spans[37], first=0)]).run(kernels)
    assert torch.equal(Step(shape, spans).run(kernels)[37], needle[0])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1]])
def test_threads_change_no_bits(kernels: Library, shape: Shape) -> None:
    spans, _ = spans_of([*siblings, ([99] * 300, 290), ([0] * 150, 20)])
    out = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        out.append(Step(shape, spans).run(kernels))
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


def test_threads_may_change_between_steps(kernels: Library, threads: None) -> None:
    spans, _ = spans_of([([1] * 200, 150)])
    step = Step(SHAPES[0], spans)
    attention = NativeAttention(kernels, step.cache(), 14, [None])
    out = []
    for count in (1, 3, 2):
        torch.set_num_threads(count)
        q, k, v = (x[step.to] for x in step.by_slot)
        out.append(attention.step(spans, step.to)(0, q, k, v).clone())
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])


def test_rows_in_no_span_give_zeros_and_are_stored_nowhere(kernels: Library) -> None:
    spans, rows = spans_of([([1] * 10, 3)])
    step = Step(SHAPES[0], spans)
    cache = step.cache()
    attention = NativeAttention(kernels, cache, 14, [None])
    q, k, v = (torch.full((5, n, 64), torch.nan) for n in (14, 2, 2))
    attention.step([Span(0, 0, 5, np.arange(100, 105))], np.full(5, -1))(0, q, k, v)  # leaves NaN in buffers
    assert cache.data.abs().sum() == 0
    to = np.concatenate([step.to, [-1, -1]])
    q, k, v = (torch.cat([x[step.to], torch.full_like(x[:2], torch.nan)]) for x in step.by_slot)
    out = attention.step(spans, to)(0, q, k, v)
    assert torch.equal(out[rows:], torch.zeros(2, 14, 64))
    assert out[:rows].isfinite().all()
    assert sorted({int(i) for i in cache.data[0, 0, 0].abs().sum(-1).nonzero()}) == sorted(step.to.tolist())


def test_what_the_kernel_cannot_compute_is_refused(kernels: Library) -> None:
    for dim, dtype in ((5, torch.bfloat16), (5, torch.float32), (8, torch.float16)):
        with pytest.raises(ValueError, match=f"head_dim {dim}; the kernel takes float32 and bfloat16"):
            NativeAttention(kernels, KVCache(8, 1, 2, dim, CPU, dtype), 2, [None])


def test_what_is_not_finite_stays_with_its_request(kernels: Library) -> None:
    spans, _ = spans_of([([i] * 100, 1) for i in range(8)])
    for shape in (SHAPES[0], SHAPES[1], SHAPES[7]):
        clean = Step(shape, spans).run(kernels)
        step = Step(shape, spans)
        step.by_slot[1][spans[3].slots[50]] = torch.nan
        step.by_slot[2][spans[5].slots[50]] = torch.inf
        out = step.run(kernels)
        assert not out[3].isfinite().any()
        assert not out[5].isfinite().all()
        others = [0, 1, 2, 4, 6, 7]
        assert torch.equal(out[others], clean[others])


def test_scores_of_any_size_do_not_overflow(kernels: Library) -> None:
    spans, _ = spans_of([([1] * 130, 1)])
    step = Step(SHAPES[0], spans)
    for x in step.by_slot[:2]:
        x *= 1e6
    assert close(step.run(kernels), step.right())


def test_both_paths_store_the_same_int8(kernels: Library) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        k, v = torch.randn(2, 40, 3, 20, generator=torch.Generator().manual_seed(1)).to(dtype)
        k[3], v[4, 1] = 0.0, torch.inf
        caches = [KVCache(64, 1, 3, 20, CPU, dtype, int8=True) for _ in range(2)]
        slots = np.arange(40)[::-1].copy()
        caches[0].write(0, torch.from_numpy(slots), k, v)
        q, spans = torch.zeros(40, 3, 20, dtype=dtype), [Span(0, 0, 40, slots)]
        NativeAttention(kernels, caches[1], 3, [None]).step(spans, slots)(0, q, k, v)
        assert torch.equal(caches[0].data[..., :64, :], caches[1].data[..., :64, :])
        assert caches[0].scales is not None
        assert caches[1].scales is not None
        assert torch.equal(caches[0].scales[..., :64].nan_to_num(-1), caches[1].scales[..., :64].nan_to_num(-1))


@dataclass(frozen=True)
class Plan:
    tiles: NDArray[np.int64]  # [n, 6]: begin, count, from, to, tasks, task
    queries: NDArray[np.int64]  # [n, 4]: row, position, first, address
    tasks: int
    cut: int


def planned(kernels: Library, spans: Sequence[Span], size: int, window: int = 0, threads: int = 1) -> Plan:
    """As for two K/V heads."""
    given = np.array([(s.first, s.start, s.count, s.slots.ctypes.data) for s in spans], np.int64)
    shape = np.array([4, 2, 8, SLOTS, 0, 0, size, threads])
    room = np.zeros(5 + 10 * sum(s.count for s in spans), np.int64)
    order = np.zeros(2 + 2 * len(spans), np.int64)
    kernels.function("attention_order", POINTER, SIZE, POINTER)(given.ctypes.data, len(spans), order.ctypes.data)
    make = kernels.function("attention_plan", POINTER, SIZE, POINTER, SIZE, POINTER, POINTER)
    make(given.ctypes.data, len(spans), order.ctypes.data, window, shape.ctypes.data, room.ctypes.data)
    tiles, queries, _, tasks, cut = map(int, room[:5])
    return Plan(room[5:][: 6 * tiles].reshape(-1, 6), room[5 + 6 * tiles :][: 4 * queries].reshape(-1, 4), tasks, cut)


@QUIET
@given(found=contexts(), size=st.integers(1, 40), window=windows, threads=st.integers(1, 5))
def test_a_plan_has_every_query_once_and_contexts_that_begin_alike_side_by_side(
    kernels: Library, found: list[tuple[list[int], int]], size: int, window: int | None, threads: int
) -> None:
    spans, rows = spans_of(found)
    plan = planned(kernels, spans, size, window or 0, threads)
    tiles, queries = plan.tiles, plan.queries
    assert sorted(i for begin, count, *_ in tiles for i in range(begin, begin + count)) == list(range(rows))
    assert max(tiles[:, 1]) <= size
    assert tiles[:, 5].tolist() == [0, *tiles[:, 4].cumsum()[:-1]]
    assert plan.tasks == tiles[:, 4].sum()
    assert plan.cut == (tiles[:, 4] > 1).sum() == (tiles[: plan.cut, 4] > 1).sum(), "those that are cut come first"
    for begin, count, first, end, *_ in tiles:
        seen = queries[begin : begin + count]
        assert (first, end - 1) == (min(seen[:, 2]) // CHUNK, max(seen[:, 1]) // CHUNK)
    expected = [
        (s.first + i, s.start + i, max(0, s.start + i + 1 - window) if window else 0, s.slots.ctypes.data)
        for s in spans
        for i in range(s.count)
    ]
    assert sorted(map(tuple, queries.tolist())) == sorted(expected)
    by_address = {s.slots.ctypes.data: s for s in spans}
    order = [by_address[a] for a in dict.fromkeys(queries[:, 3].tolist())]
    for end in range(CHUNK - 1, 3 * CHUNK, CHUNK):
        groups = [int(s.slots[end]) if s.start >= end else -1 for s in order]
        runs = [g for i, g in enumerate(groups) if g >= 0 and (i == 0 or groups[i - 1] != g)]
        assert len(runs) == len(set(runs))


def test_dear_tiles_come_first(kernels: Library) -> None:
    plan = planned(kernels, [Span(0, 0, 1000, np.arange(1000))], 100)
    assert [int(plan.queries[begin, 1]) for begin, *_ in plan.tiles] == list(range(900, -1, -100))


@pytest.mark.parametrize(
    ("threads", "spans", "tasks"),
    [
        (1, [(3999, 1)], [1]),
        (2, [(3999, 1)], [1]),  # a K/V head for each
        (3, [(3999, 1)], [4]),
        (2, [(3999, 1), (3999, 1)], [1, 1]),
        (3, [(3999, 1), (3999, 1)], [4, 4]),
        (4, [(3999, 1), (3999, 1)], [1, 1]),
        (4, [(1023, 1)], [1]),  # one segment
        (4, [(1024, 1)], [2]),
        (2, [(200, 1), (201, 1), (202, 1), (203, 1), (204, 1), (3999, 1)], [4, 1, 1, 1, 1, 1]),
    ],
)
def test_a_tile_is_cut_where_one_thread_would_have_too_much(
    kernels: Library, threads: int, spans: list[tuple[int, int]], tasks: list[int]
) -> None:
    given = [Span(i, start, count, np.arange(SLOTS)) for i, (start, count) in enumerate(spans)]
    assert planned(kernels, given, 1, threads=threads).tiles[:, 4].tolist() == tasks


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("window", [None, 1500])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[6]])
def test_threads_that_share_a_long_context_change_no_bits(kernels: Library, shape: Shape, window: int | None) -> None:
    """One request alone, several that begin alike, and a prompt's end, with 1, 2 and 4 threads."""
    shape = replace(shape, window=window)
    alone, _ = spans_of([([7] * 3900, 1)])
    company, _ = spans_of([([7] * 3900, 1), ([7] * 3000 + [8] * 90, 1), ([7] * 2100, 40), ([9] * 70, 70)])
    found = []
    for count in (1, 2, 4):
        torch.set_num_threads(count)
        found += [Step(shape, alone).run(kernels)[0], Step(shape, company).run(kernels)[0]]
        assert torch.equal(found[-1], found[0])
        assert torch.equal(found[-2], found[0])
        rest = Step(shape, company).run(kernels)
        assert torch.equal(rest, Step(shape, company).run(kernels, 3))
    assert close(rest, Step(shape, company).right())


def test_the_order_of_a_step_is_kept_while_the_same_requests_decode(kernels: Library) -> None:
    """Three families in turns, whose contexts grow over the end of a chunk; then one leaves, and others come."""
    cache = KVCache(4096, 1, 2, 16, CPU, torch.float32)
    noise = torch.Generator().manual_seed(0)
    cache.data.copy_(torch.randn(cache.data.shape, generator=noise))
    attention = NativeAttention(kernels, cache, 4, [None], size=3)
    families = [np.arange(80 * i, 80 * i + 64) for i in range(3)]
    paths = [np.concatenate([families[i % 3], 300 + 40 * i + np.arange(40)]) for i in range(9)]

    def step(some: list[NDArray[np.int64]], position: int, starts: Sequence[int] = ()) -> None:
        """Positions up to `position` of each; from `starts` on, else that one alone."""
        firsts = list(starts) or [position] * len(some)
        counts = [position + 1 - first for first in firsts]
        rows = [sum(counts[:i]) for i in range(len(some))]
        spans = [Span(*numbers, path) for *numbers, path in zip(rows, firsts, counts, some, strict=True)]
        q = torch.randn(sum(counts), 4, 16, generator=noise)
        k, v = torch.randn(2, sum(counts), 2, 16, generator=noise)
        slots = np.concatenate([path[first : position + 1] for first, path in zip(firsts, some, strict=True)])
        slots[slots < 300] = -1  # shared ones stay as they are
        found = attention.step(spans, slots)(0, q, k, v).clone()
        fresh = NativeAttention(kernels, cache, 4, [None], size=3).step(spans, slots)(0, q, k, v)
        assert torch.equal(found, fresh)

    def changes() -> int:
        """Neighbours of different families."""
        rows = attention._order[2:11].tolist()
        assert sorted(rows) == list(range(9))
        return len([i for i in range(1, 9) if rows[i] % 3 != rows[i - 1] % 3])

    step(paths, 69, [0, 0, 0, *[64] * 6])  # leaders with their prompts, whose beginnings see no whole chunk
    for position in range(70, 76):
        step(paths, position)
        assert changes() == 2
    step(paths[1:], 76)
    step(paths[::-1], 77)
    step(paths[::-1], 78)
    for position in range(40, 103):  # too short at first to be told apart
        step(paths, position)
    assert changes() != 2
    step(paths, 103)
    step(paths, 103)
    step(paths, 103)
    assert changes() == 2


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kv_dtype", ["auto", "int8"])
def test_an_engine_whose_threads_share_a_context_is_exact(kernels: Library, kv_dtype: str, tmp_path: Path) -> None:
    """Contexts of several segments of the native kernel, alone and together, in chunks, with 1, 2 and 4 threads."""
    folder = save_checkpoint(tmp_path, max_position_embeddings=4096)
    long = tuple((7 * i * i + 3) % 290 for i in range(2300))
    asked = [
        Request(prompt, Sampling(max_tokens=4, ignore_eos=True), logprobs=True)
        for prompt in (long, long[:1200], (*long[:2200], 1, 2))
    ]
    found = []
    for count, options in ((1, {}), (2, {"chunk": 700}), (4, {"max_batch_tokens": 900})):
        torch.set_num_threads(count)
        engine = load_engine(folder, backend="native", kv_tokens=8000, kv_dtype=kv_dtype, **options)  # type: ignore[arg-type]
        found += [[answer(c) for c in finish(engine, asked)], [answer(finish(engine, [r])[0]) for r in asked]]
        engine.close()
    naive = load_engine(folder, kind="naive", backend="native", kv_dtype=kv_dtype)  # type: ignore[arg-type]
    found.append([answer(finish(naive, [r])[0]) for r in asked])
    assert all(one == found[0] for one in found)
