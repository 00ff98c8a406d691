"""`lampc.signatures.signature`: the path that `dspy.signatures.signature` has."""

from lampc.frontend.python.fields import InputField, OutputField, infer_prefix
from lampc.frontend.python.signature import Signature, SignatureMeta, ensure_signature, make_signature

__all__ = [
    "InputField",
    "OutputField",
    "Signature",
    "SignatureMeta",
    "ensure_signature",
    "infer_prefix",
    "make_signature",
]
