"""Regret over budget: how far optimizers are from a planted optimum after so many program runs.

    make bench-regret                 writes benchmarks/results/regret.json and regret.svg

Every registered optimizer solves the planted tasks of `tests/optimize/behaviour.py`, a scripted model behind real
prompts, each seed another task. Regret is what the best score reachable by the parameters that an optimizer changes
has over the best score that it has seen, in points of 100 on the select split; its mean over seeds has a 95 %
interval. Nothing scored yet counts as a score of 0. A seed that ends early keeps its last regret.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import RESULTS, ROOT, machine

sys.path.insert(0, str(ROOT))

from tests.optimize.behaviour import Planted
from tests.optimize.registered import Run, names, run, strategy, tunes

from lampc.passes.optimize.racing import BERNSTEIN, HALVING
from lampc.runtime.report import bootstrap_interval

BUDGETS = (40, 80, 120, 160, 240, 320, 480, 640, 960, 1280, 1920, 2560, 3840, 5120)
"""Program runs at which regret is read."""


def measure(name: str, seeds: int, predictors: int, **changes: Any) -> dict[str, Any]:
    """Figures of one optimizer, with some of its options changed."""
    begun = time.perf_counter()
    runs: list[tuple[float, Run]] = []
    for seed in range(seeds):
        task = Planted(seed, predictors)
        made: Any = strategy(name, task, seed)
        runs.append((task.reachable(tunes(name)), run(task, replace(made, **changes))))
    most = max(r.result.runs for _, r in runs)
    budgets = [b for b in BUDGETS if b < most] + [most]
    return {
        "tunes": list(tunes(name)),
        "regret": [{"runs": b, **_interval([top - r.best_after(b) for top, r in runs])} for b in budgets],
        "final_regret": _interval([top - r.best_after(most) for top, r in runs]),
        "program_runs": _interval([float(r.result.runs) for _, r in runs]),
        "model_calls": _interval([float(r.result.usage.calls) for _, r in runs]),
        "seconds": round(time.perf_counter() - begun, 2),
    }


def raced(name: str, seeds: int, predictors: int, plain: dict[str, Any]) -> dict[str, Any]:
    """Final regret and program runs without a race and under each kind."""
    out = {"off": {k: plain[k] for k in ("final_regret", "program_runs")}}
    for kind in (HALVING, BERNSTEIN):
        figures = measure(name, seeds, predictors, racing=kind)
        out[kind] = {k: figures[k] for k in ("final_regret", "program_runs")}
        regret, size = out[kind]["final_regret"]["mean"], out[kind]["program_runs"]["mean"]
        print(f"{name:16} under {kind}: regret {regret:.1f} after {size:.1f} runs", flush=True)
    return out


def _interval(values: Sequence[float]) -> dict[str, float]:
    found = bootstrap_interval(values)
    return {"mean": round(found.mean, 2), "low": round(found.low, 2), "high": round(found.high, 2)}


# -- the chart -------------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 420, 56, 24, 48
COLORS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")


def chart(optimizers: dict[str, dict[str, Any]]) -> str:
    """Regret over program runs (a logarithmic axis) as SVG: a line and its interval for each optimizer."""
    right, inner = WIDTH - 210, HEIGHT - TOP - BOTTOM
    last = max(o["regret"][-1]["runs"] for o in optimizers.values())
    top = max(p["high"] for o in optimizers.values() for p in o["regret"]) or 1.0

    def x(runs: float) -> float:
        return LEFT + (right - LEFT) * math.log(runs / BUDGETS[0]) / math.log(max(last / BUDGETS[0], 2))

    def y(regret: float) -> float:
        return TOP + inner * (1 - max(regret, 0.0) / top)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="14">regret, points of the score (mean over seeds, 95 % interval)</text>',
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">program runs</text>',
    ]
    for tick in range(0, int(top) + 1, 10):
        out.append(f'<line x1="{LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>')
    ticks = [BUDGETS[0] << i for i in range(10) if BUDGETS[0] << i <= last]
    out += [f'<text x="{x(t):.1f}" y="{HEIGHT - 28}" text-anchor="middle">{t}</text>' for t in ticks]
    for i, (name, figures) in enumerate(optimizers.items()):
        color, points = COLORS[i % len(COLORS)], figures["regret"]
        dash = ' stroke-dasharray="5 3"' if i >= len(COLORS) else ""
        band = [(p["runs"], p["high"]) for p in points] + [(p["runs"], p["low"]) for p in reversed(points)]
        shape = " ".join(f"{x(r):.1f},{y(v):.1f}" for r, v in band)
        line = " ".join(f"{x(p['runs']):.1f},{y(p['mean']):.1f}" for p in points)
        out.append(f'<polygon points="{shape}" fill="{color}" opacity="0.12"/>')
        out.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        out.append(
            f'<circle cx="{x(points[-1]["runs"]):.1f}" cy="{y(points[-1]["mean"]):.1f}" r="3.5" fill="{color}"/>'
        )
        row = TOP + 8 + 18 * i
        key = f'x1="{right + 14}" x2="{right + 36}" y1="{row - 6}" y2="{row - 6}"'
        out.append(f'<line {key} stroke="{color}" stroke-width="2"{dash}/>')
        out.append(f'<text x="{right + 40}" y="{row - 2}">{name} ({figures["final_regret"]["mean"]:g})</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="optimizers; all registered ones if none is named")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--predictors", type=int, default=1, choices=(1, 2))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name in args.names or names():
        found[name] = one = measure(name, args.seeds, args.predictors)
        final, size = one["final_regret"], one["program_runs"]["mean"]
        where = f"[{final['low']:.1f}, {final['high']:.1f}]"
        print(
            f"{name:16} regret {final['mean']:5.1f} {where} after {size:7.1f} runs, {one['seconds']:.1f} s", flush=True
        )
    racing = [n for n in found if hasattr(strategy(n, Planted()), "racing")]
    races = {n: raced(n, args.seeds, args.predictors, found[n]) for n in racing}
    args.out.mkdir(parents=True, exist_ok=True)
    about = {"seeds": args.seeds, "predictors": args.predictors, "machine": machine()}
    written = json.dumps({**about, "optimizers": found, "racing": races}, indent=1)
    (args.out / "regret.json").write_text(written + "\n", encoding="utf-8")
    (args.out / "regret.svg").write_text(chart(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
