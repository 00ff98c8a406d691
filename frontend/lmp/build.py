"""From Lark's trees to the syntax tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.literals import quoted
from lampc.ir import Span


class Build:
    """Builds nodes of one item that begins at `line`, `column` of its file."""

    def __init__(self, path: str, line: int, column: int) -> None:
        self.path, self.line, self.column = path, line, column

    def span(self, node: Any) -> Span:
        m: Any = node if isinstance(node, Token) else node.meta
        if getattr(m, "line", None) is None:
            return Span(self.path, self.line, self.column, self.line, self.column)
        start = m.column + (self.column - 1 if m.line == 1 else 0)
        end = m.end_column + (self.column - 1 if m.end_line == 1 else 0)
        return Span(self.path, m.line + self.line - 1, start, m.end_line + self.line - 1, end)

    def __call__(self, node: Any) -> Any:
        return BUILDERS[node.data](self, node, node.children) if isinstance(node, Tree) else self.ident(node)

    def ident(self, token: Any) -> ast.Ident:
        return ast.Ident(self.span(token), str(token))

    def some(self, nodes: list[Any]) -> list[Any]:
        return [self(n) for n in nodes if n is not None]

    def maybe(self, node: Any) -> Any:
        return None if node is None else self(node)

    def string(self, token: Token) -> ast.Literal:
        return ast.Literal(self.span(token), "text" if token.type == "TEXT" else "string", str(token))


Builder = Callable[[Build, Any, list[Any]], Any]
BUILDERS: dict[str, Builder] = {}


def on(*names: str) -> Callable[[Builder], Builder]:
    """Register a builder for the trees of these rules."""

    def register(function: Builder) -> Builder:
        for name in names:
            BUILDERS[name] = function
        return function

    return register


def split(nodes: list[Any], *kinds: str) -> tuple[list[Any], list[Any]]:
    """Trees of these kinds, and the rest (placeholders dropped)."""
    inside: list[Any] = []
    rest: list[Any] = []
    for node in nodes:
        if node is not None:
            (inside if isinstance(node, Tree) and node.data in kinds else rest).append(node)
    return inside, rest


# -- small parts ---------------------------------------------------------------------------------------


@on("name")
def _name(b: Build, t: Any, kids: list[Any]) -> ast.Ident:
    return b.ident(kids[0])


@on("path")
def _path(b: Build, t: Any, kids: list[Any]) -> ast.Ident:
    return ast.Ident(b.span(t), ".".join(map(str, kids)))


@on("args", "params")
def _several(b: Build, t: Any, kids: list[Any]) -> list[Any]:
    made = b.some(kids)
    return [k if isinstance(k, ast.Arg | ast.Param) else ast.Arg(k.span, None, k) for k in made]


@on("named")
def _named(b: Build, t: Any, kids: list[Any]) -> ast.Arg:
    key = kids[0]
    name = ast.Ident(b.span(key), quoted(str(key))) if key.type == "STRING" else b.ident(key)
    return ast.Arg(b.span(t), name, b(kids[1]))


@on("attr")
def _attr(b: Build, t: Any, kids: list[Any]) -> ast.Attribute:
    return ast.Attribute(b.span(t), str(kids[0]), b.maybe(kids[1]))


@on("param")
def _param(b: Build, t: Any, kids: list[Any]) -> ast.Param:
    return ast.Param(b.span(t), b(kids[0]), b(kids[1]), b.some(kids[2:]))


@on("maker")
def _maker(b: Build, t: Any, kids: list[Any]) -> ast.Maker:
    return ast.Maker(b.span(t), b.ident(kids[0]), b(kids[1]), [])


# -- types ---------------------------------------------------------------------------------------------


@on("union")
def _union(b: Build, t: Any, kids: list[Any]) -> ast.TypeUnion:
    return ast.TypeUnion(b.span(t), b.some(kids))


@on("maybe")
def _maybe(b: Build, t: Any, kids: list[Any]) -> ast.TypeMaybe:
    return ast.TypeMaybe(b.span(t), b(kids[0]))


@on("type_name")
def _type_name(b: Build, t: Any, kids: list[Any]) -> ast.TypeName:
    return ast.TypeName(b.span(t), b(kids[0]).name)


@on("type_of")
def _type_of(b: Build, t: Any, kids: list[Any]) -> ast.TypeOf:
    return ast.TypeOf(b.span(t), str(kids[0]), b(kids[1]))


@on("type_literal")
def _type_literal(b: Build, t: Any, kids: list[Any]) -> ast.TypeLiteral:
    return ast.TypeLiteral(b.span(t), str(kids[0]))


@on("type_record")
def _type_record(b: Build, t: Any, kids: list[Any]) -> ast.TypeRecord:
    return ast.TypeRecord(b.span(t), b.some(kids))


@on("type_field")
def _type_field(b: Build, t: Any, kids: list[Any]) -> ast.TypeField:
    return ast.TypeField(b.span(t), b(kids[0]), b(kids[1]))


# -- expressions ---------------------------------------------------------------------------------------


@on("string", "text", "number", "true", "false", "null", "minus")
def _literal(b: Build, t: Any, kids: list[Any]) -> ast.Literal:
    kind = str(t.data)
    raw = str(kids[0]) if kids else kind
    return ast.Literal(b.span(t), "number", "-" + raw) if kind == "minus" else ast.Literal(b.span(t), kind, raw)


@on("var")
def _var(b: Build, t: Any, kids: list[Any]) -> ast.Var:
    return ast.Var(b.span(t), str(kids[0]))


@on("list")
def _list(b: Build, t: Any, kids: list[Any]) -> ast.ListOfExprs:
    return ast.ListOfExprs(b.span(t), b.some(kids))


@on("record")
def _record(b: Build, t: Any, kids: list[Any]) -> ast.RecordOfExprs:
    return ast.RecordOfExprs(b.span(t), b.some(kids))


@on("parens")
def _parens(b: Build, t: Any, kids: list[Any]) -> Any:
    return b(kids[0])


@on("get")
def _get(b: Build, t: Any, kids: list[Any]) -> ast.Get:
    return ast.Get(b.span(t), b(kids[0]), b.ident(kids[1]))


@on("index")
def _index(b: Build, t: Any, kids: list[Any]) -> ast.Index:
    return ast.Index(b.span(t), b(kids[0]), b(kids[1]))


@on("slice")
def _slice(b: Build, t: Any, kids: list[Any]) -> ast.Slice:
    return ast.Slice(b.span(t), b(kids[0]), b.maybe(kids[1]), b.maybe(kids[2]))


@on("call")
def _call(b: Build, t: Any, kids: list[Any]) -> ast.Call:
    return ast.Call(b.span(t), b(kids[0]), b(kids[1]), [])


@on("with_attrs")
def _with_attrs(b: Build, t: Any, kids: list[Any]) -> Any:
    made, attrs = b(kids[0]), b.some(kids[1:])
    if isinstance(made, ast.Call):
        return ast.Call(b.span(t), made.callee, made.args, made.attrs + attrs)
    return ast.Call(b.span(t), made, [], attrs)  # the checker says that only calls take attributes


@on("not_")
def _not(b: Build, t: Any, kids: list[Any]) -> ast.Unary:
    return ast.Unary(b.span(t), "not", b(kids[0]))


@on("negative")
def _negative(b: Build, t: Any, kids: list[Any]) -> ast.Unary:
    return ast.Unary(b.span(t), "-", b(kids[0]))


@on("or_", "and_", "power_")
def _fixed(b: Build, t: Any, kids: list[Any]) -> ast.Binary:
    op = {"or_": "or", "and_": "and", "power_": "**"}[t.data]
    return ast.Binary(b.span(t), op, b(kids[0]), b(kids[1]))


@on("compare", "binary")
def _binary(b: Build, t: Any, kids: list[Any]) -> ast.Binary:
    return ast.Binary(b.span(t), str(kids[1].children[0]), b(kids[0]), b(kids[2]))


@on("cond")
def _cond(b: Build, t: Any, kids: list[Any]) -> ast.Cond:
    return ast.Cond(b.span(t), *b.some(kids))


@on("if_", "if_stmt")
def _if(b: Build, t: Any, kids: list[Any]) -> ast.If:
    return ast.If(b.span(t), b(kids[0]), b(kids[1]), b.maybe(kids[2]))


@on("match_")
def _match(b: Build, t: Any, kids: list[Any]) -> ast.Match:
    return ast.Match(b.span(t), b(kids[0]), b.some(kids[1:]))


@on("arm")
def _arm(b: Build, t: Any, kids: list[Any]) -> ast.Arm:
    pattern = None if kids[0].data == "default" else b(kids[0])
    return ast.Arm(b.span(t), pattern, b(kids[1]))


@on("map")
def _map(b: Build, t: Any, kids: list[Any]) -> ast.Map:
    return ast.Map(b.span(t), b(kids[0]), b.maybe(kids[1]), b(kids[2]), b(kids[3]))


# -- statements ----------------------------------------------------------------------------------------


@on("block")
def _block(b: Build, t: Any, kids: list[Any]) -> ast.Block:
    return ast.Block(b.span(t), b.some(kids))


@on("use")
def _use(b: Build, t: Any, kids: list[Any]) -> ast.Use:
    return ast.Use(b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(kids[3:]))


@on("tune")
def _tune(b: Build, t: Any, kids: list[Any]) -> ast.Tune:
    return ast.Tune(b.span(t), *b.some(kids))


@on("let")
def _let(b: Build, t: Any, kids: list[Any]) -> ast.Let:
    names = [b(k) for k in kids[:-2] if k is not None]
    return ast.Let(b.span(t), names, b.maybe(kids[-2]), b(kids[-1]))


@on("return_")
def _return(b: Build, t: Any, kids: list[Any]) -> ast.Return:
    return ast.Return(b.span(t), b(kids[0]))


@on("yield_")
def _yield(b: Build, t: Any, kids: list[Any]) -> ast.Yield:
    return ast.Yield(b.span(t), b.some(kids))


@on("carried")
def _carried(b: Build, t: Any, kids: list[Any]) -> ast.Carried:
    return ast.Carried(b.span(t), b(kids[0]), b.maybe(kids[1]), b(kids[2]))


@on("loop")
def _loop(b: Build, t: Any, kids: list[Any]) -> ast.Loop:
    *carried, most, index, body = kids
    limit = ast.Literal(b.span(most), "number", str(most))
    return ast.Loop(b.span(t), b.some(carried), limit, b.maybe(index), b(body))


@on("next_")
def _next(b: Build, t: Any, kids: list[Any]) -> ast.Next:
    return ast.Next(b.span(t), b(kids[0]), b(kids[1]))


@on("assert_")
def _assert(b: Build, t: Any, kids: list[Any]) -> ast.Assert:
    return ast.Assert(b.span(t), b(kids[0]), None if kids[1] is None else b.string(kids[1]))


@on("do")
def _do(b: Build, t: Any, kids: list[Any]) -> ast.Do:
    return ast.Do(b.span(t), b(kids[0]))
