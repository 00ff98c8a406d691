"""The text that Prometheus scrapes, read back by its own parser."""

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from lampc.backend import Engine, FakeEngine
from lampc.backend.prometheus import METRICS, EngineCollector, text
from tests.backend.engines import TimedEngine, request

LABELS = {"model": "fake"}


def families(written: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(written)}


def value(written: str, sample: str, **labels: str) -> float:
    found = [
        s.value
        for family in families(written).values()
        for s in family.samples
        if s.name == sample and s.labels == {**LABELS, **labels}
    ]
    assert len(found) == 1, (sample, found)
    return found[0]


def busy() -> TimedEngine:
    """Two equal prompts of 8 tokens, 3 tokens each; one aborted; one still waits, one runs."""
    engine = TimedEngine(step_s=0.25)
    engine.submit(request("12345678", 3))
    engine.submit(request("12345678", 3))
    engine.run()
    engine.abort(engine.submit(request("never", 3)))
    engine.submit(request("87654321", 3))
    engine.step()
    engine.submit(request("x", 3))
    return engine


def test_counters_are_exact() -> None:
    written = text(busy())
    expected = {
        "lampc_requests_total": 5,
        "lampc_requests_refused_total": 0,
        "lampc_prompt_tokens_total": 24,
        "lampc_computed_tokens_total": 16,  # of equal prompts in one step the second computes nothing
        "lampc_cached_tokens_total": 8,
        "lampc_generated_tokens_total": 7,
        "lampc_steps_total": 4,
        "lampc_failed_steps_total": 0,
        "lampc_preemptions_total": 0,
        "lampc_device_seconds_total": 1.0,
        "lampc_requests_running": 1,
        "lampc_requests_waiting": 1,
        "lampc_requests_prefilling": 0,
    }
    for name, number in expected.items():
        assert value(written, name) == number, name
    ends = {reason: value(written, "lampc_requests_finished_total", reason=reason) for reason in ("length", "abort")}
    assert ends == {"length": 2, "abort": 1}


def test_histograms_are_cumulative_and_in_seconds() -> None:
    written = text(busy())
    name = "lampc_time_to_first_token_seconds"
    assert value(written, f"{name}_count") == 3
    assert value(written, f"{name}_sum") == pytest.approx(0.75)
    assert value(written, f"{name}_bucket", le="0.2") == 0
    assert value(written, f"{name}_bucket", le="0.5") == 3
    assert value(written, f"{name}_bucket", le="+Inf") == 3
    assert value(written, "lampc_inter_token_latency_seconds_count") == 4
    for family in families(written).values():
        buckets = [s.value for s in family.samples if s.name.endswith("_bucket")]
        assert buckets == sorted(buckets)


def test_every_metric_is_there_with_its_kind_help_and_unit() -> None:
    written = families(text(busy()))
    assert len({m.name for m in METRICS}) == len(METRICS)
    for exported in METRICS:
        family = written[exported.name.removesuffix("_total")]
        assert family.type == exported.kind
        assert family.documentation == exported.help
        assert family.samples
        assert exported.help.endswith(".")
        assert exported.name.endswith("_total") == (exported.kind == "counter")
        assert exported.name.endswith("_seconds") == (exported.kind == "histogram")
        assert all(s.labels["model"] == "fake" for s in family.samples)
    facts = written["lampc_engine_info"].samples
    assert [(s.name, s.labels["exact"], s.value) for s in facts] == [("lampc_engine_info", "true", 1.0)]


def test_the_users_engine_writes_the_same_and_closed_ones_are_left_out() -> None:
    engine = Engine(FakeEngine())
    registry = CollectorRegistry(auto_describe=True)
    registry.register(EngineCollector(engine))
    assert registry.get_sample_value("lampc_requests_total", LABELS) == 0
    engine.generate(["a", "b"], max_tokens=2)
    assert registry.get_sample_value("lampc_requests_total", LABELS) == 2
    assert value(engine.prometheus(), "lampc_requests_total") == 2
    assert engine.metrics().stats == engine.stats()
    engine.close()
    assert registry.get_sample_value("lampc_requests_total", LABELS) is None


def test_engines_of_one_name_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="could not be told apart"):
        EngineCollector(FakeEngine(), FakeEngine())


def test_the_client_library_is_loaded_when_it_is_asked_for() -> None:
    code = (
        "import sys; from lampc.backend import Engine, FakeEngine; e = Engine(FakeEngine()); e.generate('a'); "
        "assert 'prometheus_client' not in sys.modules; e.prometheus(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}).returncode == 0
