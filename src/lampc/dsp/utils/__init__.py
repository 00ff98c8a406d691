"""`lampc.dsp.utils`: settings and small helpers, under the names of `dspy.dsp.utils`."""

from lampc.dsp.utils.settings import settings
from lampc.frontend.python.values.dotdict import deduplicate, dotdict

__all__ = ["deduplicate", "dotdict", "settings"]
