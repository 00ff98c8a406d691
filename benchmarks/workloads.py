"""Families of LM programs as seeded, replayable workloads.

    python benchmarks/workloads.py list
    python benchmarks/workloads.py write FAMILY [--seed 0] [--scale 0.25] [--rows 1] [--out FILE]
    python benchmarks/workloads.py calls FAMILY|FILE [--out FILE]
    python benchmarks/workloads.py tokens FAMILY|FILE ... [--kv TOKENS]

`write` makes JSON lines: the program (`.lmp`), the rules of its scripted answers and its candidates in the first, a row
in each other. `calls` runs it without a model and writes each call's prompt, answer and what it comes after, to be
replayed through any completions endpoint. `tokens` counts what each way to run it would compute, also without a model.
Lengths are `scale` times those that the literature uses.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from program_bench.calls import calls
from program_bench.desk import RIVALS
from program_bench.families import FAMILIES, workload
from program_bench.measure import run, without_cost
from program_bench.workload import Size, Workload

from lampc.backend import EngineInfo, Tokenizer
from lampc.backend.simulated import SimulatedEngine
from lampc.runtime.pool import firefly_folder

AMPLE = 1 << 19


def engine(kv_tokens: int = AMPLE, prefix_cache: bool = True) -> SimulatedEngine:
    """An engine without a model, with the bundled model's tokenizer."""
    tokenizer = Tokenizer.load(firefly_folder())
    info = EngineInfo("simulated", tokenizer.vocab_size, 1 << 15, 6144, 16, True, "simulated")
    return SimulatedEngine(tokenizer, info, without_cost, kv_tokens=kv_tokens, prefix_cache=prefix_cache)


def found(name: str, args: argparse.Namespace) -> Workload:
    """A family by name, or a workload from its file."""
    if name in FAMILIES:
        return workload(name, Size(args.seed, args.scale, args.rows))
    return Workload.read(Path(name))


def table(workloads: list[Workload], kv_tokens: int) -> None:
    """What each way to run them asks for and computes."""
    print(
        f"{'family':<16} {'way':<11} {'calls':>6} {'asked':>8} {'computed':>9} {'bound':>8} {'written':>8} {'steps':>6}"
    )
    for work in workloads:
        for way in (None, *RIVALS):
            r = run(work, engine(kv_tokens, way is None or way.prefix_cache), way)
            counts = f"{r.calls:>6} {r.prompt_tokens:>8} {r.computed_tokens:>9} {r.bound:>8}"
            print(f"{work.name:<16} {r.way:<11} {counts} {r.generated_tokens:>8} {r.steps:>6}")


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("command", choices=["list", "write", "calls", "tokens"])
    parser.add_argument("names", nargs="*", help="families, or files that `write` made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=0.25, help="lengths, relative to the literature's")
    parser.add_argument("--rows", type=float, default=1.0, help="rows, relative to what two cores run in seconds")
    parser.add_argument("--kv", type=int, default=AMPLE, help="tokens that the KV cache holds")
    parser.add_argument("--out", type=Path, help="a file; standard output if left out")
    args = parser.parse_args()
    if args.command == "list":
        for name, family in FAMILIES.items():
            print(f"{name:<16} {' '.join(str(family.__doc__).split())}")
        return 0
    works = [found(name, args) for name in args.names or (FAMILIES if args.command == "tokens" else ())]
    if args.command == "tokens":
        table(works, args.kv)
        return 0
    if len(works) != 1:
        parser.error("name one family or file")
    lines = works[0].lines() if args.command == "write" else calls(works[0], Tokenizer.load(firefly_folder()), engine())
    text = "".join(line + "\n" for line in lines)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
