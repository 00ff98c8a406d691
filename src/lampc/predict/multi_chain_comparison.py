"""`lampc.predict.multi_chain_comparison`: the path that `dspy.predict.multi_chain_comparison` has."""

from lampc.frontend.python.modules.comparison import MultiChainComparison

__all__ = ["MultiChainComparison"]
