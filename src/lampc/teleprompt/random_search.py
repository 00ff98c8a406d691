"""`lampc.teleprompt.random_search`: the path that `dspy.teleprompt.random_search` has."""

from lampc.runtime.optimizers.random_search import BootstrapFewShotWithRandomSearch

__all__ = ["BootstrapFewShotWithRandomSearch"]
