"""Whole programs: ours against ways in which programs are run today, on the same engine; what planning is worth.

    python benchmarks/programs.py --tokens [--family NAME ...]     # counts alone, no model: a minute or two
    python benchmarks/programs.py [--threads 2] [--rounds 3]       # counts and seconds, on a quiet machine
    python benchmarks/programs.py --busy --scale 0.05 --rows 0.15  # the same, tiny and on any machine; writes nothing

Families, scripts and ways to run are in `docs/workloads.md`. KV is ample, and then holds a part of what an ample run
filled. Seconds are measured on a model with random weights that two cores run, one way after another, in rounds; beside
them stands what the simulator expects by the costs of steps that were measured at the start. Writes
`benchmarks/results/programs.json` and the curve over KV, `programs.svg`; goals that are not reached are printed as
such, and the exit status is 1. A run that was stopped goes on where it was (`out/bench-programs/journal.jsonl`, by
commit and settings). After `--minutes` no family is begun any more: those that are left out are named, which is a goal
missed. A machine under load is refused (`--busy` measures nevertheless, and `--cpu` measures processor time, with tools
that answer at once; both write no file).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import workloads
from _common import RESULTS, ROOT, machine
from program_bench import curve, model, summary
from program_bench.arranged import LEAST_SAVING, arranged
from program_bench.arranged import found as best_layouts
from program_bench.desk import RIVALS, Rival
from program_bench.families import FAMILIES, workload
from program_bench.journal import Journal
from program_bench.measure import ABLATIONS, ARRANGED, OURS, Result, run, tight, without_cost
from program_bench.workload import Size, Workload

from lampc.backend import EngineInfo, Tokenizer, load_engine
from lampc.backend.core import EngineCore
from lampc.backend.simulated import SimulatedEngine
from lampc.runtime.costs import StepCost

AMPLE = 1 << 17
SHARES = {"100 %": 1.0, "50 %": 0.5, "25 %": 0.25, "10 %": 0.1}
WAYS: tuple[Rival | None, ...] = (None, *RIVALS)
RUNNING = 64
POLICY: Literal["warm"] = "warm"
"""Who goes first in the engines of sessions; the rivals' engines have the default."""
COUNTS = (
    *("calls", "requests", "prompt_tokens", "computed_tokens", "cached_tokens", "generated_tokens", "bound"),
    *("steps", "preemptions", "evicted_tokens", "kv_blocks", "live_blocks", "offline"),
)


def counting(folder: Path, kv_tokens: int, way: Rival | None, cost: StepCost | None = None) -> SimulatedEngine:
    """An engine without a model that schedules as the one that is timed."""
    tokenizer = Tokenizer.load(folder)
    info = EngineInfo("programs", tokenizer.vocab_size, model.CONTEXT, 6144, 16, True, "programs")
    cached = way is None or way.prefix_cache
    return SimulatedEngine(
        tokenizer, info, cost or without_cost, kv_tokens=kv_tokens, max_running=RUNNING, prefix_cache=cached,
        policy=POLICY if way is None else "priority",
    )  # fmt: skip


def computing(folder: Path, kv_tokens: int, way: Rival | None) -> EngineCore:
    """The engine that is timed."""
    cached = way is None or way.prefix_cache
    policy = POLICY if way is None else "priority"
    engine = load_engine(folder, kv_tokens=kv_tokens, max_running=RUNNING, prefix_cache=cached, policy=policy)
    assert isinstance(engine, EngineCore)
    return engine


def counts(work: Workload, moved: Workload | None, folder: Path, journal: Journal) -> dict[str, dict[str, Result]]:
    """Tokens of every way with ample KV and with less, of ours without each pass, and of ours in other layouts
    (`moved`). Where KV is less, the offline optimum of our order stands beside ours."""

    def one(share: str, kv_tokens: int, way: Rival | None, without: str = "") -> Result:
        offline = way is None and share != "ample"
        what = f"{work.name}/{share}/{name_of(way)}/{without}"
        return journal.result(what, lambda: run(work, counting(folder, kv_tokens, way), way, without, offline))

    def other(share: str, kv_tokens: int) -> dict[str, Result]:
        if moved is None:
            return {}
        what = f"{work.name}/{share}/{ARRANGED}/"
        made = journal.result(what, lambda: run(moved, counting(folder, kv_tokens, None), None))
        return {ARRANGED: replace(made, way=ARRANGED)}

    ample = {name_of(way): one("ample", AMPLE, way) for way in WAYS} | other("ample", AMPLE)
    for name in ABLATIONS:
        found = one("ample", AMPLE, None, name)
        ample[found.way] = found
    out = {"ample": ample}
    for share, part in SHARES.items():
        kv_tokens = tight(work, ample[OURS], part)
        rivals = [way for way in WAYS if way is None or way.prefix_cache]
        out[share] = {name_of(way): one(share, kv_tokens, way) for way in rivals} | other(share, kv_tokens)
    return out


def in_layouts(work: Workload, journal: Journal) -> Workload | None:
    """The workload in the layouts that `lampc layout` finds, where they save enough."""
    engine = workloads.engine()
    best = journal.value(f"{work.name}/layouts", lambda: asdict(best_layouts(work, engine)))
    return arranged(work, best["layouts"]) if best["tokens"] <= (1 - LEAST_SAVING) * best["as_is"] else None


def timed(
    work: Workload,
    moved: Workload | None,
    folder: Path,
    counted: dict[str, dict[str, Result]],
    cost: StepCost,
    args: argparse.Namespace,
    journal: Journal,
) -> Iterator[tuple[str, str, list[Result], Result]]:
    """Every way with its runs, one for each round, and the run that was expected: its makespan is the model's alone.

    A round measures all ways, each time another one first: what the machine does meanwhile is everybody's. One row
    after another is measured in the first round alone, since it takes as long as several of the others.
    """
    for share, kv_tokens in (("ample", AMPLE), ("25 %", tight(work, counted["ample"][OURS], SHARES["25 %"]))):
        ways = [(name_of(way), work, way) for way in WAYS if share == "ample" or way is None or way.prefix_cache]
        if moved is not None:
            ways.append((ARRANGED, moved, None))
        taken: dict[str, list[Result]] = {name: [] for name, _, _ in ways}
        for i in range(args.rounds):
            for name, which, way in ways[i % len(ways) :] + ways[: i % len(ways)]:
                if i and way is not None and not way.prefix_cache:
                    continue
                measure = functools.partial(_measured, which, folder, kv_tokens, way, None)
                found = journal.result(f"{work.name}/{share}/{name}/timed {i}", measure)
                taken[name].append(replace(found, makespan=found.cpu if args.cpu else found.makespan, way=name))
        for name, which, way in ways:
            simulate = functools.partial(_measured, which, folder, kv_tokens, way, cost)
            expected = journal.result(f"{work.name}/{share}/{name}/expected", simulate)
            yield share, name, taken[name], expected


def _measured(work: Workload, folder: Path, kv_tokens: int, way: Rival | None, cost: StepCost | None) -> Result:
    """A run on the engine, or, with the cost of steps, on its simulation."""
    engine = computing(folder, kv_tokens, way) if cost is None else counting(folder, kv_tokens, way, cost)
    return run(work, engine, way)


def name_of(way: Rival | None) -> str:
    """What results call a way."""
    return way.name if way is not None else OURS


def show(work: Workload, counted: dict[str, dict[str, Result]]) -> None:
    """Token figures of a family."""
    for share, found in counted.items():
        for name, r in found.items():
            over = f"{100 * (r.computed_tokens / r.bound - 1):+8.2f} %"
            print(
                f"{work.name:<16} {share:<6} {name:<24} asked {r.prompt_tokens:>7} computed {r.computed_tokens:>7}"
                f" {over} of {r.bound:>6}; {r.steps:>5} steps, live {r.live_blocks:>5} of {r.kv_blocks} blocks",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--tokens", action="store_true", help="no model, no seconds")
    parser.add_argument("--family", nargs="+", choices=[*FAMILIES], default=[*FAMILIES], metavar="NAME")
    parser.add_argument("--scale", type=float, default=0.25, help="lengths, relative to the literature's")
    parser.add_argument("--rows", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3, help="of each the median counts")
    parser.add_argument("--minutes", type=float, default=40.0, help="after which no family is begun any more")
    parser.add_argument("--busy", action="store_true", help="measure on a machine under load; nothing is written")
    parser.add_argument("--cpu", action="store_true", help="processor time on one thread, on a machine under load")
    parser.add_argument("--out", type=Path, default=RESULTS / "programs.json")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    args.busy = args.busy or args.cpu
    if not args.tokens and not args.busy and load > 0.5 * args.threads:
        parser.error(f"the load is {load:.1f}: wait until the machine is quiet, or say --tokens or --busy")
    folder = model.folder()
    size = Size(args.seed, args.scale, args.rows)
    works = [workload(name, size) for name in args.family]
    if args.cpu:
        args.threads, works = 1, [replace(work, latency=0.0) for work in works]
    begun = time.monotonic()
    about = machine("torch", "numpy")
    fresh = (
        args.busy or args.out != parser.get_default("out") or "dirty" in about["commit"] or not about["commit"]
    )  # else nobody knows what was measured
    same = {k: vars(args)[k] for k in ("seed", "scale", "rows", "threads")} | {"commit": about["commit"]}
    journal = Journal(None if fresh else ROOT / "out" / "bench-programs" / "journal.jsonl", same)
    if len(journal):
        print(f"goes on after {len(journal)} results of an earlier run", flush=True)
    counted = {}
    moved = {work.name: in_layouts(work, journal) for work in works}
    for work in works:
        counted[work.name] = counts(work, moved[work.name], folder, journal)
        show(work, counted[work.name])
    goals = summary.token_goals(counted) + summary.kv_goals(counted)
    result: dict[str, Any] = {
        "benchmark": "programs",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": about,
        "settings": {"seed": args.seed, "scale": args.scale, "rows": args.rows, "max_running": RUNNING, "pool": 16},
        "counts": COUNTS,
        "tokens": {
            f: {kv: {w: tokens(r) for w, r in ways.items()} for kv, ways in m.items()} for f, m in counted.items()
        },
    }
    if not args.tokens:
        goals += seconds(works, moved, folder, counted, args, result, journal, begun + 60 * args.minutes)
    result["ratios"] = {**result.get("ratios", {}), "tokens_over_bound": round(goals[0].figure, 4)}
    result["goals"] = [
        {"name": g.name, "figure": round(g.figure, 4), "goal": g.goal, "reached": g.reached, "about": g.about}
        for g in goals
    ]
    print()
    for goal in goals:
        print(goal.line())
    if not args.busy:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(lines(result), encoding="utf-8")
        args.out.with_suffix(".svg").write_text(curve.chart(counted), encoding="utf-8")
        print(f"wrote {args.out}")
    return 0 if all(goal.reached for goal in goals) else 1


def lines(result: dict[str, Any]) -> str:
    """JSON with a line for each part, and for each family of a part."""
    parts = []
    for name, value in result.items():
        if name in ("tokens", "seconds", "expected_over_measured"):
            inner = ",\n".join(f"  {json.dumps(key)}: {json.dumps(part)}" for key, part in value.items())
            parts.append(f" {json.dumps(name)}: {{\n{inner}\n }}")
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def seconds(
    works: list[Workload],
    moved: Mapping[str, Workload | None],
    folder: Path,
    counted: dict[str, dict[str, dict[str, Result]]],
    args: argparse.Namespace,
    result: dict[str, Any],
    journal: Journal,
    until: float,
) -> list[summary.Goal]:
    """Measures every family, as long as there is time, and puts seconds, ratios and errors of estimates into the
    result."""
    import torch

    from lampc.runtime.calibrate import calibrate

    torch.set_num_threads(args.threads)

    def calibrated() -> dict[str, Any]:
        engine = computing(folder, AMPLE, None)
        found = calibrate(engine, seconds=15.0, clock=time.process_time if args.cpu else time.perf_counter)
        engine.close()
        return found.record()

    cost = StepCost.read(journal.value("costs", calibrated))
    print(f"\n{args.threads} threads; costs of steps fit {cost.steps} measured ones within {100 * cost.error:.1f} %")
    table: dict[str, dict[str, dict[str, Result]]] = {}
    alone: dict[str, dict[str, dict[str, Result]]] = {}
    rounds: dict[str, dict[str, dict[str, list[float]]]] = {}
    expected: dict[str, dict[str, float]] = {}
    left: list[str] = []
    wrong: list[str] = []
    for number, work in enumerate(works, 1):
        if time.monotonic() > until:
            left.append(work.name)
            continue
        print(f"{number} of {len(works)}, {(until - time.monotonic()) / 60:.1f} minutes left", flush=True)
        mine = counted[work.name]
        for share, way, taken, foreseen in timed(work, moved[work.name], folder, mine, cost, args, journal):
            r, estimate = summary.middle(taken), foreseen.makespan + foreseen.cpu
            table.setdefault(work.name, {}).setdefault(share, {})[way] = r
            alone.setdefault(work.name, {}).setdefault(share, {})[way] = foreseen
            rounds.setdefault(work.name, {}).setdefault(share, {})[way] = [one.makespan for one in taken]
            expected.setdefault(f"{work.name}, {share}", {})[way] = estimate / r.makespan
            print(f"{work.name:<16} {share:<6} {way:<14} {told(taken)} s, expected {estimate:8.3f} s", flush=True)
            if not work.latency and any(one.reuse != mine[share][way].reuse for one in taken):
                wrong.append(f"{work.name}, {share}, {way}")
                print(f"{wrong[-1]}: the engine counted {r.reuse}, the simulator otherwise", flush=True)
    if not table:
        return summary.run_goals(left, wrong)
    groups = {w.name: w.group for w in works}
    found = summary.ratios(table, groups, args.threads, rounds)
    for one, model_alone in zip(found, summary.ratios(alone, groups, args.threads), strict=True):
        one["model_alone"] = model_alone["ratio"]
    errors = {name: ways[OURS] for name, ways in expected.items()}
    goals = [*summary.time_goals(table, found), summary.estimate_goal(errors), *summary.run_goals(left, wrong)]
    result["costs"] = cost.record()
    result["seconds"] = {
        f: {kv: {w: [round(one, 4) for one in found] for w, found in ways.items()} for kv, ways in shares.items()}
        for f, shares in rounds.items()
    }
    result["floors"] = {f: round(summary.floor(shares["ample"][OURS], cost), 4) for f, shares in table.items()}
    result["expected_over_measured"] = {n: {w: round(e, 3) for w, e in ways.items()} for n, ways in expected.items()}
    result["ratios"] = {group: [r for r in found if r["group"] == group] for group in summary.GOALS}
    result["ratios"]["planning_share"] = next(round(g.figure, 4) for g in goals if g.name == "planning_share")
    return goals


def told(taken: list[Result]) -> str:
    """The median of some rounds, the least and the most."""
    spans = [r.makespan for r in taken]
    return f"{summary.middle(taken).makespan:8.3f} [{min(spans):.3f}, {max(spans):.3f}]"


def tokens(r: Result) -> list[int]:
    """The counts of a result, in the order of `COUNTS`."""
    return [getattr(r, name) for name in COUNTS]


if __name__ == "__main__":
    sys.exit(main())
