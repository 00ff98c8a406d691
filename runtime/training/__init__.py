"""Training of models on this machine, on calls of programs as they are sent: jobs of optimizers."""

from lampc.runtime.training.train import train

__all__ = ["train"]
