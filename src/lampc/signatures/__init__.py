"""`lampc.signatures`: under the names of `dspy.signatures`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.fields import InputField, OutputField, infer_prefix
from lampc.frontend.python.fields import InputField as OldInputField
from lampc.frontend.python.fields import OutputField as OldOutputField
from lampc.frontend.python.signature import Signature, SignatureMeta, ensure_signature, make_signature

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "InputField",
    "OldInputField",
    "OldOutputField",
    "OutputField",
    "Signature",
    "SignatureMeta",
    "ensure_signature",
    "infer_prefix",
    "make_signature",
]
