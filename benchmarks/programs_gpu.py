"""Whole programs on a GPU: ours against a pool of threads, operator by operator and online, on one engine.

    python benchmarks/programs_gpu.py [--model llama-8b] [--rows 4] [--minutes 8] [--fast]    # with a GPU
    python benchmarks/programs_gpu.py --small --rows 0.1 --family triage            # without: shows that all runs

Families, scripts and ways to run are those of `benchmarks/programs.py` (`docs/workloads.md`); weights are random, and
made on the device. K/V is ample, and then holds 25 % of what an ample run filled. A run in which a step was recorded
anew as a CUDA graph is done again, up to twice. Naive sequential runs are timed on a sixty-fourth of the rows (two at
least), and the seconds of a call counted for all calls; their steps and host seconds are those of these few rows.
Groups of few families come first; after `--minutes` none is begun any more, and those left out are named. Writes
`benchmarks/results/programs-<device>.json` after every family.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
import workloads  # noqa: E402
from _common import RESULTS, machine  # noqa: E402
from gpu_bench import models  # noqa: E402
from program_bench import summary  # noqa: E402
from program_bench.arranged import LEAST_SAVING, arranged  # noqa: E402
from program_bench.arranged import found as best_layouts  # noqa: E402
from program_bench.desk import RIVALS  # noqa: E402
from program_bench.device import BATCH, RUNNING, SHAPES, Device  # noqa: E402
from program_bench.families import FAMILIES, workload  # noqa: E402
from program_bench.measure import ARRANGED, OURS, Result, run, tight  # noqa: E402
from program_bench.workload import Size, Workload  # noqa: E402
from programs import lines  # noqa: E402

from lampc.runtime.calibrate import calibrate  # noqa: E402
from lampc.runtime.costs import StepCost  # noqa: E402

WAYS = {way.name: way for way in RIVALS}
AGAINST = {"ample": ("pool", "by_op", "online"), "25 %": ("pool",)}


class Layouts:
    """Layouts of families by `lampc layout`, found once and kept: looking for them takes no GPU."""

    def __init__(self, path: Path, size: Size) -> None:
        self.path, self.size = path, size
        self._known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def of(self, work: Workload) -> Workload | None:
        """The workload in other layouts, if they save enough."""
        key = f"{work.name}, seed {self.size.seed}, scale {self.size.scale}, rows {self.size.rows}"
        if key not in self._known:
            self._known[key] = asdict(best_layouts(work, workloads.engine()))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        best = self._known[key]
        return arranged(work, best["layouts"]) if best["tokens"] <= (1 - LEAST_SAVING) * best["as_is"] else None


class Bench:
    """Runs families on a device, and keeps what came out."""

    def __init__(self, device: Device, size: Size, layouts: Layouts, cost: StepCost) -> None:
        self.device, self.size, self.layouts, self.cost = device, size, layouts, cost
        self.table: dict[str, dict[str, dict[str, Result]]] = {}
        self.errors: dict[str, float] = {}
        self.recording: list[str] = []  # runs in which steps were recorded, every time

    def family(self, name: str) -> None:
        """All ways, K/V ample and at 25 %."""
        work = workload(name, self.size)
        moved = self.layouts.of(work)
        ample = self._ways(work, moved, "ample", self.device.kv_tokens)
        kv = min(tight(work, ample[OURS], 0.25), self.device.kv_tokens)
        ample["sequential"] = self._sequential(name, ample["pool"].calls)
        self.table[name] = {"ample": ample, "25 %": self._ways(work, moved, "25 %", kv)}
        for share, tokens in (("ample", self.device.kv_tokens), ("25 %", kv)):
            expected = run(work, self.device.simulated(tokens, None, self.cost), None)
            measured = self.table[name][share][OURS].makespan
            self.errors[f"{name}, {share}"] = (expected.makespan + expected.cpu) / measured

    def _ways(self, work: Workload, moved: Workload | None, share: str, kv: int) -> dict[str, Result]:
        out = {way: self._one(work, kv, way) for way in (OURS, *AGAINST[share])}
        if moved is not None:
            out[ARRANGED] = replace(self._one(moved, kv, OURS), way=ARRANGED)
        for r in out.values():
            took = f"{r.makespan:8.3f} s, {r.steps:>5} steps, {r.cpu:7.3f} s of the host"
            print(f"{work.name:<16} {share:<6} {r.way:<14} {took}", flush=True)
        return out

    def _one(self, work: Workload, kv: int, way: str) -> Result:
        """A run in which no step was recorded anew, if three tries give one; else the last is marked."""
        for _ in range(3):
            before = self.device.recorded
            made = run(work, self.device.engine(kv, WAYS.get(way)), WAYS.get(way))
            if self.device.recorded == before:
                return made
        self.recording.append(f"{work.name}, {kv} tokens, {way}")
        return made

    def _sequential(self, name: str, calls: int) -> Result:
        few = workload(name, replace(self.size, rows=self.size.rows / 64))
        made = self._one(few, self.device.kv_tokens, "sequential")
        return replace(made, makespan=made.makespan / made.calls * calls)

    def report(self) -> dict[str, Any]:
        """What the file says of it."""
        groups = {name: workload(name, Size(rows=0.1)).group for name in self.table}
        found = summary.ratios(self.table, groups, torch.get_num_threads())
        over = {f: t["ample"][OURS].computed_tokens / t["ample"][OURS].bound - 1 for f, t in self.table.items()}
        goals = [*summary.time_goals(self.table, found), summary.estimate_goal(self.errors)]
        return {
            "ratios": {group: [r for r in found if r["group"] == group] for group in summary.GOALS},
            "tokens_over_bound": {f: round(o, 4) for f, o in over.items()},
            "goals": [
                {"name": g.name, "figure": round(g.figure, 4), "goal": g.goal, "reached": g.reached, "about": g.about}
                for g in goals
            ],
            "seconds": {
                f: {kv: {w: round(r.makespan, 4) for w, r in ways.items()} for kv, ways in shares.items()}
                for f, shares in self.table.items()
            },
            "host_seconds": {
                f: {kv: {w: round(r.cpu, 4) for w, r in ways.items()} for kv, ways in shares.items()}
                for f, shares in self.table.items()
            },
            "steps": {
                f: {kv: {w: r.steps for w, r in ways.items()} for kv, ways in shares.items()}
                for f, shares in self.table.items()
            },
            "expected_over_measured": {name: round(error, 3) for name, error in self.errors.items()},
            "recorded_meanwhile": self.recording,
        }


def in_order(names: list[str]) -> list[str]:
    """Those of groups with few families first; of the others every second one, then the rest."""
    groups = {name: workload(name, Size(rows=0.1)).group for name in names}
    count, place = Counter(groups.values()), {name: i % 2 for i, name in enumerate(names)}
    return sorted(names, key=lambda name: (count[groups[name]], count[groups[name]] > 4 and place[name]))


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", choices=[*SHAPES], default="llama-8b", help="whose shape the weights have")
    parser.add_argument("--family", nargs="+", choices=[*FAMILIES], default=[*FAMILIES], metavar="NAME")
    parser.add_argument("--scale", type=float, default=0.25, help="lengths, relative to the literature's")
    parser.add_argument("--rows", type=float, default=4.0, help="rows, relative to what two cores run in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kv", type=int, default=1 << 18, help="tokens of K/V that are ample")
    parser.add_argument("--fast", action="store_true", help="the engine's fast mode; exact mode is the default")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no family is begun any more")
    parser.add_argument("--small", action="store_true", help="a tiny model on the CPU, by torch")
    parser.add_argument("--layouts", action="store_true", help="only find layouts and keep them for later; no GPU")
    parser.add_argument("--out", type=Path, help="the file to write (default: by the device's name)")
    args = parser.parse_args()
    size = Size(args.seed, args.scale, args.rows)
    layouts = Layouts(ROOT / "out" / "bench-programs" / "layouts.json", size)
    if args.layouts:
        for name in args.family:
            print(f"{name}: {'kept' if layouts.of(workload(name, size)) is None else 'another layout'}", flush=True)
        return 0
    if not args.small and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --small shows that everything runs without one")
    begun = time.monotonic()
    where, dtype = (torch.device("cpu"), torch.float32) if args.small else (torch.device("cuda"), torch.bfloat16)
    config = (
        {**models.TINY, "vocab_size": 2880, "max_position_embeddings": 1 << 15} if args.small else SHAPES[args.model]
    )
    device = Device(config, where, dtype, not args.fast, args.kv)
    title = "cpu" if args.small else torch.cuda.get_device_name()
    out = args.out or RESULTS / f"programs-{title.lower().replace(' ', '-')}.json"
    cost = calibrate(device.engine(args.kv, None), seconds=1.0 if args.small else 20.0)
    print(f"{title}: costs of steps fit {cost.steps} measured ones within {100 * cost.error:.1f} %", flush=True)
    bench = Bench(device, size, layouts, cost)
    left: list[str] = []
    failed = False
    for name in in_order(args.family):
        if time.monotonic() > begun + 60 * args.minutes:
            left.append(name)
            continue
        bench.family(name)
        result: dict[str, Any] = {
            "benchmark": "programs_gpu",
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "device": title,
            "machine": machine("torch", "triton", "numpy"),
            "settings": {
                "model": "tiny" if args.small else args.model,
                "mode": "fast" if args.fast else "exact",
                **{k: getattr(args, k) for k in ("seed", "scale", "rows")},
                **{"kv_tokens": args.kv, "max_running": RUNNING, "max_batch_tokens": BATCH, "pool": WAYS["pool"].live},
            },
            **bench.report(),
            "costs": cost.record(),
            "left_out": [n for n in in_order(args.family) if n not in bench.table],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(lines(result), encoding="utf-8")
        failed = not all(goal["reached"] for goal in result["goals"])
        print(f"{time.monotonic() - begun:.0f} s", flush=True)
    for goal in result["goals"] if bench.table else ():
        print(
            f"{'reached' if goal['reached'] else 'MISSED '} {goal['name']:<28} {goal['figure']:8.3f}  {goal['about']}"
        )
    print(f"left out for want of time: {', '.join(left) or 'nothing'}; wrote {out}")
    return int(failed or bool(left))


if __name__ == "__main__":
    sys.exit(main())
