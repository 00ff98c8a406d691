"""Measure firefly: ``python tools/evaluate_firefly.py --docs docs/firefly.md``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from firefly.evaluate import Setting, run
from firefly.export import load_average, load_folder
from firefly.scoring import Scorer
from firefly.tokenizer import build_tokenizer


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("runtime/firefly"), help="folder or checkpoint")
    parser.add_argument("--count", type=int, default=40, help="episodes a cell")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--docs", type=Path, help="paste the tables between the marks of this file")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_folder(args.weights) if args.weights.is_dir() else load_average(args.weights)
    print(run(Scorer(model, build_tokenizer()), Setting(args.count, args.seed), args.docs, args.json))


if __name__ == "__main__":
    main()
