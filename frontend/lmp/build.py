"""From Lark's trees to the syntax tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lark import Token, Tree

from lampc.frontend.lmp import ast
from lampc.ir import Span


class Build:
    """Builds nodes of one item that begins at `line`, `column` of its file."""

    def __init__(self, path: str, line: int, column: int) -> None:
        self.path, self.line, self.column = path, line, column

    def span(self, node: Any) -> Span:
        m = node if isinstance(node, Token) else node.meta
        if getattr(m, "line", None) is None:
            return Span(self.path, self.line, self.column, self.line, self.column)
        start = m.column + (self.column - 1 if m.line == 1 else 0)
        end = m.end_column + (self.column - 1 if m.end_line == 1 else 0)
        return Span(self.path, m.line + self.line - 1, start, m.end_line + self.line - 1, end)

    def __call__(self, node: Any) -> Any:
        return _BUILDERS[node.data](self, node, node.children) if isinstance(node, Tree) else self.ident(node)

    def ident(self, token: Any) -> ast.Ident:
        return ast.Ident(self.span(token), str(token))

    def some(self, nodes: list[Any]) -> list[Any]:
        return [self(n) for n in nodes if n is not None]

    def maybe(self, node: Any) -> Any:
        return None if node is None else self(node)

    def string(self, token: Token) -> ast.Literal:
        return ast.Literal(self.span(token), "text" if token.type == "TEXT" else "string", str(token))


_Builder = Callable[[Build, Any, list[Any]], Any]
_BUILDERS: dict[str, _Builder] = {}


def _on(*names: str) -> Callable[[_Builder], _Builder]:
    def register(function: _Builder) -> _Builder:
        for name in names:
            _BUILDERS[name] = function
        return function

    return register


def _split(nodes: list[Any], *kinds: str) -> tuple[list[Any], list[Any]]:
    """Trees of these kinds, and the rest (placeholders dropped)."""
    inside, rest = [], []
    for node in nodes:
        if node is not None:
            (inside if isinstance(node, Tree) and node.data in kinds else rest).append(node)
    return inside, rest


# -- small parts ---------------------------------------------------------------------------------------


@_on("name")
def _name(b: Build, t: Any, kids: list[Any]) -> ast.Ident:
    return b.ident(kids[0])


@_on("path")
def _path(b: Build, t: Any, kids: list[Any]) -> ast.Ident:
    return ast.Ident(b.span(t), ".".join(map(str, kids)))


@_on("args", "params")
def _several(b: Build, t: Any, kids: list[Any]) -> list[Any]:
    made = []
    for k in b.some(kids):
        made.append(k if isinstance(k, ast.Arg | ast.Param) else ast.Arg(k.span, None, k))
    return made


@_on("named")
def _named(b: Build, t: Any, kids: list[Any]) -> ast.Arg:
    return ast.Arg(b.span(t), b.ident(kids[0]), b(kids[1]))


@_on("attr")
def _attr(b: Build, t: Any, kids: list[Any]) -> ast.Attribute:
    return ast.Attribute(b.span(t), str(kids[0]), b.maybe(kids[1]))


@_on("param")
def _param(b: Build, t: Any, kids: list[Any]) -> ast.Param:
    return ast.Param(b.span(t), b(kids[0]), b(kids[1]), b.some(kids[2:]))


@_on("maker")
def _maker(b: Build, t: Any, kids: list[Any]) -> ast.Maker:
    return ast.Maker(b.span(t), b.ident(kids[0]), b(kids[1]), [])


# -- types ---------------------------------------------------------------------------------------------


@_on("union")
def _union(b: Build, t: Any, kids: list[Any]) -> ast.TypeUnion:
    return ast.TypeUnion(b.span(t), b.some(kids))


@_on("maybe")
def _maybe(b: Build, t: Any, kids: list[Any]) -> ast.TypeMaybe:
    return ast.TypeMaybe(b.span(t), b(kids[0]))


@_on("type_name")
def _type_name(b: Build, t: Any, kids: list[Any]) -> ast.TypeName:
    return ast.TypeName(b.span(t), b(kids[0]).name)


@_on("type_of")
def _type_of(b: Build, t: Any, kids: list[Any]) -> ast.TypeOf:
    return ast.TypeOf(b.span(t), str(kids[0]), b(kids[1]))


@_on("type_literal")
def _type_literal(b: Build, t: Any, kids: list[Any]) -> ast.TypeLiteral:
    return ast.TypeLiteral(b.span(t), str(kids[0]))


@_on("type_record")
def _type_record(b: Build, t: Any, kids: list[Any]) -> ast.TypeRecord:
    return ast.TypeRecord(b.span(t), b.some(kids))


@_on("type_field")
def _type_field(b: Build, t: Any, kids: list[Any]) -> ast.TypeField:
    return ast.TypeField(b.span(t), b(kids[0]), b(kids[1]))


# -- expressions ---------------------------------------------------------------------------------------


@_on("string", "text", "number", "true", "false", "null", "minus")
def _literal(b: Build, t: Any, kids: list[Any]) -> ast.Literal:
    kind = str(t.data)
    raw = str(kids[0]) if kids else kind
    return ast.Literal(b.span(t), "number", "-" + raw) if kind == "minus" else ast.Literal(b.span(t), kind, raw)


@_on("var")
def _var(b: Build, t: Any, kids: list[Any]) -> ast.Var:
    return ast.Var(b.span(t), str(kids[0]))


@_on("list")
def _list(b: Build, t: Any, kids: list[Any]) -> ast.ListOfExprs:
    return ast.ListOfExprs(b.span(t), b.some(kids))


@_on("record")
def _record(b: Build, t: Any, kids: list[Any]) -> ast.RecordOfExprs:
    return ast.RecordOfExprs(b.span(t), b.some(kids))


@_on("parens")
def _parens(b: Build, t: Any, kids: list[Any]) -> Any:
    return b(kids[0])


@_on("get")
def _get(b: Build, t: Any, kids: list[Any]) -> ast.Get:
    return ast.Get(b.span(t), b(kids[0]), b.ident(kids[1]))


@_on("index")
def _index(b: Build, t: Any, kids: list[Any]) -> ast.Index:
    return ast.Index(b.span(t), b(kids[0]), b(kids[1]))


@_on("slice")
def _slice(b: Build, t: Any, kids: list[Any]) -> ast.Slice:
    return ast.Slice(b.span(t), b(kids[0]), b.maybe(kids[1]), b.maybe(kids[2]))


@_on("call")
def _call(b: Build, t: Any, kids: list[Any]) -> ast.Call:
    return ast.Call(b.span(t), b(kids[0]), b(kids[1]), [])


@_on("with_attrs")
def _with_attrs(b: Build, t: Any, kids: list[Any]) -> Any:
    made, attrs = b(kids[0]), b.some(kids[1:])
    if isinstance(made, ast.Call):
        return ast.Call(b.span(t), made.callee, made.args, made.attrs + attrs)
    return ast.Call(b.span(t), made, [], attrs)  # the checker says that only calls take attributes


@_on("not_")
def _not(b: Build, t: Any, kids: list[Any]) -> ast.Unary:
    return ast.Unary(b.span(t), "not", b(kids[0]))


@_on("negative")
def _negative(b: Build, t: Any, kids: list[Any]) -> ast.Unary:
    return ast.Unary(b.span(t), "-", b(kids[0]))


@_on("or_", "and_", "power_")
def _fixed(b: Build, t: Any, kids: list[Any]) -> ast.Binary:
    op = {"or_": "or", "and_": "and", "power_": "**"}[t.data]
    return ast.Binary(b.span(t), op, b(kids[0]), b(kids[1]))


@_on("compare", "binary")
def _binary(b: Build, t: Any, kids: list[Any]) -> ast.Binary:
    return ast.Binary(b.span(t), str(kids[1].children[0]), b(kids[0]), b(kids[2]))


@_on("cond")
def _cond(b: Build, t: Any, kids: list[Any]) -> ast.Cond:
    return ast.Cond(b.span(t), *b.some(kids))


@_on("if_", "if_stmt")
def _if(b: Build, t: Any, kids: list[Any]) -> ast.If:
    return ast.If(b.span(t), b(kids[0]), b(kids[1]), b.maybe(kids[2]))


@_on("match_")
def _match(b: Build, t: Any, kids: list[Any]) -> ast.Match:
    return ast.Match(b.span(t), b(kids[0]), b.some(kids[1:]))


@_on("arm")
def _arm(b: Build, t: Any, kids: list[Any]) -> ast.Arm:
    pattern = None if kids[0].data == "default" else b(kids[0])
    return ast.Arm(b.span(t), pattern, b(kids[1]))


@_on("map")
def _map(b: Build, t: Any, kids: list[Any]) -> ast.Map:
    return ast.Map(b.span(t), b(kids[0]), b.maybe(kids[1]), b(kids[2]), b(kids[3]))


# -- statements ----------------------------------------------------------------------------------------


@_on("block")
def _block(b: Build, t: Any, kids: list[Any]) -> ast.Block:
    return ast.Block(b.span(t), b.some(kids))


@_on("use")
def _use(b: Build, t: Any, kids: list[Any]) -> ast.Use:
    return ast.Use(b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(kids[3:]))


@_on("tune")
def _tune(b: Build, t: Any, kids: list[Any]) -> ast.Tune:
    return ast.Tune(b.span(t), *b.some(kids))


@_on("let")
def _let(b: Build, t: Any, kids: list[Any]) -> ast.Let:
    names = [b(k) for k in kids[:-2] if k is not None]
    return ast.Let(b.span(t), names, b.maybe(kids[-2]), b(kids[-1]))


@_on("return_")
def _return(b: Build, t: Any, kids: list[Any]) -> ast.Return:
    return ast.Return(b.span(t), b(kids[0]))


@_on("yield_")
def _yield(b: Build, t: Any, kids: list[Any]) -> ast.Yield:
    return ast.Yield(b.span(t), b.some(kids))


@_on("carried")
def _carried(b: Build, t: Any, kids: list[Any]) -> ast.Carried:
    return ast.Carried(b.span(t), b(kids[0]), b.maybe(kids[1]), b(kids[2]))


@_on("loop")
def _loop(b: Build, t: Any, kids: list[Any]) -> ast.Loop:
    *carried, most, index, body = kids
    limit = ast.Literal(b.span(most), "number", str(most))
    return ast.Loop(b.span(t), b.some(carried), limit, b.maybe(index), b(body))


@_on("next_")
def _next(b: Build, t: Any, kids: list[Any]) -> ast.Next:
    return ast.Next(b.span(t), b(kids[0]), b(kids[1]))


@_on("assert_")
def _assert(b: Build, t: Any, kids: list[Any]) -> ast.Assert:
    return ast.Assert(b.span(t), b(kids[0]), None if kids[1] is None else b.string(kids[1]))


@_on("do")
def _do(b: Build, t: Any, kids: list[Any]) -> ast.Do:
    return ast.Do(b.span(t), b(kids[0]))


# -- items ---------------------------------------------------------------------------------------------


@_on("import_")
def _import(b: Build, t: Any, kids: list[Any]) -> ast.Import:
    return ast.Import(b.span(t), b.string(kids[0]), b.maybe(kids[1]))


@_on("type_")
def _type(b: Build, t: Any, kids: list[Any]) -> ast.TypeDecl:
    return ast.TypeDecl(b.span(t), b(kids[0]), b(kids[1]), False)


@_on("record_")
def _record_type(b: Build, t: Any, kids: list[Any]) -> ast.TypeDecl:
    return ast.TypeDecl(b.span(t), b(kids[0]), ast.TypeRecord(b.span(t), b.some(kids[1:])), True)


def _made(b: Build, node: Any, attrs: list[Any]) -> ast.Maker:
    maker: ast.Maker = b(node)
    maker.attrs = b.some(attrs)
    return maker


@_on("model_")
def _model(b: Build, t: Any, kids: list[Any]) -> ast.ModelDecl:
    return ast.ModelDecl(b.span(t), b(kids[0]), _made(b, kids[1], kids[2:]))


@_on("retriever_")
def _retriever(b: Build, t: Any, kids: list[Any]) -> ast.RetrieverDecl:
    return ast.RetrieverDecl(b.span(t), b(kids[0]), _made(b, kids[1], kids[2:]))


@_on("tool_", "function_")
def _tool(b: Build, t: Any, kids: list[Any]) -> ast.ToolDecl:
    at = next(i for i, k in enumerate(kids) if isinstance(k, Tree) and k.data == "maker")
    params = None if kids[1].data == "any_params" else b(kids[1])
    maker = _made(b, kids[at], kids[at + 1 :])
    host = t.data == "function_"
    return ast.ToolDecl(b.span(t), b(kids[0]), params, b(kids[2]), b.some(kids[3:at]), maker, host)


@_on("doc")
def _doc(b: Build, t: Any, kids: list[Any]) -> ast.Doc:
    return ast.Doc(b.span(t), b.string(kids[0]))


@_on("field_doc")
def _field_doc(b: Build, t: Any, kids: list[Any]) -> ast.FieldDoc:
    return ast.FieldDoc(b.span(t), b(kids[0]), b.string(kids[1]), b.some(kids[2:]))


@_on("demo")
def _demo(b: Build, t: Any, kids: list[Any]) -> ast.DemoDecl:
    return ast.DemoDecl(b.span(t), b(kids[0]), b.some(kids[1:]))


@_on("signature_")
def _signature(b: Build, t: Any, kids: list[Any]) -> ast.SignatureDecl:
    attrs, rest = _split(kids[3:], "attr")
    return ast.SignatureDecl(b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(attrs), b.some(rest))


@_on("module_")
def _module(b: Build, t: Any, kids: list[Any]) -> ast.ModuleDecl:
    attrs, rest = _split(kids[3:], "attr")
    docs, body = _split(rest, "doc")
    doc = b(docs[0]) if docs else None
    return ast.ModuleDecl(b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(attrs), doc, b.some(body))


@_on("dataset_")
def _dataset(b: Build, t: Any, kids: list[Any]) -> ast.DatasetDecl:
    return ast.DatasetDecl(b.span(t), b(kids[0]), b(kids[1]), _made(b, kids[2], kids[3:]))


@_on("metric_")
def _metric(b: Build, t: Any, kids: list[Any]) -> ast.MetricDecl:
    attrs, rest = _split(kids[3:], "attr")
    (source,) = rest
    head = (b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(attrs))
    if source.data == "maker":
        return ast.MetricDecl(*head, b(source), [], None)
    *lets, value = source.children
    return ast.MetricDecl(*head, None, b.some(lets), b(value))


@_on("optimize_")
def _optimize(b: Build, t: Any, kids: list[Any]) -> ast.OptimizeDecl:
    steps, rest = _split(kids[1:], "maker")
    clauses, _ = _split(rest, "budget", "save", "resume")
    train, select, metric = [k for k in kids[1:] if k is None or (isinstance(k, Tree) and k.data == "path")]
    return ast.OptimizeDecl(
        b.span(t), b(kids[0]), b.some(steps), b(train), b.maybe(select), b(metric), b.some(clauses)
    )


@_on("budget")
def _budget(b: Build, t: Any, kids: list[Any]) -> ast.Clause:
    return ast.Clause(b.span(t), "budget", b(kids[0]), None)


@_on("save", "resume")
def _file(b: Build, t: Any, kids: list[Any]) -> ast.Clause:
    return ast.Clause(b.span(t), str(t.data), [], b.string(kids[0]))


@_on("test_")
def _test(b: Build, t: Any, kids: list[Any]) -> ast.TestDecl:
    return ast.TestDecl(b.span(t), b.string(kids[0]), b.some(kids[1:]))


@_on("mock")
def _mock(b: Build, t: Any, kids: list[Any]) -> ast.Mock:
    return ast.Mock(b.span(t), b(kids[0]), b(kids[1]))


@_on("run")
def _run(b: Build, t: Any, kids: list[Any]) -> ast.Run:
    return ast.Run(b.span(t), b(kids[0]), b(kids[1]))


@_on("expect")
def _expect(b: Build, t: Any, kids: list[Any]) -> ast.Expect:
    return ast.Expect(b.span(t), b(kids[0]))
