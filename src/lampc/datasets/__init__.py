"""`lampc.datasets`: loading examples, under the names of `dspy.datasets`."""

from lampc.runtime.loading import DataLoader

__all__ = ["DataLoader"]
