"""Where the benchmark keeps what is expensive to make: model, environments, converted weights, finished rows."""

from __future__ import annotations

import os
from pathlib import Path


def folder(*parts: str) -> Path:
    """A folder below the user's cache, made if it is not there. `LAMPC_BENCH_CACHE` moves it."""
    base = os.environ.get("LAMPC_BENCH_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = (Path(base) if base else home / "lampc" / "engine_bench").joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
