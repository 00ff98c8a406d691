"""Schedules against the optimum: small programs drawn from a seed, solved exactly."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
