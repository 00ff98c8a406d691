"""`lampc.teleprompt.bootstrap_trace`: the path that `dspy.teleprompt.bootstrap_trace` has."""

from lampc.runtime.optimizers.traces import FailedPrediction, bootstrap_trace_data

__all__ = ["FailedPrediction", "bootstrap_trace_data"]
