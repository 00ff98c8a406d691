"""`lampc.adapters.types.file`: the path that `dspy.adapters.types.file` has."""

from lampc.frontend.python.types.file import File

__all__ = ["File"]
