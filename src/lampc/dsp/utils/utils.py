"""`lampc.dsp.utils.utils`: the path that `dspy.dsp.utils.utils` has."""

from lampc.frontend.python.values.dotdict import deduplicate, dotdict

__all__ = ["deduplicate", "dotdict"]
