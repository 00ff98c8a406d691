"""`lampc serve` beside vLLM's server for CPU: same weights, same requests, same machine, one client process, one run.

    make bench-serve                              (a first run also makes vLLM's environment, as bench-engine does)
    make bench-serve ARGS="--models firefly --n 128"
    make bench-serve ARGS="--quick"               (seconds: to see that everything works)

Streamed completions of mixed lengths (16 to 384 tokens in, 8 to 48 out) arrive at random moments, whatever was
answered: once all together (which says what a server can do), then faster than both can answer (throughput), then at
half of what the slower one can (time to the first text). The same trace goes through our engine without a server: what
lies between is `overhead_per_token_ms`. While one server is asked the other is stopped. What was measured is kept: a
run that was stopped goes on (`--fresh` starts over).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

from _common import RESULTS, ROOT

from serve_bench.run import SYSTEMS, run

_KNOWN = ("qwen-0.5b", "firefly", "tiny")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the servers
    parser = argparse.ArgumentParser(
        prog="serve_bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", help=f"of {','.join(_KNOWN)}; the first two, firefly with --quick")
    parser.add_argument("--only", default=",".join((*SYSTEMS, "engine")), help="of %(default)s")
    parser.add_argument("--n", type=int, help="requests of each measurement (40 and 384; 32 with --quick)")
    parser.add_argument(
        "--repeat", type=int, help="measurements of each, in turns; the median counts (2; 1 with --quick)"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each server's engine")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured")
    parser.add_argument("--out", type=Path, help="benchmarks/results/serve.json; out/serve_quick.json with --quick")
    parser.add_argument("--pip-args", default="", help="for vLLM's environment")
    args = parser.parse_args()
    args.models = (args.models or ("firefly" if args.quick else "qwen-0.5b,firefly")).split(",")
    args.only = args.only.split(",")
    for name, known in ((args.models, _KNOWN), (args.only, (*SYSTEMS, "engine"))):
        if wrong := [n for n in name if n not in known]:
            parser.error(f"{wrong[0]!r} is none of {', '.join(known)}")
    args.n = args.n or (32 if args.quick else None)
    args.repeat = args.repeat or (1 if args.quick else 2)
    args.out = args.out or (ROOT / "out" / "serve_quick.json" if args.quick else RESULTS / "serve.json")
    try:
        result = run(args)
    except KeyboardInterrupt:
        raise SystemExit("stopped; what was measured is kept, the same command goes on") from None
    for name, found in result["models"].items():
        print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in found.items()))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
