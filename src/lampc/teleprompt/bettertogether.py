"""`lampc.teleprompt.bettertogether`: the path that `dspy.teleprompt.bettertogether` has."""

from lampc.runtime.optimizers.better_together import BetterTogether

__all__ = ["BetterTogether"]
