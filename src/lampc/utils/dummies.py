"""`lampc.utils.dummies`: the path that `dspy.utils.dummies` has."""

from lampc.runtime.scripted import DummyLM

__all__ = ["DummyLM"]
