"""`lampc.teleprompt.infer_rules`: the path that `dspy.teleprompt.infer_rules` has."""

from lampc.runtime.optimizers.infer_rules import InferRules

__all__ = ["InferRules"]
