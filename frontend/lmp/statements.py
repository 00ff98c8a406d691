"""Statements to ops."""

from __future__ import annotations

from collections.abc import Sequence

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.body import Body, mark
from lampc.frontend.lmp.control import branch, misplaced
from lampc.frontend.lmp.env import text_of
from lampc.frontend.lmp.exprs import condition, evaluate
from lampc.frontend.lmp.loops import loop
from lampc.frontend.lmp.typing import resolve
from lampc.frontend.lmp.values import Lit, Val
from lampc.ir.prog import Assert


def statements(b: Body, body: Sequence[ast.Stmt], tail: Sequence[ast.Stmt | None] = ()) -> None:
    """Ops of statements that end nothing; `tail` is what follows them in their block."""
    for i, stmt in enumerate(body):
        match stmt:
            case ast.Let():
                let(b, stmt)
            case ast.If() | ast.Match():
                branch(b, stmt, 0)
            case ast.Loop():
                rest = [s for s in (*body[i + 1 :], *tail) if s is not None]
                loop(b, stmt, ast.mentioned(rest) | b.wanted[-1])
            case ast.Assert(span, cond, message):
                test = b.value(condition(b, cond), cond.span)
                text = text_of(message, b.report) if message else "assertion failed"
                if test is not None:
                    b.emit(Assert.make(test, message=text), span)
            case ast.Do(_, value):
                evaluate(b, value)
            case ast.Use() | ast.Tune():
                help = "it belongs to the module, not to a block"
                word = type(stmt).__name__.lower()
                b.report.error("L0501", f"`{word}` stands at the top of a module", stmt.span, help=help)
            case _:
                misplaced(b, stmt)


def let(b: Body, stmt: ast.Let) -> None:
    """Bind names to the values of an expression."""
    since = mark()
    vals: list[Val]
    if len(stmt.names) == 1 or not isinstance(stmt.value, ast.If | ast.Match):
        vals = [evaluate(b, stmt.value)]
        if len(stmt.names) > 1:
            several = len(stmt.names)
            help = "only `if` and `match` give several values"
            b.report.error("L0510", f"one value for {several} names", stmt.value.span, help=help)
            vals = [None] * several
    else:
        vals = branch(b, stmt.value, len(stmt.names)) or [None] * len(stmt.names)
    if stmt.type is not None:
        wanted = resolve(b.env, stmt.type)
        for i, val in enumerate(vals):
            if not b.expect(val, wanted, stmt.value.span, f"`{stmt.names[i].name}`"):
                vals[i] = None
            elif isinstance(val, Lit):
                vals[i] = b.constant(val.value, stmt.value.span, wanted)
    for ident, val in zip(stmt.names, vals, strict=True):
        b.name_results(val, ident.name, since)
        b.bind(ident.name, val, ident.span)
