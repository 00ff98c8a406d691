"""What is measured is what happened: exact counts, and times on a clock that only steps move."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend import Sampling
from lampc.backend.histogram import Distribution, Histogram
from lampc.backend.metrics import METRICS_WINDOW_S
from lampc.backend.request import Handle, Request, State
from lampc.backend.window import SLOTS, Window
from tests.backend.engines import TIGHT, TimedEngine, bring, ids, request

# -- one request --------------------------------------------------------------------------------------


def measured(handle: Handle) -> tuple[float | None, ...]:
    assert handle.completion is not None
    m = handle.completion.metrics
    assert m is not None
    return m.arrived, m.queue_s, m.ttft_s, m.itl_mean_s, m.itl_max_s, m.finished_s


def test_a_request_is_measured_from_its_arrival() -> None:
    engine = TimedEngine(step_s=2.0, chunk=4)
    engine.now = 10.0
    handle = engine.submit(request("12345678", 3))
    engine.now = 11.0
    engine.run()
    # two steps for the prompt, the second gives the first token, two more for the others
    assert measured(handle) == (10.0, 1.0, 5.0, 2.0, 2.0, 9.0)


def test_a_pause_shows_in_the_longest_gap() -> None:
    engine = TimedEngine(step_s=1.0)
    handle = engine.submit(request("1", 4))
    engine.step()
    engine.step()
    engine.now += 5.0
    engine.run()
    assert measured(handle) == (0.0, 0.0, 1.0, pytest.approx(8 / 3), 6.0, 9.0)
    assert engine.metrics().itl.counts[-2:] == (1, 0), "one gap of six seconds, none above ten"


def test_what_did_not_happen_is_none() -> None:
    engine = TimedEngine(max_running=1)
    first, second = engine.submit(request("a", 1)), engine.submit(request("b", 1))
    scoring = engine.submit(Request(ids("a"), score=ids("bc")))
    engine.step()
    engine.abort(second)
    engine.run()
    assert measured(first) == (0.0, 0.0, 1.0, None, None, 1.0)
    assert measured(second)[1:5] == (None, None, None, None)
    assert measured(scoring)[2:5] == (None, None, None)
    metrics = engine.metrics()
    assert (metrics.queue.count, metrics.ttft.count, metrics.itl.count, metrics.e2e.count) == (2, 1, 0, 3)


def test_preemptions_and_cached_tokens_of_a_request() -> None:
    engine = TimedEngine(**TIGHT)
    victim = bring(engine, State.PREEMPTED)
    assert engine.metrics().preempted == 1
    counted = 0
    for handle in engine.run():
        completion = handle.completion
        assert completion is not None
        assert completion.metrics is not None
        assert completion.metrics.cached_tokens == completion.cached_tokens
        counted += completion.metrics.preemptions
        assert handle is not victim or completion.metrics.preemptions >= 1
    assert counted <= engine.metrics().stats.preemptions
    warm = TimedEngine()
    for _ in range(2):
        handle = warm.submit(request("12345678", 1))
        warm.run()
    assert handle.completion is not None
    assert handle.completion.metrics is not None
    assert handle.completion.metrics.cached_tokens == 7, "the last token's logits are always computed"


# -- the engine ---------------------------------------------------------------------------------------


def test_rates_and_shares_are_those_of_the_window() -> None:
    engine = TimedEngine(step_s=0.5, max_running=2)
    for text in ("aaaa", "bbbb", "aaaa"):
        engine.submit(request(text, 4))
    engine.step()
    now = engine.metrics()
    assert (now.running, now.waiting, now.prefilling, now.preempted) == (2, 1, 0, 0)
    engine.now += 0.5
    engine.run()
    metrics = engine.metrics()
    # 4 steps of two requests, then 4 of the third; 0.5 s of pause; 12 tokens, 8 + 4 prompt tokens of which 3 cached
    assert metrics.window_s == 4.5
    assert metrics.generated_per_s == pytest.approx(12 / 4.5)
    assert metrics.prompt_per_s == pytest.approx(12 / 4.5)
    assert metrics.cache_hit_rate == pytest.approx(3 / 12)
    assert metrics.batch_requests == pytest.approx((4 * 2 + 4) / 8)
    assert metrics.batch_rows == pytest.approx((8 + 3 * 2 + 1 + 3) / 8)
    assert metrics.device_s == pytest.approx(4.0)
    assert metrics.device_use == pytest.approx(4.0 / 4.5)
    assert metrics.kv_use == metrics.stats.used_blocks / metrics.stats.total_blocks
    assert dict(metrics.finished) == {"stop": 0, "length": 3, "abort": 0, "error": 0, "timeout": 0}
    engine.now += 2 * METRICS_WINDOW_S
    later = engine.metrics()
    assert (later.generated_per_s, later.batch_rows, later.cache_hit_rate, later.device_use) == (0, 0, 0, 0)
    assert later.device_s == pytest.approx(4.0)
    assert later.stats.generated_tokens == 12


def test_failures_are_counted() -> None:
    engine = TimedEngine()
    engine.failing[9] = RuntimeError("no")
    engine.submit(request("a", key=9))
    engine.run()
    with pytest.raises(ValueError, match="vocabulary"):
        engine.submit(Request((9999,), Sampling()))
    metrics = engine.metrics()
    assert (metrics.failed_steps, metrics.refused, metrics.finished["error"]) == (1, 1, 1)


# -- histograms and windows ---------------------------------------------------------------------------


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50), st.floats(0, 1))
def test_a_histogram_counts_and_its_quantiles_fall_into_the_right_bucket(values: list[float], q: float) -> None:
    histogram = Histogram((0.5, 1.0, 5.0, 10.0))
    for value in values:
        histogram.observe(value)
    found = histogram.read()
    assert found.count == len(values)
    assert found.total == pytest.approx(sum(values))
    edges = (-1.0, *found.bounds, math.inf)
    for low, high, count in zip(edges, edges[1:], found.counts):
        assert count == sum(low < v <= high for v in values)
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    at = next(i for i, bound in enumerate(edges[1:]) if exact <= bound)
    assert max(0.0, edges[at]) <= found.quantile(q) <= min(edges[at + 1], 10.0) or exact > 10.0


def test_histograms_say_what_is_wrong() -> None:
    for bounds in ((), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="bounds are"):
            Histogram(bounds)
    empty = Distribution((1.0,), (0, 0), 0.0)
    assert math.isnan(empty.quantile(0.5))
    with pytest.raises(ValueError, match="q is 2"):
        empty.quantile(2)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), max_size=40), st.floats(0, 15))
def test_a_window_holds_what_is_not_older(steps: list[tuple[float, float]], rest: float) -> None:
    start = now = 100.0
    window = Window(2, 10.0, start)
    events: list[tuple[float, float]] = []
    for wait, amount in steps:
        now += wait
        window.at(now)[0] += amount
        events.append((now, amount))
    now += rest
    sums, covered = window.read(now)
    assert 0 <= covered <= 10.0
    assert covered == pytest.approx(min(now - start, covered))
    assert covered >= min(now - start, 10.0 * (1 - 1 / SLOTS)) - 1e-9
    least = sum(a for t, a in events if t > now - covered + 1e-9)
    most = sum(a for t, a in events if t > now - covered - 1e-9)
    assert least - 1e-9 <= sums[0] <= most + 1e-9
    assert sums[1] == 0


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 25)), max_size=12))
def test_a_window_spreads_time_over_its_slots(spans: list[tuple[float, float]]) -> None:
    now = 50.0
    window = Window(1, 10.0, now)
    busy: list[tuple[float, float]] = []
    for wait, length in spans:
        start = now + wait
        now = start + length
        window.spread(0, start, now)
        busy.append((start, now))
    (seconds,), covered = window.read(now)
    inside = sum(max(0.0, end - max(start, now - covered)) for start, end in busy)
    assert seconds == pytest.approx(inside, abs=1e-6)
