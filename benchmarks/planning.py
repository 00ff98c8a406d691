"""What planning costs, in seconds and bytes, by the number of rows: no model, no engine.

    python benchmarks/planning.py [--rows 1000 10000 100000] [--calls 10] [--run 1000 3000 10000]

First the plan alone: all calls of all rows at once are put in order, their shared prefixes retained and let go.
Then whole runs of a program with so many calls a row, one after another, on a model that answers at once: executor,
call desk, plan and store. Growth is near-linear if the time of a call stays what it is. Bytes are the process's own
(resident), beyond those of rows and prompts.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import time
from collections.abc import Sequence
from typing import Any

from _common import append, machine
from program_bench.text import Words

from lampc.backend import Tokenizer
from lampc.frontend.lmp import compile_lmp
from lampc.ir import CallKey, ModelInfo, Sampling
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


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--run", type=int, nargs="*", default=[1000, 3000, 10_000])
    parser.add_argument("--calls", type=int, default=10)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    for name, measure, sizes in (("plan alone", planned, args.rows), ("whole run", ran, args.run)):
        found = result[name] = []
        for rows in sizes:
            one = measure(rows, args.calls)
            found.append({k: round(v, 2) for k, v in one.items()})
            print(
                f"{name:<11} {rows:>7} rows x {args.calls}: {one['us_per_call']:8.1f} us a call, of these the plan"
                f" {one['plan_us']:6.1f}; {one['bytes_per_call']:7.0f} bytes a call",
                flush=True,
            )
    append("planning", result)


if __name__ == "__main__":
    main()
