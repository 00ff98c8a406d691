"""Train firefly, resume it, or export it: ``python tools/train_firefly.py --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from firefly.batches import Source, Stage
from firefly.dense import ACROSS_TURNS, LOOKING_ALIKE, DenseRows
from firefly.episodes import maker
from firefly.export import export, load_average
from firefly.model import Shape
from firefly.tokenizer import build_tokenizer
from firefly.trainer import Plan, Trainer

STAGES = (
    Stage(0.06, 0.50, (128,), "easy"),
    Stage(0.30, 0.25, (128,), "easy"),
    Stage(0.37, 0.15, (128, 128, 256), "mixed"),
    Stage(0.50, 0.35, (128, 128, 256), "mixed", LOOKING_ALIKE),
    Stage(0.66, 0.30, (128, 128, 256), "labels", ACROSS_TURNS),
    Stage(0.73, 0.15, (128, 256, 256), "full", ACROSS_TURNS),
    Stage(0.87, 0.10, (128, 256, 256), "numbers", ACROSS_TURNS),
    Stage(1.0, 0.05, (256, 256, 512, 1024), "numbers", ACROSS_TURNS),
)
"""Much looking back first, then for what is alike, then from turn to turn, then all tasks in longer rows."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/firefly.pt"))
    parser.add_argument("--minutes", type=float, default=100.0, help="training budget, pauses excluded")
    parser.add_argument("--steps", type=int, default=1_000_000, help="budget in steps (exactly repeatable)")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fp32", action="store_true", help="for a CPU without bfloat16 products")
    parser.add_argument("--adam", action="store_true", help="AdamW for the matrices too, instead of Muon")
    parser.add_argument("--export", type=Path, help="write the Hugging Face folder and stop")
    parser.add_argument("--raw", action="store_true", help="export the last weights, not their average")
    args = parser.parse_args()
    if args.export:
        export(load_average(args.checkpoint, args.raw), args.export)
        return
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer()
    source = Source(DenseRows(tokenizer), maker(tokenizer), args.tokens, args.seed)
    plan = Plan(STAGES, args.steps, args.minutes, args.lr, muon=not args.adam)
    trainer = Trainer(Shape(), plan, source, args.device, args.seed, not args.fp32)
    if args.checkpoint.exists():
        trainer.restore(torch.load(args.checkpoint, map_location=args.device, weights_only=True))
        print(f"resumed at step {trainer.step}", flush=True)
    trainer.run(args.checkpoint)


if __name__ == "__main__":
    main()
