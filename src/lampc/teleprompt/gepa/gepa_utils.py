"""`lampc.teleprompt.gepa.gepa_utils`: the path that `dspy.teleprompt.gepa.gepa_utils` has."""

from lampc.runtime.optimizers.gepa_result import ScoreWithFeedback

__all__ = ["ScoreWithFeedback"]
