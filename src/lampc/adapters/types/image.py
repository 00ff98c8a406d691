"""`lampc.adapters.types.image`: the path that `dspy.adapters.types.image` has."""

from lampc.frontend.python.types.image import Image

__all__ = ["Image"]
