"""How often fast mode answers otherwise than exact mode: on the prompts of the program families, free-running.

    python benchmarks/flips.py [--calls 24] [--tokens 32] [--scale 0.1]

Every prompt is answered greedily, and drawn at temperature 1 with a key of its own, by each engine: exact and fast
mode, one prompt at a time and 32 together. The reference is exact mode, one at a time without a prefix cache. A token
differs if it stands at or behind the first place where an answer differs from the reference. Appends a line to
`benchmarks/results/flips.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from _common import append, machine
from program_bench.calls import calls
from program_bench.families import FAMILIES, workload
from program_bench.workload import Size
from workloads import engine as simulated

from lampc.backend import Request, Sampling, Tokenizer, load_engine
from lampc.runtime.pool import firefly_folder

TOGETHER = 32


def prompts(count: int, scale: float, tokenizer: Tokenizer, longest: int) -> list[tuple[int, ...]]:
    """Up to `count` different prompts of every family, in an order that mixes them as rows of a run are mixed."""
    out: list[tuple[int, ...]] = []
    for name in FAMILIES:
        lines = calls(workload(name, Size(0, scale, 0.25)), tokenizer, simulated())
        found = (tuple(tokenizer.encode(json.loads(line)["prompt"])) for line in lines)
        fitting = dict.fromkeys(ids for ids in found if len(ids) <= longest)
        out += list(fitting)[:count]
    return out


def answers(
    asked: Sequence[tuple[int, ...]], tokens: int, temperature: float, at_once: int, **options: Any
) -> tuple[list[tuple[int, ...]], float]:
    """Ids of each prompt's answer, and the seconds that took."""
    engine = load_engine(firefly_folder(), **options)
    begun, out = time.perf_counter(), list[tuple[int, ...]]()
    try:
        for at in range(0, len(asked), at_once):
            handles = [
                engine.submit(Request(ids, Sampling(temperature=temperature, max_tokens=tokens), key=at + i))
                for i, ids in enumerate(asked[at : at + at_once])
            ]
            while any(not h.done for h in handles):
                engine.step()
            out += [tuple(h.completion.tokens) for h in handles if h.completion is not None]
    finally:
        engine.close()
    return out, time.perf_counter() - begun


def differing(found: Sequence[tuple[int, ...]], reference: Sequence[tuple[int, ...]]) -> dict[str, float]:
    """Shares of calls and of tokens that differ from the reference."""
    calls_differing = tokens_differing = total = 0
    for a, b in zip(found, reference, strict=True):
        same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        calls_differing += a != b
        total += max(len(a), len(b))
        tokens_differing += max(len(a), len(b)) - same
    return {
        "calls": len(reference),
        "calls_differing": calls_differing,
        "tokens": total,
        "tokens_differing": tokens_differing,
        "share_of_calls": round(calls_differing / len(reference), 5),
        "share_of_tokens": round(tokens_differing / total, 5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--calls", type=int, default=24, help="prompts of each family, at most")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer, at most")
    parser.add_argument("--scale", type=float, default=0.1, help="lengths of prompts, relative to the literature's")
    parser.add_argument("--backends", default="native,torch", help="what computes")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="in which precision")
    parser.add_argument("--device", help="cpu or cuda; by default what the engine takes")
    args = parser.parse_args()
    tokenizer = Tokenizer.load(firefly_folder())
    asked = prompts(args.calls, args.scale, tokenizer, 960)
    print(f"{len(asked)} prompts of {len(FAMILIES)} families, {sum(map(len, asked)):,} tokens")
    print(f"{'backend':<8} {'dtype':<9} {'mode':<6} {'at once':>7} {'temp':>5} {'calls':>14} {'tokens':>17} {'s':>7}")
    rows: list[dict[str, Any]] = []
    for backend in args.backends.split(","):
        for dtype in args.dtypes.split(","):
            for temperature in (0.0, 1.0):
                where: dict[str, Any] = {"backend": backend, "dtype": dtype}
                where |= {"device": args.device} if args.device else {}
                reference, _ = answers(asked, args.tokens, temperature, 1, exact=True, prefix_cache=False, **where)
                for mode, exact in (("exact", True), ("fast", False)):
                    for at_once in (1, TOGETHER):
                        found, seconds = answers(asked, args.tokens, temperature, at_once, exact=exact, **where)
                        figures = differing(found, reference)
                        rows.append({**where, "mode": mode, "at_once": at_once, "temperature": temperature, **figures})
                        n, m = (f"{figures[f'{x}_differing']}/{figures[x]}" for x in ("calls", "tokens"))
                        how = f"{backend:<8} {dtype:<9} {mode:<6} {at_once:>7} {temperature:>5}"
                        print(f"{how} {n:>14} {m:>17} {seconds:>7.1f}", flush=True)
                        if exact and figures["calls_differing"]:
                            raise SystemExit("exact mode differs from itself: that is a bug of the engine")
    result = {"machine": machine("torch"), "prompts": len(asked), "max_tokens": args.tokens, "rows": rows}
    path = append("flips", result)
    print(f"appended to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
