"""`lampc.predict.parallel`: the path that `dspy.predict.parallel` has."""

from lampc.frontend.python.modules.parallel import Parallel

__all__ = ["Parallel"]
