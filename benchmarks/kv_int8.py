"""What K/V in eight bits cost and gain: error of logprobs, equal greedy tokens, bytes per token, speed.

    python benchmarks/kv_int8.py [--folder DIR ...] [--requests 8] [--prompt 200] [--new 32] [--rounds 3]

For firefly, and for a random model of Qwen2.5-0.5B's shape with fewer layers (or the folders named). Both engines score
the same texts, the greedy continuations of the one in full precision: `error` is the difference of their logprobs in
nats, `argmax` the share of places at which both find the same token likeliest. `tokens` is the share of greedy tokens
that are equal before the first that is not, running freely. Decoding is timed in turns.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from _common import append, in_turns, machine, median, seconds, spread
from engine_bench import cache
from engine_bench.model import QWEN, make

from lampc.backend import Completion, Request, Sampling, TokenEngine, load_engine


def run(engine: TokenEngine, requests: list[Request]) -> list[Completion]:
    handles = [engine.submit(request) for request in requests]
    engine.run()
    found = [handle.completion for handle in handles if handle.completion is not None]
    for completion in found:
        if completion.error:
            raise SystemExit(completion.error)
    return found


def compare(folder: Path, dtype: str, args: argparse.Namespace) -> dict[str, float]:
    """Figures of one model."""
    full = load_engine(folder, dtype=dtype, max_batch_tokens=2048)
    int8 = load_engine(folder, dtype=dtype, max_batch_tokens=2048, kv_dtype="int8")
    draw = random.Random(0)
    vocab = full.info.vocab_size
    prompts = [tuple(draw.randrange(8, vocab) for _ in range(args.prompt)) for _ in range(args.requests)]
    greedy = Sampling(max_tokens=args.new, ignore_eos=True)
    right = run(full, [Request(ids, greedy) for ids in prompts])
    free = run(int8, [Request(ids, greedy) for ids in prompts])
    scored = [Request(ids, score=c.tokens, top_logprobs=1) for ids, c in zip(prompts, right, strict=True)]
    pairs = [
        (x, y, a, b)
        for one, two in zip(run(full, scored), run(int8, scored), strict=True)
        for x, y, a, b in zip(
            one.logprobs or (), two.logprobs or (), one.top_logprobs or (), two.top_logprobs or (), strict=True
        )
    ]
    errors = sorted(abs(x - y) for x, y, _, _ in pairs)
    same = [
        next((i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=True)) if x != y), args.new)
        for a, b in zip(right, free, strict=True)
    ]

    def decode(engine: TokenEngine) -> float:
        run(engine, [Request(ids, Sampling(max_tokens=1, ignore_eos=True)) for ids in prompts])  # prompts are cached
        work = [Request(ids, greedy) for ids in prompts]
        return float(args.requests * args.new / seconds(lambda: run(engine, work)))

    speeds = in_turns({"full": lambda: decode(full), "int8": lambda: decode(int8)}, args.rounds)
    out = {
        "error_mean": sum(errors) / len(errors),
        "error_max": errors[-1],
        "argmax": sum(a[0][0] == b[0][0] for _, _, a, b in pairs) / len(pairs),
        "tokens": sum(same) / (args.requests * args.new),
        "bytes_full": full.info.kv_bytes_per_token,
        "bytes_int8": int8.info.kv_bytes_per_token,
        "speed_full": median(speeds["full"]),
        "speed_int8": median(speeds["int8"]),
    }
    print(f"{folder.name}, {dtype}: {out['bytes_full']:,} bytes of K/V per token, {out['bytes_int8']:,} in int8")
    print(f"  logprobs off by {out['error_mean']:.2g} on average, {out['error_max']:.2g} at most ({len(pairs)} places)")
    print(f"  {out['argmax']:.1%} the same likeliest token; {out['tokens']:.1%} of tokens before the first difference")
    print(f"  decoding: {spread(speeds['full'])} tokens/s, {spread(speeds['int8'])} in int8", flush=True)
    full.close()
    int8.close()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="K/V in eight bits against K/V in full precision.")
    parser.add_argument("--folder", type=Path, nargs="+", default=[])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=6, help="of the random model")
    for name, value in (("requests", 8), ("prompt", 200), ("new", 32), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folders = list(args.folder)
    if not folders:
        from lampc.runtime.pool import firefly_folder

        shape = QWEN | {"num_hidden_layers": args.layers}
        folders = [firefly_folder(), make(cache.folder("models") / f"qwen-{args.layers}-layers-random", shape)]
    about = machine("torch", "numpy")
    print(f"{about['processor']}, {args.threads} threads, load {about['load']}")
    found = {f"{f.name} {dtype}": compare(f, dtype, args) for f in folders for dtype in args.dtype}
    append("kv_int8", {"machine": about, "options": {k: str(v) for k, v in vars(args).items()}, "models": found})


if __name__ == "__main__":
    main()
