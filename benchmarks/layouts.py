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
from dataclasses import replace
from typing import Any

from _common import RESULTS, machine
from program_bench.families import FAMILIES, workload
from program_bench.measure import run, simulated_tools
from program_bench.workload import Size, Workload
from workloads import AMPLE, engine

from lampc.ir import Assignment
from lampc.runtime.arrange import Arrangement, arrange, calls_of, candidates
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.session import Session

TRIALS = ("rag", "trials", "snippets", "judge")
"""Families that are also counted under an optimizer's candidates."""


def found(work: Workload) -> Arrangement:
    """The layouts for a workload's own rows and candidates."""
    made = engine()
    model = RehearsedModel(made, "main", work.script(made.tokenizer))
    with simulated_tools(work, made, True), Session(model=model, seed=work.seed) as session:
        cells = [cell for batch in work.cells() for cell in batch]
        steps = calls_of(session.run_cells(work.unit, cells))
        return arrange(session, work.unit.module, steps, list(dict.fromkeys(c.assignment for c in cells)))


def under_trials(work: Workload, trials: int) -> Workload:
    """The workload's rows under as many candidates, each with an instruction of its own."""
    changes = candidates(work.unit.module, {}, Assignment(), trials, 0, work.seed)
    made = [{k: v for k, v in a.values.items() if k.endswith(".instruction")} for a in changes]
    return replace(work, name=f"{work.name}, {trials} trials", trials=tuple(made), picked=())


def arranged(work: Workload, layouts: dict[str, str]) -> Workload:
    """The same workload in other layouts."""
    moved = {f"{name}.layout": layout for name, layout in layouts.items()}
    return replace(work, trials=tuple({**trial, **moved} for trial in work.trials))


def measured(work: Workload, kv: int) -> dict[str, Any]:
    """Counts before and after. Raises SystemExit if the program makes another number of calls."""
    begun = time.perf_counter()
    best = found(work)
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
