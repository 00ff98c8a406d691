"""An engine's metrics in Prometheus' text format, by Prometheus' own client library.

`METRICS` is the whole list. Names, units and suffixes follow Prometheus' naming practices: base units (seconds,
tokens), `_total` for what only grows, `_ratio` for shares in [0, 1]. All carry the label `model`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from lampc.backend.api import EngineInfo
from lampc.backend.errors import EngineClosed
from lampc.backend.histogram import Distribution
from lampc.backend.metrics import EngineMetrics


class Measured(Protocol):
    """What can be exported: `Engine`, and every `TokenEngine`."""

    @property
    def info(self) -> EngineInfo:
        """Facts about the model."""
        ...

    def metrics(self) -> EngineMetrics:
        """Rates, shares and distributions as of now. Raises EngineClosed."""
        ...


@dataclass(frozen=True, slots=True)
class Exported:
    """One metric: its name as it is exported, its kind, what it says, and where it comes from.

    With `label`, `read` gives a number for each value of that label.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    read: Callable[[EngineMetrics], float | Distribution | Mapping[str, float]]
    label: str = ""


METRICS: tuple[Exported, ...] = (
    # Requests
    Exported("lampc_requests_total", "counter", "Requests queued.", lambda m: m.stats.requests),
    Exported(
        "lampc_requests_refused_total",
        "counter",
        "Requests not queued: the queue was full, a hook refused, or the request was not valid.",
        lambda m: m.refused,
    ),
    Exported(
        "lampc_requests_finished_total",
        "counter",
        "Requests that ended, by reason: stop, length, abort, timeout, error.",
        lambda m: {str(finish): count for finish, count in m.finished.items()},
        "reason",
    ),
    Exported(
        "lampc_requests_waiting", "gauge", "Depth of the queue, preempted requests included.", lambda m: m.waiting
    ),
    Exported("lampc_requests_preempted", "gauge", "Requests in the queue that ran before.", lambda m: m.preempted),
    Exported("lampc_requests_running", "gauge", "Requests that hold KV blocks.", lambda m: m.running),
    Exported(
        "lampc_requests_prefilling",
        "gauge",
        "Running requests that still compute their prompt.",
        lambda m: m.prefilling,
    ),
    Exported(
        "lampc_preemptions_total",
        "counter",
        "How often a running request gave its blocks back and returned to the queue.",
        lambda m: m.stats.preemptions,
    ),
    # Times of requests
    Exported("lampc_request_queue_seconds", "histogram", "Arrival to first admission.", lambda m: m.queue),
    Exported("lampc_time_to_first_token_seconds", "histogram", "Arrival to first generated token.", lambda m: m.ttft),
    Exported(
        "lampc_inter_token_latency_seconds", "histogram", "Between two generated tokens of a request.", lambda m: m.itl
    ),
    Exported("lampc_request_duration_seconds", "histogram", "Arrival to end.", lambda m: m.e2e),
    # Tokens
    Exported(
        "lampc_prompt_tokens_total", "counter", "Prompt tokens of admitted requests.", lambda m: m.stats.prompt_tokens
    ),
    Exported(
        "lampc_computed_tokens_total",
        "counter",
        "Prompt tokens that went through the model, again after a preemption.",
        lambda m: m.stats.computed_tokens,
    ),
    Exported(
        "lampc_cached_tokens_total",
        "counter",
        "Prompt tokens taken from the cache or from another request of the same step.",
        lambda m: m.stats.cached_tokens,
    ),
    Exported("lampc_generated_tokens_total", "counter", "Tokens sampled.", lambda m: m.stats.generated_tokens),
    Exported(
        "lampc_forward_tokens_total",
        "counter",
        "Rows that went through the model: of prompts and of generations.",
        lambda m: m.stats.forward_tokens,
    ),
    Exported(
        "lampc_drafted_tokens_total",
        "counter",
        "Tokens that were guessed and went through the model.",
        lambda m: m.stats.drafted_tokens,
    ),
    Exported(
        "lampc_accepted_tokens_total",
        "counter",
        "Guessed tokens that were those drawn there.",
        lambda m: m.stats.accepted_tokens,
    ),
    Exported(
        "lampc_generated_tokens_per_second", "gauge", "Tokens sampled per second, lately.", lambda m: m.generated_per_s
    ),
    Exported(
        "lampc_prompt_tokens_per_second",
        "gauge",
        "Prompt tokens per second, computed and cached, lately.",
        lambda m: m.prompt_per_s,
    ),
    Exported(
        "lampc_cache_hit_ratio",
        "gauge",
        "Share of prompt tokens that were not computed, lately.",
        lambda m: m.cache_hit_rate,
    ),
    # Steps and the device
    Exported(
        "lampc_steps_total", "counter", "Batches through the model, failed ones included.", lambda m: m.stats.steps
    ),
    Exported("lampc_failed_steps_total", "counter", "Steps that raised.", lambda m: m.failed_steps),
    Exported(
        "lampc_batch_requests",
        "gauge",
        "Running requests per step that did not fail, mean, lately.",
        lambda m: m.batch_requests,
    ),
    Exported("lampc_batch_rows", "gauge", "Rows per step that did not fail, mean, lately.", lambda m: m.batch_rows),
    Exported(
        "lampc_device_seconds_total",
        "counter",
        "Time spent on making inputs, the model, and sampling, failed steps included.",
        lambda m: m.device_s,
    ),
    Exported(
        "lampc_device_use_ratio",
        "gauge",
        "Share of time spent on making inputs, the model, and sampling, lately.",
        lambda m: m.device_use,
    ),
    # KV memory
    Exported("lampc_kv_blocks_capacity", "gauge", "Blocks of the KV pool.", lambda m: m.stats.total_blocks),
    Exported(
        "lampc_kv_blocks_used",
        "gauge",
        "Blocks that hold anything, cached prefixes included.",
        lambda m: m.stats.used_blocks,
    ),
    Exported("lampc_kv_blocks_peak", "gauge", "The most blocks ever used at once.", lambda m: m.stats.peak_blocks),
    Exported("lampc_kv_use_ratio", "gauge", "Share of KV blocks that hold anything.", lambda m: m.kv_use),
    Exported(
        "lampc_evicted_tokens_total",
        "counter",
        "Cached tokens that went to make room.",
        lambda m: m.stats.evicted_tokens,
    ),
    # KV in host memory
    Exported(
        "lampc_host_kv_blocks_capacity", "gauge", "Blocks of K/V in host memory.", lambda m: m.stats.host_total_blocks
    ),
    Exported("lampc_host_kv_blocks_used", "gauge", "Those that hold anything.", lambda m: m.stats.host_used_blocks),
    Exported(
        "lampc_swapped_out_tokens_total",
        "counter",
        "Evicted tokens that were copied to host memory.",
        lambda m: m.stats.swapped_out_tokens,
    ),
    Exported(
        "lampc_swapped_in_tokens_total",
        "counter",
        "Tokens copied back from host memory instead of computed.",
        lambda m: m.stats.swapped_in_tokens,
    ),
)


class EngineCollector(Collector):
    """Reads engines each time it is asked; engines that are closed by then are left out.

    Register it with a registry of the client library, or use `text`. Raises ValueError if two engines have one name.
    """

    def __init__(self, *engines: Measured) -> None:
        names = [engine.info.name for engine in engines]
        if len(set(names)) < len(names):
            raise ValueError(f"the engines are named {', '.join(names)}; their metrics could not be told apart")
        self._engines = engines

    def describe(self) -> Iterator[Metric]:
        """All families, empty: so that registering a collector asks nothing of an engine."""
        yield _info()
        for exported in METRICS:
            yield _family(exported)

    def collect(self) -> Iterator[Metric]:
        """All families as of now."""
        found: list[tuple[EngineInfo, EngineMetrics]] = []
        for engine in self._engines:
            try:
                found.append((engine.info, engine.metrics()))
            except EngineClosed:
                continue
        facts = _info()
        for info, _ in found:
            facts.add_metric([info.name], {"digest": info.digest, "exact": str(info.exact).lower()})
        yield facts
        for exported in METRICS:
            family = _family(exported)
            for info, metrics in found:
                _add(family, info.name, exported.read(metrics))
            yield family


def text(*engines: Measured) -> str:
    """The metrics of engines in Prometheus' text format, version 0.0.4.

    Example:
        >>> print(text(engine))
    """
    registry = CollectorRegistry()
    registry.register(EngineCollector(*engines))
    return generate_latest(registry).decode()


Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def _info() -> InfoMetricFamily:
    return InfoMetricFamily("lampc_engine", "Facts about the engine.", labels=["model"])


def _family(exported: Exported) -> Family:
    kinds: dict[str, type[Family]] = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    labels = ["model", exported.label] if exported.label else ["model"]
    return kinds[exported.kind](exported.name, exported.help, labels=labels)


def _add(family: Family, model: str, value: float | Distribution | Mapping[str, float]) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Distribution)
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        family.add_metric([model], [*zip(bounds, accumulate(value.counts), strict=True)], value.total)
    elif isinstance(value, Mapping):
        for name, number in value.items():
            family.add_metric([model, name], number)
    else:
        assert not isinstance(value, Distribution)
        family.add_metric([model], value)
