"""Optimizers of lampc beside DSPy's: tasks, sides, a scripted proposer, and what is made of the figures."""
