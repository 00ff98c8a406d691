"""What splitting a model over ranks costs and gains on this machine, and how much of the ranks' talk is hidden.

    python benchmarks/tensor_parallel.py [--folder DIR] [--ranks 2] [--prompt 512] [--new 16] [--rounds 5]

For a random model of Qwen2.5-0.5B's shape with fewer layers, or the folder named. Rivals, in turns: the unsplit engine,
one rank in shards, several ranks, and those without half-batches. A rank `waits` while it computes nothing because sums
over ranks are under way; what half-batches hide is by how much they make that less.

    python benchmarks/tensor_parallel.py --trace FILE

writes what every rank does when, with half-batches and without, for Perfetto or chrome://tracing, and prints in which
share of the time in which sums were under way something was computed.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _common import append, in_turns, machine, median, spread
from engine_bench import cache
from engine_bench.model import QWEN, make

from lampc.backend import Request, Sampling, TokenEngine, load_engine
from lampc.backend.parallel import team
from lampc.backend.parallel.engine import ParallelEngine
from lampc.backend.parallel.settings import Settings
from lampc.backend.parallel.trace import Event, chrome, read, shares

FEW = 33  # rows: a step of fewer decodes


def load(folder: Path, ranks: int | None, halve_from: int, *, trace: str = "", **options: Any) -> TokenEngine:
    team.Settings = partial(Settings, halve_from=halve_from, trace=trace)  # type: ignore[assignment, misc]
    return load_engine(folder, tensor_parallel=ranks, **options)


def measure(engine: TokenEngine, draw: random.Random, args: argparse.Namespace) -> dict[str, float]:
    """Tokens per second of a prefill and of decoding, and the share of either in which the first rank waited."""
    vocab = engine.info.vocab_size
    prompts = [tuple(draw.randrange(8, vocab) for _ in range(args.prompt // 4)) for _ in range(4)]
    group = engine.parallel.share.group if isinstance(engine, ParallelEngine) else None
    found = {}
    for name, new in (("prefill", 1), ("decode", args.new)):
        waited, begun = 0.0 if group is None else group.waited_s, time.perf_counter()
        for ids in prompts:
            engine.submit(Request(ids, Sampling(max_tokens=new, ignore_eos=True)))
        engine.run()
        took = time.perf_counter() - begun
        found[name] = 4 * (new if name == "decode" else len(prompts[0])) / took
        found[f"{name}_waits"] = 0.0 if group is None else (group.waited_s - waited) / took
        found[f"{name}_waited_s"] = 0.0 if group is None else group.waited_s - waited
    return found


def trace(path: Path, folder: Path, args: argparse.Namespace, options: dict[str, Any]) -> None:
    """One prefill and some decoding with half-batches and without, every rank traced: writes `path`, prints the shares
    of communication that were hidden."""
    shown: list[tuple[str, list[Event]]] = []
    for name, halve_from in (("half-batches", min(128, args.prompt)), ("whole batches", 1 << 30)):
        with tempfile.TemporaryDirectory(prefix="lampc-trace-") as where:
            engine = load(folder, args.ranks, halve_from, trace=where, **options)
            draw = random.Random(0)
            measure(engine, draw, args)  # finds out about shapes
            since = time.perf_counter()
            measure(engine, draw, args)
            engine.close()
            ranks = [after(events, since) for events in read(Path(where))]
        for rank, events in enumerate(ranks):
            shown.append((f"rank {rank}, {name}", events))
            for what, some in (("prefill", of_steps(events, FEW)), ("decode", of_steps(events, 0, FEW))):
                one = shares(some)
                print(
                    f"  rank {rank}, {name}, {what}: computes {one.compute * 1e3:,.1f} ms, sums under way "
                    f"{one.under_way * 1e3:,.1f} ms, waits {one.waited * 1e3:,.1f} ms: {one.hidden:.1%} of "
                    "communication hidden behind compute"
                )
    path.write_text(json.dumps(chrome(shown)), encoding="utf-8")
    print(f"wrote {path}: open it in https://ui.perfetto.dev or chrome://tracing")


def after(events: list[Event], since: float) -> list[Event]:
    """Those that began then or later, counted from there, so that runs can be laid side by side."""
    return [replace(e, start=e.start - since, end=e.end - since) for e in events if e.start >= since]


def of_steps(events: list[Event], least: int, below: int = 1 << 30) -> list[Event]:
    """The events of steps of at least so many rows, and fewer than `below`."""
    steps = [e for e in events if e.kind == "step" and least <= int(e.name.split()[0]) < below]
    return [e for e in events if any(s.start <= e.start and e.end <= s.end for s in steps)]


def main() -> None:
    parser = argparse.ArgumentParser(description="A model over several ranks against the same on one.")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--layers", type=int, default=6, help="of the random model")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write one traced run there, and measure no more")
    for name, value in (("ranks", 2), ("prompt", 512), ("new", 16), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = QWEN | {"num_hidden_layers": args.layers}
    folder = args.folder or make(cache.folder("models") / f"qwen-{args.layers}-layers-random", shape)
    about = machine("torch", "numpy")
    print(f"{about['processor']}, {args.ranks} ranks of {args.threads} threads, load {about['load']}, {args.dtype}")
    common: dict[str, Any] = {"dtype": args.dtype, "kv_tokens": 8192}
    if args.trace:
        trace(args.trace, folder, args, common)
        return
    engines = {
        "unsplit": load(folder, None, 0, **common),
        "1 rank": load(folder, 1, 0, **common),
        f"{args.ranks} ranks": load(folder, args.ranks, 128, **common),
        f"{args.ranks} ranks, no halves": load(folder, args.ranks, 1 << 30, **common),
    }
    draw = random.Random(0)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in engines}

    def once(name: str) -> float:
        figures[name].append(measure(engines[name], draw, args))
        return figures[name][-1]["prefill"]

    in_turns({name: partial(once, name) for name in engines}, args.rounds + 1)
    result: dict[str, dict[str, float]] = {}
    for name, rounds in figures.items():
        rounds = rounds[1:]  # the first one finds out about shapes
        result[name] = {key: median([r[key] for r in rounds]) for key in rounds[0]}
        speeds = "; ".join(f"{key} {spread([r[key] for r in rounds])} tokens/s" for key in ("prefill", "decode"))
        print(
            f"  {name}: {speeds}; waits {result[name]['prefill_waits']:.1%} of prefill, "
            f"{result[name]['decode_waits']:.1%} of decoding"
        )
    halves, whole = list(result)[2:]
    hidden = 1 - result[halves]["prefill_waited_s"] / result[whole]["prefill_waited_s"]
    print(f"  half-batches hide {hidden:.0%} of what a prefill waits for without them")
    for engine in engines.values():
        engine.close()
    options = {k: str(v) for k, v in vars(args).items() if k not in ("folder", "trace")}
    append("tensor_parallel", {"machine": about, "options": options, "rivals": result, "hidden": hidden})


if __name__ == "__main__":
    main()
