"""`lampc.teleprompt.bootstrap_finetune`: the path that `dspy.teleprompt.bootstrap_finetune` has."""

from lampc.runtime.optimizers.finetune import BootstrapFinetune

__all__ = ["BootstrapFinetune"]
