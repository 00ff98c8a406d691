"""`lampc.teleprompt.gepa`: the path that `dspy.teleprompt.gepa` has."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.optimizers.gepa import GEPA
from lampc.runtime.optimizers.instruction_proposer import InstructionProposer

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = ["GEPA", "InstructionProposer"]
