"""`lampc.adapters.xml_adapter`: the path that `dspy.adapters.xml_adapter` has."""

from lampc.frontend.python.adapters import XMLAdapter

__all__ = ["XMLAdapter"]
