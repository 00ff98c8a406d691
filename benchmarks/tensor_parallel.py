"""What splitting a model over ranks costs and gains on this machine, and how much of the ranks' talk is hidden.

    python benchmarks/tensor_parallel.py [--folder DIR] [--ranks 2] [--prompt 512] [--new 16] [--rounds 5]

For a random model of Qwen2.5-0.5B's shape with fewer layers, or the folder named. Rivals, in turns: the unsplit engine,
one rank in shards, several ranks, and those without half-batches. A rank `waits` while it computes nothing because sums
over ranks are under way; what half-batches hide is by how much they make that less. `--trace FILE` writes the waits of
the first rank's last prefill, in Chrome's format: sums as begun and taken, and the part of them that was waited for.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
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
from lampc.backend.parallel.group import Group
from lampc.backend.parallel.settings import Settings

Interval = tuple[float, float, float]  # a sum was begun, asked for, there


class Traced:
    """Notes when the first rank began each sum, asked for it, and had it."""

    def __init__(self, group: Group) -> None:
        self.sums: list[Interval] = []
        self._begin = group.begin
        group.begin = self.begin  # type: ignore[method-assign]

    def begin(self, x: torch.Tensor) -> Callable[[], torch.Tensor]:
        begun, later = time.perf_counter(), self._begin(x)

        def finish() -> torch.Tensor:
            asked = time.perf_counter()
            found = later()
            self.sums.append((begun, asked, time.perf_counter()))
            return found

        return finish


def load(folder: Path, ranks: int | None, halve_from: int, **options: Any) -> TokenEngine:
    team.Settings = partial(Settings, halve_from=halve_from)  # type: ignore[assignment, misc]
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


def trace(path: Path, sums: list[Interval]) -> None:
    """Writes what `chrome://tracing` and Perfetto show."""
    events = []
    for begun, asked, there in sums:
        for name, line, start, end in (("under way", 0, begun, there), ("waited for", 1, asked, there)):
            events.append(
                {"name": name, "ph": "X", "pid": 0, "tid": line, "ts": start * 1e6, "dur": (end - start) * 1e6}
            )
    path.write_text(json.dumps({"traceEvents": events}))


def main() -> None:
    parser = argparse.ArgumentParser(description="A model over several ranks against the same on one.")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--layers", type=int, default=6, help="of the random model")
    parser.add_argument("--trace", type=Path)
    for name, value in (("ranks", 2), ("prompt", 512), ("new", 16), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = QWEN | {"num_hidden_layers": args.layers}
    folder = args.folder or make(cache.folder("models") / f"qwen-{args.layers}-layers-random", shape)
    about = machine("torch", "numpy")
    print(f"{about['processor']}, {args.ranks} ranks of {args.threads} threads, load {about['load']}, {args.dtype}")
    common: dict[str, Any] = {"dtype": args.dtype, "kv_tokens": 8192}
    engines = {
        "unsplit": load(folder, None, 0, **common),
        "1 rank": load(folder, 1, 0, **common),
        f"{args.ranks} ranks": load(folder, args.ranks, 128, **common),
        f"{args.ranks} ranks, no halves": load(folder, args.ranks, 1 << 30, **common),
    }
    traces = {n: Traced(e.parallel.share.group) for n, e in engines.items() if isinstance(e, ParallelEngine)}
    draw = random.Random(0)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in engines}

    def once(name: str) -> float:
        if name in traces:
            traces[name].sums.clear()
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
    if args.trace:
        trace(args.trace, traces[halves].sums)
    for engine in engines.values():
        engine.close()
    options = {k: str(v) for k, v in vars(args).items() if k not in ("folder", "trace")}
    append("tensor_parallel", {"machine": about, "options": options, "rivals": result, "hidden": hidden})


if __name__ == "__main__":
    main()
