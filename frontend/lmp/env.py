"""What a file declares: one namespace per file, imports as names with a dot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lampc.frontend.lmp import ast, literals
from lampc.frontend.lmp.report import Reporter, suggest
from lampc.ir import Signature, Span, Type
from lampc.ir.builtins import BUILTINS
from lampc.ir.content import Demo

SCALARS = ("str", "int", "float", "bool", "any", "none")
MAKERS = ("Predict", "ChainOfThought")
FUNCTIONS = frozenset(BUILTINS) | {"vote", "argmax"}
"""Names that can be called everywhere."""

_KINDS: dict[type, str] = {
    ast.TypeDecl: "a type",
    ast.ModelDecl: "a model",
    ast.RetrieverDecl: "a retriever",
    ast.SignatureDecl: "a signature",
    ast.ModuleDecl: "a module",
    ast.DatasetDecl: "a dataset",
    ast.MetricDecl: "a metric",
}

Decl = (
    ast.TypeDecl | ast.ModelDecl | ast.ToolDecl | ast.RetrieverDecl | ast.SignatureDecl | ast.ModuleDecl
    | ast.DatasetDecl | ast.MetricDecl
)  # fmt: skip


def kind_of(decl: object) -> str:
    """What a declaration is, with its article."""
    if isinstance(decl, ast.ToolDecl):
        return "a function" if decl.host else "a tool"
    return _KINDS.get(type(decl), "a value")


@dataclass(slots=True)
class SignatureInfo:
    """A resolved signature with its demos, and those that no optimizer takes away.

    `order` is that of a prompt's blocks, () for the layout's own; `held` says that it stays.
    """

    signature: Signature
    demos: tuple[Demo, ...]
    kept: tuple[Demo, ...] = ()
    order: tuple[str, ...] = ()
    held: bool = False


@dataclass(slots=True)
class Env:
    """The names of one file, its imports, and what has been resolved of them so far."""

    file: ast.File
    base: Path
    report: Reporter
    main: bool
    decls: dict[str, Decl] = field(default_factory=dict)
    imports: dict[str, Env | None] = field(default_factory=dict)
    places: dict[str, Span] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    types: dict[str, Type | None] = field(default_factory=dict)
    signatures: dict[str, SignatureInfo | None] = field(default_factory=dict)

    def declare(self) -> None:
        """Enter all declarations, reporting names that are taken."""
        for item in self.file.items:
            if isinstance(item, ast.OptimizeDecl | ast.TestDecl | ast.Import):
                continue
            if self.enter(item.name.name, item.name.span):
                self.decls[item.name.name] = item

    def enter(self, name: str, span: Span) -> bool:
        if name in SCALARS or name in MAKERS or name == "list" or name in FUNCTIONS:
            self.report.error("L0203", f"`{name}` is a word of the language", span, help="choose another name")
            return False
        if name in self.places:
            first = self.places[name]
            self.report.error("L0203", f"`{name}` is defined twice", span, also=[(first, "first defined here")])
            return False
        self.places[name] = span
        return True

    def lookup(self, path: str, span: Span, wanted: str) -> tuple[Env, str, Decl] | None:
        """The declaration that `path` names. Reports L0201 (unknown) or L0208 (unknown in an import).

        None also stands for what an error before this one makes unknowable: nothing is reported then.
        """
        head, _, rest = path.partition(".")
        if rest and head in self.imports:
            self.used.add(head)
            other = self.imports[head]
            if other is None:
                return None
            if rest in other.decls:
                other.used.add(rest)
                return other, rest, other.decls[rest]
            if rest not in other.file.lost:
                help = suggest(rest, other.decls)
                self.report.error("L0208", f"`{other.file.path}` declares no `{rest}`", span, help=help)
            return None
        if path in self.decls:
            self.used.add(path)
            return self, path, self.decls[path]
        if head not in self.file.lost and path not in self.file.lost:
            help = suggest(path, [*self.decls, *(f"{a}.{n}" for a, e in self.imports.items() if e for n in e.decls)])
            self.report.error("L0201", f"there is no {wanted} `{path}`", span, help=help)
        return None


def text_of(literal: ast.Literal, report: Reporter) -> str:
    """Text of a literal, "" after reporting L0104 if it is none."""
    try:
        made = literals.value(literal)
    except literals.BadLiteral as e:
        report.error("L0104", str(e), literal.span)
        return ""
    return made if isinstance(made, str) else ""
