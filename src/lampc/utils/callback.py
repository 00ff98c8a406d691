"""`lampc.utils.callback`: the path that `dspy.utils.callback` has."""

from lampc.frontend.python.callbacks import BaseCallback

__all__ = ["BaseCallback"]
