"""`lampc.adapters.baml_adapter`: the path that `dspy.adapters.baml_adapter` has."""

from lampc.frontend.python.adapters import BAMLAdapter

__all__ = ["BAMLAdapter"]
