"""What the benchmark of programs makes of its results: ratios, goals, and the file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import programs  # noqa: E402
import programs_gpu  # noqa: E402
from program_bench import curve, summary  # noqa: E402
from program_bench.journal import Journal  # noqa: E402
from program_bench.measure import Result  # noqa: E402

from lampc.runtime.costs import KNOTS, StepCost  # noqa: E402

BASE = Result(
    *("rag", "ours", 2.0, 2.0, 9, 9, 1000, 505, 495, 90, 600, 30, 0, 0, 100, 60, 50, 200, 500, 500, 0.01, 0.01, 0),
    *("a", "b", 0),
)


def ways(ours: float, **seconds: float) -> dict[str, Result]:
    return {
        "ours": replace(BASE, makespan=ours),
        **{way: replace(BASE, way=way, makespan=taken) for way, taken in seconds.items()},
    }


TABLE = {
    "rag": {"ample": ways(2.0, pool=4.0, sequential=20.0), "25 %": ways(2.0, pool=8.0)},
    "chat": {"ample": ways(1.0, pool=0.5, sequential=2.0), "25 %": ways(1.0, pool=2.0)},
    "few_shot": {"ample": ways(1.0, pool=6.0), "25 %": ways(1.0, pool=3.0)},
}
GROUPS = {"rag": "mixed", "chat": "mixed", "few_shot": "closed_sets"}


def test_ratios_are_geometric_means_with_what_they_hang_on() -> None:
    found = {(r["group"], r["kv"], r["against"]): r for r in summary.ratios(TABLE, GROUPS, 2)}
    assert found["mixed", "ample", "pool"]["ratio"] == pytest.approx(1.0)
    assert found["mixed", "25 %", "pool"]["ratio"] == pytest.approx(8**0.5, abs=1e-3)
    assert found["mixed", "ample", "sequential"]["families"] == {"rag": 10.0, "chat": 2.0}
    assert found["closed_sets", "ample", "pool"]["threads"] == 2
    assert ("trials", "ample", "pool") not in found


def test_rounds_say_how_far_a_ratio_may_be_off() -> None:
    rounds = {"few_shot": {"ample": {"ours": [1.0, 1.2, 0.8], "pool": [6.0, 3.0, 8.0]}, "25 %": {}}}
    table = {"few_shot": {"ample": TABLE["few_shot"]["ample"]}}
    (one,) = summary.ratios(table, GROUPS, 2, rounds)
    assert one["ratio"] == pytest.approx(6.0)
    assert one["rounds"] == [2.5, 10.0]
    assert "2.5 to 10.0 by round" in next(iter(summary.time_goals(table, [one]))).about
    runs = [replace(BASE, makespan=m) for m in (3.0, 1.0, 2.0, 9.0)]
    assert [summary.middle(runs[:n]).makespan for n in (1, 2, 3, 4)] == [3.0, 1.0, 2.0, 2.0]


def test_layouts_count_where_they_are_worth_it() -> None:
    table = {f: dict(found) for f, found in TABLE.items()}
    table["rag"]["ample"] = table["rag"]["ample"] | {
        "ours, arranged": replace(BASE, way="ours, arranged", makespan=0.5)
    }
    found = summary.ratios(table, GROUPS, 2)
    by = {(r["group"], r["kv"], r["ours"]): r for r in found if r["against"] == "pool"}
    assert by["mixed", "ample", "ours"]["ratio"] == pytest.approx(1.0)
    assert by["mixed", "ample", "ours, arranged"]["families"] == {"rag": 8.0, "chat": 0.5}
    assert ("closed_sets", "ample", "ours, arranged") not in by
    goals = {g.name: g for g in summary.time_goals(table, found)}
    assert goals["mixed, ample KV, over pool"].figure == pytest.approx(2.0)
    assert "1.0 as written" in goals["mixed, ample KV, over pool"].about


def test_the_floor_is_every_token_once_in_the_cheapest_step() -> None:
    cost = StepCost(0.0, (0.01, *(0.001 for _ in KNOTS[2:])), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rows = BASE.bound + BASE.forward_tokens - BASE.computed_tokens
    most = KNOTS[-1]
    assert summary.floor(BASE, cost) == pytest.approx(rows * (0.01 + 0.001 * (most - 1)) / most)


def test_goals_that_are_missed_say_so() -> None:
    goals = {g.name: g for g in summary.time_goals(TABLE, summary.ratios(TABLE, GROUPS, 2))}
    assert not goals["mixed, ample KV, over pool"].reached
    assert goals["mixed, 25 % KV, over pool"].reached
    assert goals["closed_sets, ample KV, over pool"].line().startswith("reached")
    assert goals["mixed, ample KV, over pool"].line().startswith("MISSED")
    assert goals["planning_share"].figure == pytest.approx(0.02)
    over, failed = summary.token_goals(TABLE)
    assert (over.figure, over.reached) == (pytest.approx(0.01), True)
    assert failed.reached
    worse = {"rag": {"ample": {"ours": replace(BASE, computed_tokens=600, failed=1)}}}
    assert not any(g.reached for g in summary.token_goals(worse))
    assert summary.estimate_goal({"rag": 0.8, "chat": 1.2}).reached
    assert not summary.estimate_goal({"rag": 0.7, "chat": 1.0}).reached


def test_the_curve_over_kv_has_goals_and_a_picture() -> None:
    def at(ours: int, pool: int) -> dict[str, Result]:
        return {"ours": replace(BASE, computed_tokens=ours), "pool": replace(BASE, way="pool", computed_tokens=pool)}

    table = {"rag": {"100 %": at(500, 500), "50 %": at(510, 600), "25 %": at(600, 800), "10 %": at(700, 900)}}
    over, cliff = summary.kv_goals(table)
    assert (over.figure, over.reached) == (1.0, True)
    assert (cliff.figure, cliff.reached) == (pytest.approx(600 / 510), True)
    steep = {"rag": table["rag"] | {"10 %": at(950, 900)}}
    assert not any(g.reached for g in summary.kv_goals(steep))
    picture = ElementTree.fromstring(curve.chart(table))
    lines = [e.get("points", "") for e in picture.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 6  # three keys, and ours, theirs and the optimum
    assert all(len(points.split()) == 4 for points in lines[3:])
    heights = [float(p.partition(",")[2]) for p in lines[5].split()]
    assert heights == sorted(heights, reverse=True)  # ours, drawn last, rises as KV shrinks
    done, wrong = summary.run_goals(["chat"], [])
    assert (done.reached, wrong.reached) == (False, True)


def test_a_stopped_run_goes_on_from_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path, {"commit": "a"})
    assert first.result("rag/ours", lambda: BASE) == BASE
    path.write_text(path.read_text(encoding="utf-8") + '{"settings": "cut o', encoding="utf-8")
    again = Journal(path, {"commit": "a"})
    assert again.result("rag/ours", lambda: pytest.fail("it was measured before")) == BASE
    other = Journal(path, {"commit": "b"})
    assert other.value("rag/ours", lambda: 7) == 7
    assert len(Journal(None, {})) == 0


WAYS_ON_GPU = ("ours", "pool", "by_op", "online", "ours, arranged")


def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> int:
    monkeypatch.setenv("LAMPC_BENCH_CACHE", str(tmp_path / "cache"))
    small = ("--family", "judge", "--scale", "0.05", "--rows", "0.15", "--out", str(tmp_path / "programs.json"))
    monkeypatch.setattr(sys, "argv", ["programs.py", *small, *arguments])
    return programs.main()


def test_counts_need_no_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "ABLATIONS", ("cse", "plan"))
    monkeypatch.setattr(programs, "SHARES", {"25 %": 0.25})
    assert bench(monkeypatch, tmp_path, "--tokens") == 0
    found = json.loads((tmp_path / "programs.json").read_text())
    columns = {
        way: dict(zip(found["counts"], row, strict=True)) for way, row in found["tokens"]["judge"]["ample"].items()
    }
    assert columns["ours"]["computed_tokens"] == columns["ours"]["bound"]
    assert columns["sequential"]["computed_tokens"] == columns["sequential"]["prompt_tokens"]
    assert {"pool", "by_op", "online", "ours without cse", "ours without plan"} <= set(columns)
    assert set(found["tokens"]["judge"]) == {"ample", "25 %"}
    assert found["ratios"] == {"tokens_over_bound": 0.0}
    assert "seconds" not in found
    assert "reached  tokens_over_bound" in capsys.readouterr().out


@pytest.mark.slow
def test_the_timed_engine_counts_as_the_simulator_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(monkeypatch, tmp_path, "--cpu")
    assert "expected" in capsys.readouterr().out
    assert not (tmp_path / "programs.json").exists()


def test_a_machine_under_load_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs.os, "getloadavg", lambda: (7.0, 7.0, 7.0))
    with pytest.raises(SystemExit):
        bench(monkeypatch, tmp_path)
    assert "the load is 7.0" in capsys.readouterr().err


def test_what_is_timed_on_a_gpu_runs_without_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a tiny shape, by torch: families in both budgets and all ways, other layouts where they are worth it."""
    monkeypatch.setattr(programs_gpu, "ROOT", tmp_path)
    out = tmp_path / "gpu.json"
    small = ("--small", "--family", "judge", "--scale", "0.05", "--rows", "0.2", "--kv", "16384", "--out", str(out))
    monkeypatch.setattr(sys, "argv", ["programs_gpu.py", *small])
    assert programs_gpu.main() == 1  # speeds of nothing reach no goal
    found = json.loads(out.read_text())
    assert set(found["seconds"]["judge"]["ample"]) == {*WAYS_ON_GPU, "sequential"}
    assert set(found["seconds"]["judge"]["25 %"]) == {"ours", "pool", "ours, arranged"}
    assert found["tokens_over_bound"]["judge"] <= 0.02
    assert found["left_out"] == []
    assert (tmp_path / "out" / "bench-programs" / "layouts.json").is_file()
    assert "judge" in capsys.readouterr().out


def test_without_a_gpu_there_are_no_figures_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["programs_gpu.py", "--out", str(tmp_path / "gpu.json")])
    with pytest.raises(SystemExit):
        programs_gpu.main()
    assert "torch sees no GPU" in capsys.readouterr().err
