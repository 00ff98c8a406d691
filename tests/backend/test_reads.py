"""What attention says that it reads: every query meets the keys it sees once, and a shared prefix is read for all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings

from lampc.backend.attention import Attention, TorchAttention
from lampc.backend.errors import Unsupported
from lampc.backend.kv_cache import KVCache
from lampc.backend.load import load_engine
from lampc.backend.native.attention import NativeAttention
from lampc.backend.native.shared_library import Library
from lampc.backend.reads import Read, StepReads, members_of, watch_reads
from lampc.backend.request import Request, Sampling
from lampc.backend.spans import Span
from lampc.backend.tiles import CHUNK
from tests.backend.test_exact import finish
from tests.backend.test_tiles import contexts, siblings, spans_of, windows

CPU = torch.device("cpu")
LAYERS, KV_HEADS, DIM = 3, 2, 8
Make = Callable[[int | None], Attention]
Contexts = list[tuple[list[int], int]]


@pytest.fixture(params=["torch", "native"])
def make(request: pytest.FixtureRequest) -> Make:
    library: Library | None = request.getfixturevalue("kernels") if request.param == "native" else None

    def attention(window: int | None) -> Attention:
        cache = KVCache(6400, LAYERS, KV_HEADS, DIM, CPU, torch.float32)
        each = [window] * LAYERS
        if library is not None:
            return NativeAttention(library, cache, 2 * KV_HEADS, each, size=12)
        return TorchAttention(cache, 2 * KV_HEADS, each, exact=True)

    return attention


def met_once(reads: list[Read], spans: list[Span], window: int | None, layers: int) -> None:
    """Each query meets the keys that it sees, and those of no place twice."""
    rows = sum(span.count for span in spans)
    most = max(span.start + span.count for span in spans)
    met = np.zeros((rows, most), int)
    per_key = 2 * layers * KV_HEADS * DIM * 4
    for read in reads:
        assert read.nbytes == (read.end - read.begin) * per_key
        paths = {tuple(spans[i].slots[read.begin : read.end]) for i in read.spans if spans[i].start >= read.end}
        assert len(paths) <= 1  # one stretch of slots, whoever reads it
        for i, start, count in read.members:
            row = spans[i].first + start - spans[i].start
            met[row : row + count, read.begin : read.end] += 1
    for span in spans:
        for i in range(span.count):
            end = span.start + i + 1
            seen = met[span.first + i, max(0, end - (window or end)) : end]
            assert (seen == 1).all()
            assert met.max() <= 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=contexts(), window=windows)
@example(found=siblings, window=100)
def test_each_query_meets_its_keys_once(make: Make, found: Contexts, window: int | None) -> None:
    spans, _ = spans_of(found)
    met_once(make(window).reads(spans), spans, window, LAYERS)


def test_a_prefix_is_read_once_for_all_who_decode_under_it(make: Make) -> None:
    spans, _ = spans_of([([0] * (4 * CHUNK) + [i] * 5, 1) for i in range(1, 9)])
    reads = make(None).reads(spans)
    shared = [read for read in reads if len(read.spans) > 1]
    assert [(read.begin, read.end, read.spans) for read in shared] == [(0, 4 * CHUNK, tuple(range(8)))]
    assert sorted(read.spans for read in reads if read not in shared) == [(i,) for i in range(8)]
    assert {read.kernel for read in reads} <= {"torch", "native"}


def test_rows_are_found_in_their_spans() -> None:
    slots = np.arange(20)
    spans = [Span(0, 4, 3, slots), Span(3, 9, 1, slots), Span(4, 0, 6, slots)]
    assert members_of(np.array([5, 0, 2, 3, 4, 9]), spans) == ((0, 4, 1), (0, 6, 1), (1, 9, 1), (2, 0, 2), (2, 5, 1))


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_an_engine_tells_what_its_steps_read(tiny: Path, backend: str) -> None:
    """Tokens stay the same; requests that come after the first read its prefix together."""
    engine = load_engine(tiny, kv_tokens=2048, backend=backend)  # type: ignore[arg-type]
    stem = tuple(5 + i % 40 for i in range(2 * CHUNK))
    asked = [Request((*stem, 50 + i), Sampling(max_tokens=4, ignore_eos=True)) for i in range(6)]
    plain = [c.tokens for c in finish(load_engine(tiny, kv_tokens=2048, backend=backend), asked)]  # type: ignore[arg-type]
    steps: list[StepReads] = []
    runner = engine._runner  # type: ignore[attr-defined]
    end = watch_reads(engine, steps.append)
    with pytest.raises(Unsupported, match="no paged attention to watch"):
        watch_reads(engine, steps.append)
    assert [c.tokens for c in finish(engine, asked)] == plain
    last = steps[-1]
    assert [handle.request for handle, _, _ in last.spans] == asked
    assert [(start, count) for _, start, count in last.spans] == [(2 * CHUNK + 3, 1)] * 6
    shared = [read for read in last.reads if len(read.spans) > 1]
    assert [(read.begin, read.end, read.spans) for read in shared] == [(0, 2 * CHUNK, tuple(range(6)))]
    assert last.ranks == 1
    end()
    assert engine._runner is runner  # type: ignore[attr-defined]  # nothing is left of it
    told = len(steps)
    finish(engine, asked)
    assert len(steps) == told


def test_an_engine_without_pages_has_nothing_to_tell(tiny: Path) -> None:
    with pytest.raises(Unsupported, match="no paged attention to watch in this NaiveEngine"):
        watch_reads(load_engine(tiny, kind="naive"), print)
