"""The syntax tree of `.lmp`: plain dataclasses, each with the span it was read from.

Here are files and items; `ast_code.py` has what stands inside: types, expressions, statements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lampc.frontend.lmp.ast_code import *  # noqa: F403
from lampc.frontend.lmp.ast_code import (
    Arg,
    Attribute,
    Expr,
    Ident,
    Let,
    Literal,
    Node,
    RecordOfExprs,
    Stmt,
    TypeExpr,
)


@dataclass(slots=True)
class Import(Node):
    path: Literal
    alias: Ident | None


@dataclass(slots=True)
class TypeDecl(Node):
    """`type T = ...;`, or with `braces`, `type T { a: T; }`."""

    name: Ident
    type: TypeExpr
    braces: bool


@dataclass(slots=True)
class Param(Node):
    name: Ident
    type: TypeExpr
    attrs: list[Attribute]


@dataclass(slots=True)
class Maker(Node):
    """What makes a definition: `csv("path", split: "split")`."""

    name: Ident
    args: list[Arg]
    attrs: list[Attribute]


@dataclass(slots=True)
class ModelDecl(Node):
    name: Ident
    maker: Maker


@dataclass(slots=True)
class ToolDecl(Node):
    """`tool` (a definition of the IR) or, with `host`, `function` (plain Python). `params` None: any."""

    name: Ident
    params: list[Param] | None
    returns: TypeExpr
    attrs: list[Attribute]
    maker: Maker
    host: bool


@dataclass(slots=True)
class RetrieverDecl(Node):
    name: Ident
    maker: Maker


@dataclass(slots=True)
class Doc(Node):
    text: Literal


@dataclass(slots=True)
class FieldDoc(Node):
    name: Ident
    desc: Literal
    attrs: list[Attribute]


@dataclass(slots=True)
class DemoDecl(Node):
    values: RecordOfExprs
    attrs: list[Attribute]


@dataclass(slots=True)
class OrderDecl(Node):
    """`layout context, instruction, question;`: the order in which the blocks of a prompt stand."""

    names: list[Ident]
    attrs: list[Attribute]


@dataclass(slots=True)
class SignatureDecl(Node):
    name: Ident
    inputs: list[Param]
    outputs: list[Param]
    attrs: list[Attribute]
    body: list[Doc | FieldDoc | DemoDecl | OrderDecl]


@dataclass(slots=True)
class ModuleDecl(Node):
    name: Ident
    params: list[Param]
    outputs: list[Param]
    attrs: list[Attribute]
    doc: Doc | None
    body: list[Stmt]


@dataclass(slots=True)
class DatasetDecl(Node):
    name: Ident
    columns: list[Param]
    maker: Maker


@dataclass(slots=True)
class MetricDecl(Node):
    """A metric: a maker `python("mod:fn")`, or lets and an expression."""

    name: Ident
    params: list[Param]
    returns: TypeExpr
    attrs: list[Attribute]
    maker: Maker | None
    lets: list[Let]
    value: Expr | None


@dataclass(slots=True)
class OptimizeDecl(Node):
    program: Ident
    steps: list[Maker]
    train: Ident
    select: Ident | None
    metric: Ident
    clauses: list[Clause]


@dataclass(slots=True)
class Clause(Node):
    """`budget (args)`, `save "path"`, `resume "path"`: the kind, and arguments or a text."""

    kind: str
    args: list[Arg]
    text: Literal | None


@dataclass(slots=True)
class Mock(Node):
    target: Ident
    value: Expr


@dataclass(slots=True)
class Run(Node):
    program: Ident
    args: list[Arg]


@dataclass(slots=True)
class Expect(Node):
    value: Expr


@dataclass(slots=True)
class TestDecl(Node):
    title: Literal
    body: list[Mock | Run | Expect]


Item: TypeAlias = (
    Import | TypeDecl | ModelDecl | ToolDecl | RetrieverDecl | SignatureDecl | ModuleDecl | DatasetDecl
    | MetricDecl | OptimizeDecl | TestDecl
)  # fmt: skip


@dataclass(slots=True)
class Comment:
    """A comment with its place; `alone` if nothing stands before it on its line."""

    text: str
    line: int
    column: int
    alone: bool


@dataclass(slots=True)
class File:
    """A parsed file. `lost` holds the names that broken parts mention: nobody complains about those."""

    path: str
    text: str
    items: list[Item]
    comments: list[Comment]
    lost: set[str] = field(default_factory=set)
