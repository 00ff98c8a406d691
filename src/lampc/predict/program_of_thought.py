"""`lampc.predict.program_of_thought`: the path that `dspy.predict.program_of_thought` has."""

from lampc.frontend.python.modules.code_thought import ProgramOfThought

__all__ = ["ProgramOfThought"]
