"""Milliseconds of a step inside the model's forward pass and outside of it: scheduling, planning, sampling.

    python benchmarks/step_overhead.py [--requests 1 16 64] [--shared 1024] [--own 64] [--new 96] [--ahead]
        [--folder DIR]

Greedy requests that share a prefix decode together. The model's forward pass, the kernels of its attention included,
is timed within each step; what the step takes beyond it is the engine's own. By default a narrow model with a
vocabulary of 32,000, so that steps are short and logits as large as real ones; `--folder` takes any checkpoint.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import time
from pathlib import Path
from typing import Any

import torch
from _common import append, machine, median
from engine_bench import cache
from engine_bench.model import make

from lampc.backend import Request, Sampling, TokenEngine, load_engine
from lampc.backend.core import EngineCore

_NARROW = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
}


clock = time.perf_counter


class TimedModel:
    """A model that adds up the seconds of its forward passes."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def forward(self, *arguments: Any) -> Any:
        return self._timed(self._inner.forward, arguments)

    def likeliest(self, *arguments: Any) -> Any:
        return self._timed(self._inner.likeliest, arguments)

    def _timed(self, run: Any, arguments: Any) -> Any:
        begun = clock()
        out = run(*arguments)
        self.seconds += clock() - begun
        return out


def prompts(count: int, shared: int, own: int, vocab: int) -> list[tuple[int, ...]]:
    draw = random.Random(0)
    stem = tuple(draw.randrange(8, vocab) for _ in range(shared))
    return [stem + tuple(draw.randrange(8, vocab) for _ in range(own)) for _ in range(count)]


def decode(engine: TokenEngine, model: TimedModel, args: argparse.Namespace, count: int) -> dict[str, float]:
    """Medians over the steps in which all requests decode, in milliseconds."""
    wanted = prompts(count, args.shared, args.own, engine.info.vocab_size)
    sampling = Sampling(max_tokens=args.new, ignore_eos=True)
    for ids in wanted:
        engine.submit(Request(ids, sampling))
    while engine.metrics().running < count or engine.metrics().prefilling:
        engine.step()
    inside, outside = [], []
    profile = cProfile.Profile(clock) if args.profile else None
    for _ in range(args.new - 8):
        model.seconds, before = 0.0, engine.stats().generated_tokens
        begun = clock()
        if profile:
            profile.runcall(engine.step)
        else:
            engine.step()
        took = clock() - begun
        if engine.stats().generated_tokens - before == count:
            inside.append(1e3 * model.seconds)
            outside.append(1e3 * (took - model.seconds))
    engine.run()
    engine.reset_cache()
    if profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(32)
    return {"inside": median(inside), "outside": median(outside), "least": min(outside), "steps": len(outside)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a step costs beyond the model's forward pass.")
    parser.add_argument("--folder", type=Path, help="a checkpoint; a narrow model with random weights if left out")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--ahead", action="store_true", help="launch steps ahead, which nothing hides on a CPU")
    parser.add_argument("--cpu", action="store_true", help="processor time of this thread: for a machine that is busy")
    parser.add_argument("--profile", action="store_true", help="print where the time goes; profiling itself adds to it")
    for name, value in (("shared", 1024), ("own", 64), ("new", 96)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.cpu:
        global clock
        clock = time.thread_time
    folder = args.folder or make(cache.folder("models") / "narrow-random", _NARROW)
    engine = load_engine(folder, dtype=args.dtype, max_batch_tokens=2048, async_scheduling=args.ahead)
    assert isinstance(engine, EngineCore)
    runner: Any = engine._runner
    model = runner._model = runner._greedy = TimedModel(runner._model)
    about = machine("torch", "numpy")
    print(f"{about['processor']}, {args.threads} threads, load {about['load']}; {args.shared} + {args.own} tokens")
    found = {}
    for count in args.requests:
        ms = found[str(count)] = decode(engine, model, args, count)
        print(
            f"{count:>3} requests: {ms['inside']:8.3f} ms inside the forward pass, {ms['outside']:.3f} outside of it "
            f"(least {ms['least']:.3f}; medians of {ms['steps']} steps)"
        )
    engine.close()
    options = {k: str(v) for k, v in vars(args).items()}
    append("step_overhead", {"machine": about, "options": options, "milliseconds": found})


if __name__ == "__main__":
    main()
