"""`lampc.dsp.utils.settings`: the path that `dspy.dsp.utils.settings` has."""

from lampc.ir.settings import settings

__all__ = ["settings"]
