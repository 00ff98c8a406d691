"""GPU kernels in Triton, each beside the torch code that computes the same.

Nothing here is imported unless kernels are asked for: triton is an extra (`gpu`), which has wheels for Linux alone.
"""
