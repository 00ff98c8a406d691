"""Write the data of the examples, and measure firefly on it: ``python tools/make_example_data.py --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from firefly.example_data import write_all
from firefly.example_scores import readme
from firefly.export import load_folder
from firefly.scoring import Scorer
from firefly.tokenizer import build_tokenizer


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1] / "examples" / "data")
    parser.add_argument("--measure", type=Path, help="weights to measure; writes README.md beside the data")
    args = parser.parse_args()
    write_all(args.folder)
    if args.measure:
        torch.set_num_threads(1)
        text = readme(Scorer(load_folder(args.measure), build_tokenizer()), args.folder)
        (args.folder / "README.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
