"""Optimizers beside DSPy's own: the real package, its optimizer of the same name and settings, on the same engine.

    make bench-optimizers                          # everything, on a quiet machine: about a quarter of an hour
    python benchmarks/optimizers.py --only MIPROv2 COPRO --seeds 1
    python benchmarks/optimizers.py --small        # whether it works at all

Engine, firefly, rows, seeds and exact mode are the same, and so is the scripted proposer where an algorithm wants
prose. DSPy runs three ways: the engine as an object of its process (`dspy.LM(engine=...)`), over HTTP from `lampc
serve` in a process of its own, and, for tokens alone, in process without its cache and the engine's, as behind a plain
endpoint. How many threads serve it best is found first. lampc runs as it is found, and once (`free`) without the
grammars that keep answers to their layout, which DSPy has not got.

Every compilation starts from cold caches; what is known is journaled, and an interrupted run goes on. Writes
`benchmarks/results/optimizers.json`: `ratios` are theirs over ours, the geometric mean over the tasks;
`worst_score_delta` is in points, ours less theirs. Goals that are not reached are printed as such, and the exit status
is 1. A machine under load is refused (`--busy` measures nevertheless, and writes no file).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _common import RESULTS, ROOT, machine
from optimizer_bench import summary
from optimizer_bench.journal import Journal
from optimizer_bench.optimizers import OPTIMIZERS, SMALL, Ask, Size
from optimizer_bench.server import ServerProcess
from optimizer_bench.sides import ENGINE, FREE, HTTP, OURS, PLAIN, SIDES, Measured, evaluating, measure
from optimizer_bench.tasks import TASKS, Task

THREADS = (1, 4, 8, 16)


class Bench:
    """One run of the benchmark."""

    def __init__(self, args: argparse.Namespace, held: contextlib.ExitStack) -> None:
        self.args, self._held = args, held
        self.size = SMALL if args.small else Size()
        self.threads_tried = (1, 4) if args.small else THREADS
        known = machine("dspy", "torch", "optuna", "gepa")
        settings = {"size": asdict(self.size), **{n: known[n] for n in ("commit", "dspy", "processor", "optuna")}}
        self.journal = Journal(args.journal, settings, fresh=args.fresh)
        self._warm: set[tuple[str, str]] = set()

    @functools.cached_property
    def _server(self) -> ServerProcess:
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'benchmarks'}"}
        return self._held.enter_context(ServerProcess(env))

    def server(self, side: str) -> ServerProcess | None:
        """The server, for who needs it; started by the first."""
        return self._server if side == HTTP else None

    def ask(self, task: Task, seed: int, side: str, threads: int, size: Size) -> Callable[[Any], Ask]:
        """What a side is asked for, once its library is known."""

        def made(d: Any) -> Ask:
            train, val, _ = task.rows(d, seed, size.train, size.val, 0) if d is not None else ([], [], [])
            return Ask(d, task, train, val, size, seed, threads, side not in (OURS, FREE))

        return made

    def sweep(self, task: Task, side: str) -> dict[str, float]:
        """Seconds by number of threads."""
        return {
            str(n): self.journal.once(
                ("threads", task.name, side, n),
                lambda n=n: evaluating(task, self.ask(task, 0, side, n, self.size), side, self.server(side)),  # type: ignore[misc]
            )
            for n in self.threads_tried
        }

    def threads(self, task: Task, side: str) -> int:
        """How many serve DSPy best; ours needs none."""
        if side in (OURS, FREE):
            return 1
        seconds = self.sweep(task, HTTP if side == HTTP else ENGINE)
        return int(min(seconds, key=lambda n: seconds[n]))

    def one(self, name: str, task: Task, seed: int, side: str) -> Measured:
        """One compilation, measured or known."""
        threads = self.threads(task, side)

        def work() -> dict[str, Any]:
            if (name, side) not in self._warm:  # what is imported by the first run belongs to none
                self._warm.add((name, side))
                small = self.ask(task, seed, side, threads, SMALL)
                measure(name, OPTIMIZERS[name], task, small, side, self.server(side))
            ask = self.ask(task, seed, side, threads, self.size)
            return measure(name, OPTIMIZERS[name], task, ask, side, self.server(side)).record()

        return Measured(**self.journal.once((name, task.name, seed, side), work))

    def run(self, names: list[str], tasks: list[Task]) -> Iterator[Measured]:
        """All compilations, sides in turns."""
        seeds = {OURS: self.args.seeds, ENGINE: self.args.seeds, HTTP: self.args.http_seeds, FREE: 1, PLAIN: 1}
        for seed in range(self.args.seeds):
            for name in names:
                for task in tasks:
                    for side in SIDES:
                        if seed < seeds[side]:
                            yield self.one(name, task, seed, side)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*OPTIMIZERS], default=[*OPTIMIZERS], metavar="NAME")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS], metavar="TASK")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--http-seeds", type=int, default=2, help="of these, over HTTP too")
    parser.add_argument("--small", action="store_true", help="one seed and tiny searches: whether it works")
    parser.add_argument("--busy", action="store_true", help="measure on a machine under load; nothing is written")
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted run measured")
    parser.add_argument("--journal", type=Path, default=ROOT / "out" / "bench-optimizers" / "journal.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "optimizers.json")
    args = parser.parse_args()
    if args.small:
        args.seeds = args.http_seeds = 1
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if not (args.busy or args.small) and load > 0.5 * processors:
        parser.error(f"the load is {load:.1f}: wait until the machine is quiet, or say --busy")
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    with contextlib.ExitStack() as stack:
        bench = Bench(args, stack)
        found = []
        for m in bench.run(args.only, [TASKS[t] for t in args.tasks]):
            found.append(m)
            print(
                f"{m.optimizer:<34} {m.task:<9} seed {m.seed} {m.side:<7} score {m.score:5.1f} {m.wall:7.2f} s"
                f" {m.requests:>5} requests, {m.computed_tokens:>6} of {m.prompt_tokens:>7} prompt tokens computed",
                flush=True,
            )
        ways = [ENGINE, HTTP] if args.http_seeds else [ENGINE]
        sweeps = {t: {s: bench.sweep(TASKS[t], s) for s in ways} for t in args.tasks} if found else {}
    figures = summary.Figures(found)
    goals = figures.goals()
    result = {
        "benchmark": "optimizers",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine("dspy", "optuna", "gepa", "torch", "litellm", "numpy"),
        "settings": {"size": asdict(bench.size), "seeds": args.seeds, "http_seeds": args.http_seeds, "exact": True},
        "load_before": round(load, 2),
        "seconds": round(time.perf_counter() - begun, 1),
        "threads": sweeps,
        "results": figures.table(),
        "ratios": figures.ratios(),
        "goals": [{"name": g.name, "figure": g.figure, "goal": g.goal, "reached": g.reached} for g in goals],
    }
    print("", *summary.lines(figures.table()), "", *(g.line() for g in goals), sep="\n")
    if not args.busy:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {args.out}")
    return 0 if all(g.reached for g in goals) or args.small else 1


if __name__ == "__main__":
    sys.exit(main())
