"""`lampc.adapters.types.audio`: the path that `dspy.adapters.types.audio` has."""

from lampc.frontend.python.types.audio import Audio

__all__ = ["Audio"]
