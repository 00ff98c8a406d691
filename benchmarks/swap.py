"""Seconds to the first token of a prompt whose K/V comes back from the host tier, and of one that is computed again.

    python benchmarks/swap.py [--tokens N] [--rounds N] [--threads N] [--dtype D] [--folder DIR]

Two prompts take turns on an engine that holds the K/V of one of them, with a host tier and without. By default random
weights of Qwen2.5-0.5B's shape. On a CPU both tiers are the same memory: it says what a copy costs beside computing,
through the whole engine, and that both end in the same tokens; not what a GPU would do.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from _common import append, in_turns, machine, median, seconds, spread
from engine_bench import cache
from engine_bench.model import QWEN, make

from lampc.backend import Request, Sampling, TokenEngine, load_engine
from lampc.backend.core import EngineCore


class Turns:
    """Asks an engine for each prompt in turn; `tokens` are what it answered."""

    def __init__(self, engine: TokenEngine, prompts: list[tuple[int, ...]]) -> None:
        self.engine = engine
        self.tokens: list[tuple[int, ...]] = []
        self._prompts = prompts
        self.ask()

    def ask(self) -> float:
        """Seconds from a prompt to its first token."""
        ids = self._prompts[len(self.tokens) % len(self._prompts)]
        handle = self.engine.submit(Request(ids, Sampling(max_tokens=1, ignore_eos=True)))
        took = seconds(self.engine.run)
        assert handle.completion is not None
        self.tokens.append(handle.completion.tokens)
        return took


def main() -> None:
    parser = argparse.ArgumentParser(description="K/V copied back from host memory against K/V computed again.")
    parser.add_argument("--folder", type=Path, help="a checkpoint; Qwen2.5-0.5B's shape, random, if left out")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tokens", type=int, default=1025, help="of each prompt")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = args.folder or make(cache.folder("models") / "qwen-0.5b-random", QWEN)
    draw = random.Random(0)
    engines = {}
    prompts: list[tuple[int, ...]] = []
    for name, host in (("copied back", 4 * args.tokens), ("computed", 0)):
        engine = load_engine(folder, dtype=args.dtype, kv_tokens=args.tokens + 31, host_kv_tokens=host)
        prompts = prompts or [
            tuple(draw.randrange(8, engine.info.vocab_size) for _ in range(args.tokens)) for _ in range(2)
        ]
        engines[name] = Turns(engine, prompts)
        engines[name].ask()  # now both prompts were there once
    about = machine("torch", "numpy")
    print(f"{about['processor']}, {args.threads} threads, load {about['load']}; {args.tokens} tokens, {folder.name}")
    took = in_turns({name: turns.ask for name, turns in engines.items()}, args.rounds)
    assert engines["copied back"].tokens == engines["computed"].tokens
    for name, figures in took.items():
        print(f"{name:>12}: {spread(figures)} s to the first token")
    engine = engines["copied back"].engine
    assert isinstance(engine, EngineCore)
    assert engine._tree.host is not None
    rule, stats = engine._tree.host.rule, engine.stats()
    back = stats.swapped_in_tokens // args.rounds
    bytes_back = back * engine.info.kv_bytes_per_token
    print(f"{back} tokens, {bytes_back / 1e6:.1f} MB, came back each time; the same tokens were generated")
    print(f"the rule: {1e6 * rule.copy_s:.2f} us to copy a token, {1e6 * (rule.compute_s or 0):.0f} us to compute it")
    result = {name: median(figures) for name, figures in took.items()}
    options = {k: str(v) for k, v in vars(args).items()}
    rates = {"copy_s_per_token": rule.copy_s, "compute_s_per_token": rule.compute_s}
    append("swap", {"machine": about, "options": options, "seconds": result, "tokens_back": back, **rates})


if __name__ == "__main__":
    main()
