"""The graph IR: SSA values, mutable ops, single-block regions, frozen content.

Three levels share one text form: `prog.*` (what a program means), `prompt.*` (which text is sent) and
`kv.*` (which context grows out of which). Nothing here knows of torch, files or models.
"""

if __name__ != "lampc.ir":
    raise ImportError("import lampc.ir, not ir: the second import would make a second set of classes")

from lampc.ir.attrs import Obj, Symbol, attribute, digest, freeze, thaw
from lampc.ir.callkey import CallKey, Draw
from lampc.ir.content import (
    Assignment,
    Demo,
    DemoSet,
    Field,
    HostRef,
    Kept,
    Key,
    Sampling,
    Shape,
    Signature,
)
from lampc.ir.core import Builder, Module, Op, Region, Value
from lampc.ir.diag import CODES, CompileError, Diagnostic, Label, Source, explain, render
from lampc.ir.loc import UNKNOWN, Derived, Loc, Span
from lampc.ir.protocols import Glue, ModelInfo, Target, Tokens
from lampc.ir.rewrite import Rewriter, Rule, rewrite, rule
from lampc.ir.text import parse_module, print_module, print_op
from lampc.ir.types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    KV,
    MEDIA,
    NONE,
    STR,
    Choice,
    ListOf,
    MapOf,
    Maybe,
    Record,
    Scalar,
    Type,
)
from lampc.ir.unit import Unit
from lampc.ir.verify import Finding, check, verify

__all__ = [
    "ANY",
    "BOOL",
    "CODES",
    "FLOAT",
    "INT",
    "KV",
    "MEDIA",
    "NONE",
    "STR",
    "UNKNOWN",
    "Assignment",
    "Builder",
    "CallKey",
    "Choice",
    "CompileError",
    "Demo",
    "DemoSet",
    "Derived",
    "Diagnostic",
    "Draw",
    "Field",
    "Finding",
    "Glue",
    "HostRef",
    "Kept",
    "Key",
    "Label",
    "ListOf",
    "Loc",
    "MapOf",
    "Maybe",
    "ModelInfo",
    "Module",
    "Obj",
    "Op",
    "Record",
    "Region",
    "Rewriter",
    "Rule",
    "Sampling",
    "Scalar",
    "Shape",
    "Signature",
    "Source",
    "Span",
    "Symbol",
    "Target",
    "Tokens",
    "Type",
    "Unit",
    "Value",
    "attribute",
    "check",
    "digest",
    "explain",
    "freeze",
    "parse_module",
    "print_module",
    "print_op",
    "render",
    "rewrite",
    "rule",
    "thaw",
    "verify",
]
