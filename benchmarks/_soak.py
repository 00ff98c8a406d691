"""Options that the benchmarks at twice the capacity have in common."""

from __future__ import annotations

import argparse


def soak_options(about: str, queue: int, of_queue: str, running: int = 4, tokens: int = 64) -> argparse.ArgumentParser:
    """A parser with them; `queue` is how many may wait by default, `of_queue` what that means there."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of the loaded phase; the others take half as long")
    parser.add_argument("--high", type=float, default=0.2, help="share of requests with priority")
    parser.add_argument("--queue", type=int, default=queue, help=of_queue)
    parser.add_argument("--running", type=int, default=running, help="requests that run at a time")
    parser.add_argument("--batch-tokens", type=int, default=tokens, help="tokens per step")
    parser.add_argument("--seed", type=int, default=0)
    return parser
