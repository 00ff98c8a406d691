"""What an order of prompts' blocks is worth on the program families: prompt tokens computed, as written and rearranged.

    python benchmarks/layouts.py [FAMILY ...] [--trials 30] [--kv TOKENS]

Each family runs on the simulated engine (its counts are those of the real one, see docs/workloads.md) as it is written
and with the layouts that `lampc layout` finds, at ample KV; some are also counted under an optimizer's candidates:
`--trials` instructions without demos. Scripted answers hang on which tokens a prompt has and not on their order: where
all blocks stay in messages of their role, outputs are the same (`same_outputs`). The score is for `lampc layout`'s gate
to judge, on a real model. Writes `benchmarks/results/layouts.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from _common import RESULTS, machine
from program_bench.arranged import arranged, found, under_trials
from program_bench.families import FAMILIES, workload
from program_bench.measure import run
from program_bench.workload import Size, Workload
from workloads import AMPLE, engine

TRIALS = ("rag", "trials", "snippets", "judge")
"""Families that are also counted under an optimizer's candidates."""


def measured(work: Workload, kv: int) -> dict[str, Any]:
    """Counts before and after. Raises SystemExit if the program makes another number of calls."""
    begun = time.perf_counter()
    best = found(work, engine())
    seconds = time.perf_counter() - begun
    before = run(work, engine(kv), None)
    after = run(arranged(work, best.layouts), engine(kv), None) if best.layouts else before
    if (after.calls, after.failed) != (before.calls, before.failed):
        raise SystemExit(f"{work.name}: the rearranged program makes other calls")
    return {
        "family": work.name,
        "calls": before.calls,
        "prompt_tokens": before.prompt_tokens,
        "computed": before.computed_tokens,
        "computed_arranged": after.computed_tokens,
        "bound_arranged": after.bound,
        "same_outputs": after.outputs == before.outputs,
        "saving": round(1 - after.computed_tokens / before.computed_tokens, 4),
        "rowwise": best.rowwise,
        "layouts": best.layouts,
        "seconds_to_find": round(seconds, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("families", nargs="*", help="all if left out")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--kv", type=int, default=AMPLE, help="tokens that the KV cache holds")
    args = parser.parse_args()
    works = [workload(name, Size()) for name in args.families or FAMILIES]
    works += [under_trials(work, args.trials) for work in works if work.name in TRIALS]
    print(f"{'family':<22} {'calls':>6} {'asked':>9} {'computed':>9} {'arranged':>9} {'saved':>7} {'found in':>9}")
    rows = []
    for work in works:
        r = measured(work, args.kv)
        rows.append(r)
        counts = f"{r['calls']:>6} {r['prompt_tokens']:>9,} {r['computed']:>9,} {r['computed_arranged']:>9,}"
        print(f"{work.name:<22} {counts} {100 * r['saving']:>6.1f}% {r['seconds_to_find']:>8.1f}s", flush=True)
    if not args.families:
        path = RESULTS / "layouts.json"
        path.write_text(json.dumps({"machine": machine(), "kv_tokens": args.kv, "rows": rows}, indent=1) + "\n")
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
