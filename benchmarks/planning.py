"""What planning costs, in seconds and bytes, by the number of rows: no model, no engine.

    python benchmarks/planning.py [--rows 1000 10000 100000] [--calls 10] [--run 1000 3000 10000] [--sites 100]

First a program of 100 calls, each another one of its text: the passes and analyses, and the order of its calls, in
processor time.
Then the plan alone: all calls of all rows at once are put in order, their shared prefixes retained and let go.
Then whole runs of a program with so many calls a row, one after another, on a model that answers at once: executor,
call desk, plan and store; bytes are then those of its answers and traces, too. Growth is near-linear if the time of a
call stays what it is: the exponent is that of time over calls between the first size and the last. Bytes are the
process's own (resident), beyond those of rows and prompts. Goals that are not reached are printed as such, and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import gc
import math
import random
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

from _common import append, machine
from program_bench.text import Words

from lampc.backend import Tokenizer
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, CallKey, ModelInfo, Sampling
from lampc.runtime.models import Answer, ModelCall
from lampc.runtime.plan import SharedPrefixes
from lampc.runtime.pool import firefly_folder
from lampc.runtime.session import Session
from lampc.runtime.target import LocalTarget
from lampc.runtime.types import Row

CHAIN = """signature Go(text: str, so_far: str) -> (word: str) {{ \"\"\"Say the next word.\"\"\" }}
module Main(text: str) -> (word: str) {{
  use go = Predict(Go);
  loop (word: "none") max {calls} as i {{
    let said = go(text: text, so_far: word);
    let next_ = said.word;
    next (word: next_) until i >= {calls} - 1;
  }}
  return (word: word);
}}
"""


class Instant:
    """A model of this machine whose answers are there when they are asked for; each is another word."""

    mode = "exact"

    def __init__(self) -> None:
        tokenizer = Tokenizer.load(firefly_folder())
        self.target: Any = LocalTarget(ModelInfo("instant", "instant", 1 << 15, 0, tokenizer.vocab_size), tokenizer)
        self._answers = [(tuple(tokenizer.encode(w)), w) for w in Words.bundled().words]
        self._calls: list[ModelCall] = []
        self.held = 0

    def submit(self, calls: Sequence[ModelCall]) -> None:
        self._calls += calls

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        calls, self._calls = self._calls, []
        out = []
        for call in calls:
            ids, text = self._answers[hash(call.ids) % len(self._answers)]
            out.append((call, Answer(text, ids, "stop", len(call.ids), len(call.ids), 0, len(ids))))
        return out

    def retain(self, ids: tuple[int, ...]) -> Any:
        self.held += 1
        return ids

    def release(self, ref: Any) -> None:
        self.held -= 1

    def abort(self) -> None:
        self._calls = []

    def close(self) -> None:
        return None


def resident() -> int:
    """Bytes of this process in memory now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


SITES_MS, EXPONENT, BYTES = 50.0, 1.25, 1024.0
"""Goals: milliseconds for a program of 100 calls, growth of the plan, bytes of it by call."""


def sites(count: int) -> str:
    """A program of `count` calls that need answers of others, ten in a row and across rows."""
    lines = ['signature S(text: str, seen: list[str]) -> (word: str) { """Say the next word.""" }']
    lines.append("module Main(text: str) -> (word: str) {")
    lines += [f"  use c{i} = Predict(S);" for i in range(count)]
    for i in range(count):
        before = [j for j in (i - 1, i - 7, i - 10) if j >= 0 and (i % 10 or j == i - 10)]
        seen = ", ".join([f'"{i}"', *(f"v{j}.word" for j in before)])
        lines.append(f"  let v{i} = c{i}(text: text, seen: [{seen}]);")
    last = ", ".join(f"v{i}.word" for i in range(count))
    return "\n".join([*lines, f"  let all = [{last}];", f"  return (word: all[{count - 1}]);", "}"])


def program(count: int) -> dict[str, float]:
    """Processor milliseconds, best of five: of the passes and analyses, and of the order in which its calls go."""
    unit = compile_lmp(sites(count), "sites.lmp")
    passes, order = [], []
    for _ in range(5):
        with Session(model=Instant()) as session:
            gc.collect()
            begun = time.process_time()
            made = session.executable(unit.module, unit.entry, Assignment())
            analyses = made.plan(made.func.body), made.ends, made.calls_left  # that a run makes of its program
            assert all(analyses)
            passes.append(time.process_time() - begun)
            (outcome,) = session.run(unit, [Row("0", {"text": "a b c"})])
            assert outcome.error is None
            order.append(session.desk.planning_s)
    return {"calls": count, "passes_ms": 1e3 * min(passes), "order_ms": 1e3 * min(order)}


def planned(rows: int, calls: int) -> dict[str, float]:
    """The plan of all calls of so many rows: what all share, what a row shares, what is a call's own."""
    draw = random.Random(rows)
    trunk = tuple(draw.choices(range(2000), k=32))
    key = CallKey("", "", "", Sampling(), 0)
    made = []
    for _ in range(rows):
        row = trunk + tuple(draw.choices(range(2000), k=16))
        made += [ModelCall(key, key.sampling, 0, row + tuple(draw.choices(range(2000), k=4))) for _ in range(calls)]
    draw.shuffle(made)
    model = Instant()
    gc.collect()
    before, begun = resident(), time.process_time()
    shared = SharedPrefixes(model)
    ordered = shared.plan(made)
    took, held = time.process_time() - begun, resident() - before
    for call in ordered:
        shared.done(call)
    whole = time.process_time() - begun
    assert model.held == 0, "a prefix is still held"
    count = rows * calls
    return {
        "rows": rows,
        "calls": count,
        "us_per_call": 1e6 * whole / count,
        "plan_us": 1e6 * took / count,
        "bytes_per_call": held / count,
    }


def ran(rows: int, calls: int) -> dict[str, float]:
    """A whole run."""
    unit = compile_lmp(CHAIN.format(calls=calls), "chain.lmp")
    words = Words.bundled()
    table = [Row(str(i), {"text": words.text(12, "planning", i)}) for i in range(rows)]
    model = Instant()
    gc.collect()
    with Session(model=model) as session:
        before, begun = resident(), time.process_time()
        outcomes = session.run(unit, table)
        took, held = time.process_time() - begun, resident() - before
        planning = session.desk.planning_s
        failed = sum(o.error is not None for o in outcomes)
    assert not failed, f"{failed} rows failed"
    count = rows * calls
    return {
        "rows": rows,
        "calls": count,
        "us_per_call": 1e6 * took / count,
        "plan_us": 1e6 * planning / count,
        "bytes_per_call": held / count,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--run", type=int, nargs="*", default=[1000, 3000, 10_000])
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--sites", type=int, default=100)
    args = parser.parse_args()
    one = program(args.sites)
    print(f"a program of {args.sites} calls: {one['passes_ms']:.1f} ms of passes, {one['order_ms']:.1f} ms of order")
    result: dict[str, Any] = {"machine": machine(), "program": {k: round(v, 2) for k, v in one.items()}}
    for name, measure, sizes in (("plan alone", planned, args.rows), ("whole run", ran, args.run)):
        found = result[name] = []
        for rows in sizes:
            cost = measure(rows, args.calls)
            found.append({k: round(v, 2) for k, v in cost.items()})
            print(
                f"{name:<11} {rows:>7} rows x {args.calls}: {cost['us_per_call']:8.1f} us a call, of these the plan"
                f" {cost['plan_us']:6.1f}; {cost['bytes_per_call']:7.0f} bytes a call",
                flush=True,
            )
    small, large = result["plan alone"][0], result["plan alone"][-1]
    growth = 1 + math.log(large["us_per_call"] / small["us_per_call"]) / math.log(large["calls"] / small["calls"])
    goals = [
        ("ms for a program of 100 calls", 100 / args.sites * (one["passes_ms"] + one["order_ms"]), SITES_MS),
        (f"growth up to {large['calls']:,} calls, as an exponent", growth, EXPONENT),
        ("bytes of the plan by call", max(p["bytes_per_call"] for p in result["plan alone"]), BYTES),
    ]
    result["goals"] = [
        {"name": n, "figure": round(f, 3), "goal": f"at most {g:g}", "reached": f <= g} for n, f, g in goals
    ]
    for name, figure, goal in goals:
        print(f"{'reached' if figure <= goal else 'MISSED '}  {name}: {figure:.3g}, goal: at most {goal:g}")
    append("planning", result)
    return 0 if all(figure <= goal for _, figure, goal in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
