"""From Lark's trees to the syntax tree: items."""

from __future__ import annotations

from typing import Any

from lark import Tree

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.build import Build, on, split


@on("import_")
def _import(b: Build, t: Any, kids: list[Any]) -> ast.Import:
    return ast.Import(b.span(t), b.string(kids[0]), b.maybe(kids[1]))


@on("type_")
def _type(b: Build, t: Any, kids: list[Any]) -> ast.TypeDecl:
    return ast.TypeDecl(b.span(t), b(kids[0]), b(kids[1]), False)


@on("record_")
def _record_type(b: Build, t: Any, kids: list[Any]) -> ast.TypeDecl:
    return ast.TypeDecl(b.span(t), b(kids[0]), ast.TypeRecord(b.span(t), b.some(kids[1:])), True)


def _made(b: Build, node: Any, attrs: list[Any]) -> ast.Maker:
    maker: ast.Maker = b(node)
    maker.attrs = b.some(attrs)
    return maker


@on("model_")
def _model(b: Build, t: Any, kids: list[Any]) -> ast.ModelDecl:
    return ast.ModelDecl(b.span(t), b(kids[0]), _made(b, kids[1], kids[2:]))


@on("retriever_")
def _retriever(b: Build, t: Any, kids: list[Any]) -> ast.RetrieverDecl:
    return ast.RetrieverDecl(b.span(t), b(kids[0]), _made(b, kids[1], kids[2:]))


@on("tool_", "function_")
def _tool(b: Build, t: Any, kids: list[Any]) -> ast.ToolDecl:
    at = next(i for i, k in enumerate(kids) if isinstance(k, Tree) and k.data == "maker")
    params = None if kids[1].data == "any_params" else b(kids[1])
    maker = _made(b, kids[at], kids[at + 1 :])
    host = t.data == "function_"
    return ast.ToolDecl(b.span(t), b(kids[0]), params, b(kids[2]), b.some(kids[3:at]), maker, host)


@on("doc")
def _doc(b: Build, t: Any, kids: list[Any]) -> ast.Doc:
    return ast.Doc(b.span(t), b.string(kids[0]))


@on("field_doc")
def _field_doc(b: Build, t: Any, kids: list[Any]) -> ast.FieldDoc:
    return ast.FieldDoc(b.span(t), b(kids[0]), b.string(kids[1]), b.some(kids[2:]))


@on("demo")
def _demo(b: Build, t: Any, kids: list[Any]) -> ast.DemoDecl:
    return ast.DemoDecl(b.span(t), b(kids[0]), b.some(kids[1:]))


@on("order")
def _order(b: Build, t: Any, kids: list[Any]) -> ast.OrderDecl:
    attrs, names = split(kids, "attr")
    return ast.OrderDecl(b.span(t), b.some(names), b.some(attrs))


@on("signature_")
def _signature(b: Build, t: Any, kids: list[Any]) -> ast.SignatureDecl:
    attrs, rest = split(kids[3:], "attr")
    return ast.SignatureDecl(b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(attrs), b.some(rest))


@on("module_")
def _module(b: Build, t: Any, kids: list[Any]) -> ast.ModuleDecl:
    attrs, rest = split(kids[3:], "attr")
    docs, body = split(rest, "doc")
    doc = b(docs[0]) if docs else None
    return ast.ModuleDecl(b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(attrs), doc, b.some(body))


@on("dataset_")
def _dataset(b: Build, t: Any, kids: list[Any]) -> ast.DatasetDecl:
    return ast.DatasetDecl(b.span(t), b(kids[0]), b(kids[1]), _made(b, kids[2], kids[3:]))


@on("metric_")
def _metric(b: Build, t: Any, kids: list[Any]) -> ast.MetricDecl:
    attrs, rest = split(kids[3:], "attr")
    (source,) = rest
    head = (b.span(t), b(kids[0]), b(kids[1]), b(kids[2]), b.some(attrs))
    if source.data == "maker":
        return ast.MetricDecl(*head, b(source), [], None)
    *lets, value = source.children
    return ast.MetricDecl(*head, None, b.some(lets), b(value))


@on("optimize_")
def _optimize(b: Build, t: Any, kids: list[Any]) -> ast.OptimizeDecl:
    steps, rest = split(kids[1:], "maker")
    clauses, _ = split(rest, "budget", "save", "resume")
    train, select, metric = [k for k in kids[1:] if k is None or (isinstance(k, Tree) and k.data == "path")]
    return ast.OptimizeDecl(b.span(t), b(kids[0]), b.some(steps), b(train), b.maybe(select), b(metric), b.some(clauses))


@on("budget")
def _budget(b: Build, t: Any, kids: list[Any]) -> ast.Clause:
    return ast.Clause(b.span(t), "budget", b(kids[0]), None)


@on("save", "resume")
def _file(b: Build, t: Any, kids: list[Any]) -> ast.Clause:
    return ast.Clause(b.span(t), str(t.data), [], b.string(kids[0]))


@on("test_")
def _test(b: Build, t: Any, kids: list[Any]) -> ast.TestDecl:
    return ast.TestDecl(b.span(t), b.string(kids[0]), b.some(kids[1:]))


@on("mock")
def _mock(b: Build, t: Any, kids: list[Any]) -> ast.Mock:
    return ast.Mock(b.span(t), b(kids[0]), b(kids[1]))


@on("run")
def _run(b: Build, t: Any, kids: list[Any]) -> ast.Run:
    return ast.Run(b.span(t), b(kids[0]), b(kids[1]))


@on("expect")
def _expect(b: Build, t: Any, kids: list[Any]) -> ast.Expect:
    return ast.Expect(b.span(t), b(kids[0]))


__all__ = ["Build"]
