"""`lampc.teleprompt.gepa.instruction_proposal`: the path that `dspy.teleprompt.gepa.instruction_proposal` has."""

from lampc.runtime.optimizers.instruction_proposer import InstructionProposer

__all__ = ["InstructionProposer"]
