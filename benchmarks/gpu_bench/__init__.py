"""Checks and timings on a GPU, see `benchmarks/gpu.py`."""
