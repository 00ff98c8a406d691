"""What steps cost on an accelerator, from the figures that `benchmarks/gpu.py` measured on one.

A line through two decode steps that were measured (1 and 32 requests), and beyond it the measured price of a token of a
long prompt. Coarse, and not a run on that device: it says how the ways compare where a step costs what hundreds of rows
do, as it does on accelerators and not on two cores.
"""

from __future__ import annotations

import json
from pathlib import Path

from lampc.runtime.costs import KNOTS, StepCost

MODEL, REQUESTS = "llama_8b", 32


def cost(path: Path) -> StepCost:
    """Seconds of steps of an 8 B model in exact mode. Raises KeyError for a record without these figures."""
    record = json.loads(path.read_text(encoding="utf-8"))
    decode = {int(n): found["seconds"] for n, found in record[MODEL]["exact"].items()}
    row = (decode[REQUESTS] - decode[1]) / (REQUESTS - 1)
    token = record["swap"]["computed_s_per_token"]
    slopes = (decode[1], *(row if low < REQUESTS else token for low in KNOTS[1:-1]))
    return StepCost(0.0, slopes, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
