"""`lampc.adapters.types.base_type`: the path that `dspy.adapters.types.base_type` has."""

from lampc.frontend.python.types.base import Type

__all__ = ["Type"]
