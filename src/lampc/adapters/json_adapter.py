"""`lampc.adapters.json_adapter`: the path that `dspy.adapters.json_adapter` has."""

from lampc.frontend.python.adapters import JSONAdapter

__all__ = ["JSONAdapter"]
