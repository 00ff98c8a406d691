"""The main job under five seeds: each draws train and dev anew (test stays unseen) and seeds every random choice.

Prints the Markdown table for the README, with 95 % intervals over seeds and rows, and appends a JSON line with
all figures and the machine to `results/`.

    python benchmarks/demo_seeds.py [program.lmp] [--seeds 5] [--model DIR|URL] [--out out/demo_seeds]
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from _common import ROOT, append, machine

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment
from lampc.runtime.demo import DemoRun, run_demo
from lampc.runtime.report import Interval, bootstrap_interval, paired_interval
from lampc.runtime.setup import Task, task_of

EXAMPLE = ROOT / "examples" / "01_classify.lmp"


def main() -> int:
    """Run, print, append."""
    args = _arguments()
    path = Path(args.program)
    unit = compile_lmp(path.read_text(encoding="utf-8"), str(path))
    task = task_of(unit, Assignment(), path.parent)
    runs = []
    for seed in range(args.seeds):
        print(f"seed {seed} ...", file=sys.stderr, flush=True)
        out = Path(args.out) / str(seed)
        runs.append(run_demo(redrawn(task, seed), path.parent, out, model=args.model, seed=seed))
    print(table(runs))
    append("demo_seeds", _result(path, args.model, runs))
    return 0


def redrawn(task: Task, seed: int) -> Task:
    """The task with its train and select rows dealt out anew; seed 0 is the task as declared."""
    if not seed:
        return task
    pool = [*task.train, *task.select]
    random.Random(seed).shuffle(pool)
    return replace(task, train=pool[: len(task.train)], select=pool[len(task.train) :])


def table(runs: Sequence[DemoRun]) -> str:
    """Scores (0 to 100) and gains as a Markdown table; intervals are over seeds and rows."""
    lines = [
        "| split | as found | random demos | tuned | tuned - as found | tuned - random demos |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for split in ("dev", "test"):
        before, after, drawn = scores(runs, split)
        cells = [_over_seeds(side) for side in (before, drawn, after)]
        cells += [paired_interval(before, after), paired_interval(drawn, after)]
        lines.append(f"| {split} | " + " | ".join(map(str, cells)) + " |")
    shared = [100 * r.report.reused for r in runs]
    lines.append("")
    lines.append(
        f"{len(runs)} seeds; mean [95 % interval]; prompt tokens reused {bootstrap_interval(shared)} %; "
        f"{sum(r.report.seconds for r in runs) / len(runs):.0f} s a run"
    )
    return "\n".join(lines)


def scores(runs: Sequence[DemoRun], split: str) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """Scores per seed and row, 0 to 100: as found, tuned, and the mean over the draws of random demos."""
    before = [[100 * v for v in getattr(r.before, split)] for r in runs]
    after = [[100 * v for v in getattr(r.after, split)] for r in runs]
    drawn = [
        [100 * sum(column) / len(r.random) for column in zip(*(getattr(s, split) for s in r.random), strict=True)]
        for r in runs
    ]
    return before, after, drawn


def _over_seeds(side: Sequence[Sequence[float]]) -> Interval:
    return bootstrap_interval([sum(rows) / len(rows) for rows in side])


def _result(path: Path, model: str | None, runs: Sequence[DemoRun]) -> dict[str, Any]:
    return {
        "program": path.name,
        "model": model or "firefly",
        "machine": machine("torch", "tokenizers", "safetensors", "numpy"),
        "runs": [{**asdict(r.report), "resumed": r.resumed} for r in runs],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", default=str(EXAMPLE))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", default=None, help="firefly (default), a checkpoint folder, or a URL")
    parser.add_argument("--out", default=str(ROOT / "out" / "demo_seeds"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
