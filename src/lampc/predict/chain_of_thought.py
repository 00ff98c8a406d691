"""`lampc.predict.chain_of_thought`: the path that `dspy.predict.chain_of_thought` has."""

from lampc.frontend.python.predict import ChainOfThought

__all__ = ["ChainOfThought"]
