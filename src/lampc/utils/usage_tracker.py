"""`lampc.utils.usage_tracker`: the path that `dspy.utils.usage_tracker` has."""

from lampc.ir.usage import UsageTracker, track_usage

__all__ = ["UsageTracker", "track_usage"]
