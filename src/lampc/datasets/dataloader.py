"""`lampc.datasets.dataloader`: the path that `dspy.datasets.dataloader` has."""

from lampc.runtime.loading import DataLoader

__all__ = ["DataLoader"]
