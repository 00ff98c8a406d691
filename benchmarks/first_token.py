"""How long it takes from nothing to a first token: cold processes that load a model and generate, and stay idle then.

    python benchmarks/first_token.py [--model DIR] [--rounds 5]

Each round is a process of its own; files are in the operating system's cache after the first, which does not count.
Wall time beside CPU time (user and system): they differ where the machine is busy with something else. `idle` is the
CPU time of the same process while its engine has nothing to do. The goal is 3 seconds of wall time with the bundled
model, of which torch's own import is most. The exit code is 1 if it is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from _common import ROOT, append, machine, median, spread

GOAL_S = 3.0
STAGES = ("interpreter", "lampc", "torch", "load", "first_token")

CHILD = """
import sys, time
marks = [(time.time(), time.process_time())]
def mark(): marks.append((time.time(), time.process_time()))
sys.path.insert(0, sys.argv[1])
from lampc.backend import Engine
from lampc.runtime.pool import firefly_folder
mark()
import torch
mark()
engine = Engine.load(sys.argv[2] or firefly_folder())
mark()
stream = engine.stream("The cat sat on", max_tokens=2, ignore_eos=True)
next(iter(stream))
mark()
import json, threading
modules = len(sys.modules)
for _ in stream: pass
time.sleep(0.5)
idle = time.process_time()
time.sleep(2.0)
idle = time.process_time() - idle
engine.close()
print(json.dumps({"marks": marks, "idle": idle, "modules": modules, "threads": threading.active_count()}))
"""


def once(model: str) -> dict[str, Any]:
    """One cold process: seconds of wall and of CPU of each stage."""
    begun = time.time()
    command = [sys.executable, "-c", CHILD, str(ROOT / "src"), model]
    out = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    marks = [(begun, 0.0), *out["marks"]]
    wall = {name: b[0] - a[0] for name, a, b in zip(STAGES, marks, marks[1:])}
    cpu = {name: b[1] - a[1] for name, a, b in zip(STAGES, marks, marks[1:])}
    total = {"wall": marks[-1][0] - begun, "cpu": marks[-1][1]}
    return {"wall": wall, "cpu": cpu, "total": total, "idle": out["idle"], "modules": out["modules"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="a checkpoint folder (default: the bundled model)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    once(args.model)  # brings files into memory
    rounds = [once(args.model) for _ in range(args.rounds)]
    print(f"{'':>12}  {'wall':>24}  {'CPU':>24}   seconds, median (least to most) of {len(rounds)}")
    result: dict[str, Any] = {"wall": {}, "cpu": {}}
    for name in (*STAGES, "total"):
        figures = {}
        for clock in ("wall", "cpu"):
            found = [r["total"][clock] if name == "total" else r[clock][name] for r in rounds]
            result[clock][name] = round(median(found), 4)
            figures[clock] = spread([round(x, 3) for x in found])
        print(f"{name:>12}  {figures['wall']:>24}  {figures['cpu']:>24}")
    idle = [r["idle"] / 2.0 for r in rounds]
    met = result["wall"]["total"] < GOAL_S
    print(
        f"idle engine: {100 * median(idle):.2f} % of one processor; {rounds[0]['modules']} modules at the first token"
    )
    print(f"goal {GOAL_S:.0f} s: {'met' if met else 'missed'}")
    append(
        "first_token",
        {
            **result,
            "idle_share": round(median(idle), 5),
            "goal_s": GOAL_S,
            "met": met,
            "model": args.model or "firefly",
            "machine": machine("torch", "lampc"),
        },
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
