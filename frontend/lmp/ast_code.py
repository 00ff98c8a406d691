"""The syntax tree inside of modules: types, expressions, statements. See `ast.py`.

Texts of numbers and strings are kept as written, so that the formatter changes layout only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from lampc.ir import Span


@dataclass(slots=True)
class Node:
    """Base of all nodes. Two nodes are equal if what they say is: spans do not count."""

    span: Span = field(compare=False, repr=False)


@dataclass(slots=True)
class Ident(Node):
    """A name where it is defined or referred to; dotted for a path."""

    name: str


@dataclass(slots=True)
class Arg(Node):
    """An argument; `name` is None for a positional one."""

    name: Ident | None
    value: Expr


@dataclass(slots=True)
class Attribute(Node):
    """`@name(args)`; `args` is None without parentheses."""

    name: str
    args: list[Arg] | None


# -- types --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TypeName(Node):
    """A scalar or a declared type."""

    name: str


@dataclass(slots=True)
class TypeOf(Node):
    """`list[T]`; `name` is what stands before the bracket."""

    name: str
    item: TypeExpr


@dataclass(slots=True)
class TypeLiteral(Node):
    """A text that is a type by itself: one option of a choice."""

    raw: str


@dataclass(slots=True)
class TypeField(Node):
    name: Ident
    type: TypeExpr


@dataclass(slots=True)
class TypeRecord(Node):
    """`{a: T, b: T}`."""

    fields: list[TypeField]


@dataclass(slots=True)
class TypeMaybe(Node):
    """`T?`."""

    item: TypeExpr


@dataclass(slots=True)
class TypeUnion(Node):
    """`"a" | "b"`."""

    options: list[TypeExpr]


TypeExpr: TypeAlias = TypeName | TypeOf | TypeLiteral | TypeRecord | TypeMaybe | TypeUnion


# -- expressions --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Literal(Node):
    """A literal as written: `kind` is string, text, number, true, false or null."""

    kind: str
    raw: str


@dataclass(slots=True)
class Var(Node):
    name: str


@dataclass(slots=True)
class ListOfExprs(Node):
    """`[a, b]`."""

    items: list[Expr]


@dataclass(slots=True)
class RecordOfExprs(Node):
    """`(a: x, b: y)`."""

    args: list[Arg]


@dataclass(slots=True)
class Get(Node):
    """`value.name`."""

    value: Expr
    name: Ident


@dataclass(slots=True)
class Index(Node):
    """`value[index]`."""

    value: Expr
    index: Expr


@dataclass(slots=True)
class Slice(Node):
    """`value[start:end]`."""

    value: Expr
    start: Expr | None
    end: Expr | None


@dataclass(slots=True)
class Call(Node):
    """`callee(args) @attrs`."""

    callee: Expr
    args: list[Arg]
    attrs: list[Attribute]


@dataclass(slots=True)
class Unary(Node):
    """`not x`, `-x`."""

    op: str
    value: Expr


@dataclass(slots=True)
class Binary(Node):
    op: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Cond(Node):
    """`if c then a else b`."""

    condition: Expr
    then: Expr
    orelse: Expr


@dataclass(slots=True)
class If(Node):
    """`if c { ... } else { ... }`: an expression whose blocks end in `yield`, or a statement."""

    condition: Expr
    then: Block
    orelse: Block | If | None


@dataclass(slots=True)
class Arm(Node):
    """One case of a match; `pattern` is None for `_`."""

    pattern: Literal | None
    body: Expr | Block


@dataclass(slots=True)
class Match(Node):
    value: Expr
    arms: list[Arm]


@dataclass(slots=True)
class Map(Node):
    """`map item, index in items { ... yield x; }`."""

    item: Ident
    index: Ident | None
    items: Expr
    body: Block


Expr: TypeAlias = (
    Literal | Var | ListOfExprs | RecordOfExprs | Get | Index | Slice | Call | Unary | Binary | Cond | If | Match | Map
)


# -- statements ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Block(Node):
    body: list[Stmt]


@dataclass(slots=True)
class Use(Node):
    """`use name = Maker(args) @attrs;`."""

    name: Ident
    maker: Ident
    args: list[Arg]
    attrs: list[Attribute]


@dataclass(slots=True)
class Tune(Node):
    name: Ident
    type: TypeExpr
    default: Expr
    choices: ListOfExprs


@dataclass(slots=True)
class Let(Node):
    names: list[Ident]
    type: TypeExpr | None
    value: Expr


@dataclass(slots=True)
class Return(Node):
    value: Expr


@dataclass(slots=True)
class Yield(Node):
    values: list[Expr]


@dataclass(slots=True)
class Carried(Node):
    """A carried value of a loop: its name inside, its name after (if another), its first value."""

    name: Ident
    after: Ident | None
    value: Expr


@dataclass(slots=True)
class Loop(Node):
    carried: list[Carried]
    max: Literal
    index: Ident | None
    body: Block


@dataclass(slots=True)
class Next(Node):
    args: list[Arg]
    until: Expr


@dataclass(slots=True)
class Assert(Node):
    condition: Expr
    message: Literal | None


@dataclass(slots=True)
class Do(Node):
    """A call whose value is not wanted."""

    value: Expr


Stmt: TypeAlias = Use | Tune | Let | Return | Yield | If | Match | Loop | Next | Assert | Do


def children(node: Any) -> Iterator[Node]:
    """Nodes directly below `node`, in order."""
    for f in fields(node):
        value = getattr(node, f.name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, list):
            yield from (v for v in value if isinstance(v, Node))


def mentioned(nodes: list[Any]) -> set[str]:
    """Every variable name that occurs in `nodes`."""
    found: set[str] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, Var):
            found.add(node.name)
        stack += children(node)
    return found


__all__ = [
    "Arg",
    "Arm",
    "Assert",
    "Attribute",
    "Binary",
    "Block",
    "Call",
    "Carried",
    "Cond",
    "Do",
    "Expr",
    "Get",
    "Ident",
    "If",
    "Index",
    "Let",
    "ListOfExprs",
    "Literal",
    "Loop",
    "Map",
    "Match",
    "Next",
    "Node",
    "RecordOfExprs",
    "Return",
    "Slice",
    "Stmt",
    "Tune",
    "TypeExpr",
    "TypeField",
    "TypeLiteral",
    "TypeMaybe",
    "TypeName",
    "TypeOf",
    "TypeRecord",
    "TypeUnion",
    "Unary",
    "Use",
    "Var",
    "Yield",
    "children",
    "mentioned",
]
