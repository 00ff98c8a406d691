"""What is measured while requests run: per request, and for the engine as a whole. All times are the engine's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampc.backend.histogram import STEP_BOUNDS, WAIT_BOUNDS, Distribution, Histogram
from lampc.backend.window import Window

if TYPE_CHECKING:
    from lampc.backend.api import EngineStats
    from lampc.backend.request import Finish


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """What one request went through, in seconds; `arrived` is a time on the engine's clock.

    `queue_s`: arrival to first admission, None if it never was. `ttft_s`: arrival to first generated token, None
    if there was none (also of requests that only score). `itl_mean_s` and `itl_max_s`: between one generated
    token and the next, None if there were fewer than two. `finished_s`: arrival to end. `cached_tokens`: prompt
    tokens it did not have to compute. `preemptions`: how often it had to give its memory back.
    """

    arrived: float
    queue_s: float | None
    ttft_s: float | None
    itl_mean_s: float | None
    itl_max_s: float | None
    finished_s: float
    cached_tokens: int
    preemptions: int


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """An engine as of one moment. Rates, means and shares are over the last `window_s` seconds, which is up to
    `METRICS_WINDOW_S`; all else is exact, and since the engine was made.

    Now: `running` requests have blocks, `prefilling` of them still compute their prompt; `waiting` is the depth
    of the queue, `preempted` of them had to go back to it. `kv_use` is the share of KV blocks that hold
    anything, cached prefixes included.

    Over the window: `generated_per_s` and `prompt_per_s` in tokens (prompt tokens both computed and cached);
    `batch_requests` and `batch_rows` are means per step that did not fail, of running requests and of rows (tokens
    that go through the model); `cache_hit_rate` is the share of prompt tokens that were not computed; `device_use`
    the share of wall time in the runner.

    Since the start: `device_s` seconds in the runner, which makes inputs, computes the model and samples, in steps
    that failed too; `failed_steps`; `refused` requests that were not queued
    (queue full, refused by a hook, or not valid); `finished` requests by reason; distributions in seconds of
    `queue`, `ttft`, `itl` (one entry for each token after the first) and `e2e`, as in `RequestMetrics`.
    """

    stats: EngineStats
    running: int
    prefilling: int
    waiting: int
    preempted: int
    kv_use: float
    window_s: float
    generated_per_s: float
    prompt_per_s: float
    batch_requests: float
    batch_rows: float
    cache_hit_rate: float
    device_use: float
    device_s: float
    failed_steps: int
    refused: int
    finished: Mapping[Finish, int]
    queue: Distribution
    ttft: Distribution
    itl: Distribution
    e2e: Distribution


METRICS_WINDOW_S = 10.0
_STEPS, _RUNNING, _ROWS, _GENERATED, _CACHED, _COMPUTED, _BUSY = range(7)


class Times:
    """When things happened to one request, on the engine's clock; what did not happen yet is None."""

    __slots__ = ("admitted", "arrived", "first", "last", "longest", "preemptions", "tokens")

    def __init__(self) -> None:
        self.arrived = 0.0
        self.admitted: float | None = None
        self.first: float | None = None
        self.last = 0.0
        self.longest = 0.0
        self.tokens = 0
        self.preemptions = 0


class Recorder:
    """Measures one engine. Every call costs about a microsecond and allocates nothing that stays."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._window = Window(7, METRICS_WINDOW_S, clock())
        self._queue = Histogram(WAIT_BOUNDS)
        self._ttft = Histogram(WAIT_BOUNDS)
        self._itl = Histogram(STEP_BOUNDS)
        self._e2e = Histogram(WAIT_BOUNDS)
        self._finished: dict[Finish, int] = dict.fromkeys(("stop", "length", "abort", "error", "timeout"), 0)
        self._now, self._sums = -1.0, self._window.at(clock())  # of the last token
        self._device_s = 0.0
        self.failed_steps = 0
        self.refused = 0

    def admitted(self, times: Times, now: float) -> None:
        """A request got its blocks, for the first time or again."""
        if times.admitted is None:
            times.admitted = now
            self._queue.observe(now - times.arrived)

    def busy(self, start: float, end: float) -> None:
        """The runner worked from `start` to `end`."""
        self._device_s += end - start
        self._window.spread(_BUSY, start, end)

    def step(self, now: float, running: int, rows: int, cached: int, computed: int) -> None:
        """A step went well: `running` requests, `rows` through the model, prompt tokens `cached` and `computed`."""
        sums = self._window.at(now)
        sums[_STEPS] += 1
        sums[_RUNNING] += running
        sums[_ROWS] += rows
        sums[_CACHED] += cached
        sums[_COMPUTED] += computed

    def token(self, times: Times, now: float) -> bool:
        """A request got a token; True if it is its first."""
        if now != self._now:
            self._now, self._sums = now, self._window.at(now)
        self._sums[_GENERATED] += 1
        times.tokens += 1
        if times.first is None:
            times.first = times.last = now
            self._ttft.observe(now - times.arrived)
            return True
        gap = now - times.last
        times.last = now
        if gap > times.longest:
            times.longest = gap
        self._itl.observe(gap)
        return False

    def tokens(self, now: float, gap: float, count: int) -> None:
        """So many requests got a token, none of them its first, `gap` seconds after the one before."""
        if not count:
            return
        if now != self._now:
            self._now, self._sums = now, self._window.at(now)
        self._sums[_GENERATED] += count
        self._itl.observe(gap, count)

    def finished(self, times: Times, now: float, finish: Finish, cached: int) -> RequestMetrics:
        """A request is over."""
        self._finished[finish] += 1
        self._e2e.observe(now - times.arrived)
        first, several = times.first, times.tokens > 1
        return RequestMetrics(
            arrived=times.arrived,
            queue_s=None if times.admitted is None else times.admitted - times.arrived,
            ttft_s=None if first is None else first - times.arrived,
            itl_mean_s=(times.last - first) / (times.tokens - 1) if first is not None and several else None,
            itl_max_s=times.longest if several else None,
            finished_s=now - times.arrived,
            cached_tokens=cached,
            preemptions=times.preemptions,
        )

    def refinished(self, before: Finish, after: Finish) -> None:
        """The end that was told to `finished` turned out to be another."""
        self._finished[before] -= 1
        self._finished[after] += 1

    def read(self, stats: EngineStats, *, running: int, prefilling: int, waiting: int, preempted: int) -> EngineMetrics:
        """Everything as of now."""
        sums, covered = self._window.read(self._clock())
        steps, prompt = sums[_STEPS] or 1.0, sums[_CACHED] + sums[_COMPUTED]
        per_s = 1.0 / covered if covered > 0.0 else 0.0
        return EngineMetrics(
            stats=stats,
            running=running,
            prefilling=prefilling,
            waiting=waiting,
            preempted=preempted,
            kv_use=stats.used_blocks / stats.total_blocks if stats.total_blocks else 0.0,
            window_s=covered,
            generated_per_s=sums[_GENERATED] * per_s,
            prompt_per_s=prompt * per_s,
            batch_requests=sums[_RUNNING] / steps,
            batch_rows=sums[_ROWS] / steps,
            cache_hit_rate=sums[_CACHED] / prompt if prompt else 0.0,
            device_use=min(1.0, sums[_BUSY] * per_s),
            device_s=self._device_s,
            failed_steps=self.failed_steps,
            refused=self.refused,
            finished=dict(self._finished),
            queue=self._queue.read(),
            ttft=self._ttft.read(),
            itl=self._itl.read(),
            e2e=self._e2e.read(),
        )
