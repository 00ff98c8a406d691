"""`lampc.signatures.field`: the path that `dspy.signatures.field` has."""

from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.fields import InputField as OldInputField
from lampc.frontend.python.fields import OutputField as OldOutputField

__all__ = ["InputField", "OldInputField", "OldOutputField", "OutputField"]
