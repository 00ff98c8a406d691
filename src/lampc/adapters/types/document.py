"""`lampc.adapters.types.document`: the path that `dspy.adapters.types.document` has."""

from lampc.frontend.python.types.document import Document

__all__ = ["Document"]
