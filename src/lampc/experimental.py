"""`lampc.experimental`: what is in `dspy.experimental` and here too."""

from lampc.frontend.python.types.document import Citations, Document

__all__ = ["Citations", "Document"]
