"""`lampc.teleprompt.gepa.gepa`: the path that `dspy.teleprompt.gepa.gepa` has."""

from lampc.runtime.optimizers.gepa import GEPA
from lampc.runtime.optimizers.gepa_result import DspyGEPAResult

__all__ = ["GEPA", "DspyGEPAResult"]
