"""The engine: prompt and decode tokens per second, and what sharing prefixes gains, measured side by side.

    python benchmarks/engine.py [--rows 48] [--prefix 400] [--suffix 30] [--new 16] [--rounds 3] [--folder DIR]

The workload is that of a tuned program: many rows whose prompts begin alike (instruction and demos) and end apart. The
same requests go through the paged engine with its prefix cache, without it, and without it row by row. All must give
the same token ids; the naive engine, which computes everything anew for each token, confirms them for the first rows.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path

import torch
from _common import append, in_turns, machine, median, seconds, spread

from lampc.backend import Handle, Request, Sampling, TokenEngine, load_engine

Prompts = list[tuple[int, ...]]


def prompts(count: int, prefix: int, suffix: int, vocab: int, seed: int = 0) -> Prompts:
    """Prompts with a common beginning of `prefix` ids and `suffix` ids of their own."""
    draw = random.Random(seed)
    shared = tuple(draw.randrange(8, vocab) for _ in range(prefix))
    return [shared + tuple(draw.randrange(8, vocab) for _ in range(suffix)) for _ in range(count)]


def generate(engine: TokenEngine, wanted: Prompts, new: int) -> list[tuple[int, ...]]:
    """Exactly `new` ids for each prompt."""
    sampling = Sampling(max_tokens=new, ignore_eos=True)
    handles: list[Handle] = [engine.submit(Request(ids, sampling)) for ids in wanted]
    engine.run()
    return [h.completion.tokens for h in handles if h.completion is not None]


class Rival:
    """An engine that runs the shared workload from an empty cache; keeps what it generated and computed."""

    def __init__(self, make: Callable[[], TokenEngine], wanted: Prompts, new: int) -> None:
        self._make, self._wanted, self._new = make, wanted, new
        self.tokens: list[tuple[int, ...]] = []
        self.computed = 0

    def __call__(self) -> float:
        engine = self._make()
        generate(engine, self._wanted[:1], 1)  # warm up, and then forget
        engine.reset_cache()
        before = engine.stats().computed_tokens
        took = seconds(self._work(engine))
        self.computed = engine.stats().computed_tokens - before
        engine.close()
        return took

    def _work(self, engine: TokenEngine) -> Callable[[], None]:
        def work() -> None:
            self.tokens = generate(engine, self._wanted, self._new)

        return work


def speeds(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Tokens per second of prompts alone, and of decoding alone by one, 8 and 32 requests at once."""
    engine = load_engine(folder)
    vocab = engine.info.vocab_size
    out: dict[str, dict[str, float]] = {}

    def prefill(seed: list[int] = [0]) -> float:  # noqa: B006
        seed[0] += 1
        wanted = prompts(8, 0, 512, vocab, seed[0])
        return 8 * 512 / seconds(lambda: generate(engine, wanted, 1))

    def decode(at_once: int, new: int = 64) -> Callable[[], float]:
        def measure() -> float:
            wanted = prompts(at_once, 64, 4, vocab)
            generate(engine, wanted, 1)  # the prompts are in the cache now
            return at_once * new / seconds(lambda: generate(engine, wanted, new))

        return measure

    measured = in_turns(
        {"prefill": prefill, "decode 1": decode(1), "decode 8": decode(8), "decode 32": decode(32)}, rounds
    )
    engine.close()
    for name, figures in measured.items():
        print(f"{name:<10} {spread(figures)} tokens/s")
        out[name] = {
            "median": round(median(figures), 1),
            "least": round(min(figures), 1),
            "most": round(max(figures), 1),
        }
    return out


def sharing(folder: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The shared workload in three ways, in turns."""
    vocab = load_engine(folder).info.vocab_size
    wanted = prompts(args.rows, args.prefix, args.suffix, vocab)
    rivals = {
        "shared": Rival(lambda: load_engine(folder), wanted, args.new),
        "unshared": Rival(lambda: load_engine(folder, prefix_cache=False), wanted, args.new),
        "row by row": Rival(lambda: load_engine(folder, prefix_cache=False, max_running=1), wanted, args.new),
    }
    times = in_turns(rivals, args.rounds)
    first = rivals["shared"]
    asked = sum(map(len, wanted))
    print(f"\n{args.rows} rows, {args.prefix} ids in common, {args.suffix} of their own, {args.new} new")
    out = {}
    for name, rival in rivals.items():
        if rival.tokens != first.tokens:
            raise SystemExit(f"{name} gives other token ids than shared: not exact")
        took = median(times[name])
        ratio = took / median(times["shared"])
        print(
            f"{name:<10} {spread(times[name])} s, {ratio:.2f}x; {rival.computed:,} of {asked:,} prompt tokens computed"
        )
        out[name] = {"seconds": round(took, 4), "computed": rival.computed, "asked": asked, "ratio": round(ratio, 3)}
    naive = load_engine(folder, kind="naive")
    if generate(naive, wanted[: args.naive], args.new) != first.tokens[: args.naive]:
        raise SystemExit("the naive engine gives other token ids: not exact")
    print(f"all gave the same token ids; the naive engine too, for {args.naive} of the rows")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the engine, and what sharing prefixes gains.")
    parser.add_argument("--folder", type=Path, help="a checkpoint folder; firefly if left out")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    )
    for name, value in (("rows", 48), ("prefix", 400), ("suffix", 30), ("new", 16), ("rounds", 3), ("naive", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    from lampc.runtime.models import firefly_folder

    folder = args.folder or firefly_folder()
    about = machine("torch", "numpy")
    print(f"{about['processor']}, {args.threads} threads, load {about['load']}, torch {about['torch']}\n")
    options = {k: v for k, v in vars(args).items() if k != "folder"}
    model = {"model": "firefly" if args.folder is None else args.folder.name}
    result = {**model, "options": options, "speeds": speeds(folder, args.rounds), "sharing": sharing(folder, args)}
    print(f"appended to {append('engine', {'machine': about, **result})}")


if __name__ == "__main__":
    main()
