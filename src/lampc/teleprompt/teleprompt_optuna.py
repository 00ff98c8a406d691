"""`lampc.teleprompt.teleprompt_optuna`: the path that `dspy.teleprompt.teleprompt_optuna` has."""

from lampc.runtime.optimizers.optuna_search import BootstrapFewShotWithOptuna

__all__ = ["BootstrapFewShotWithOptuna"]
