"""MIPROv2: proposals of instructions and sets of demos, combined by Bayesian search."""

from lampc.passes.optimize.mipro.strategy import MIPROv2

__all__ = ["MIPROv2"]
