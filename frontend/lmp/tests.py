"""`test "..." { mock ...; run ...; expect ...; }` to tests of a unit."""

from __future__ import annotations

from typing import Any

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import constant
from lampc.frontend.lmp.data import root
from lampc.frontend.lmp.env import Env, text_of
from lampc.frontend.lmp.functions import expectation
from lampc.frontend.lmp.literals import BadLiteral
from lampc.frontend.lmp.program import Function, Predictor, Program
from lampc.frontend.lmp.report import listed, suggest
from lampc.ir import STR, ListOf, Span
from lampc.ir.diag import there_are
from lampc.ir.prog import DefRetriever, DefTool
from lampc.ir.types import mismatch
from lampc.ir.unit import STATS, Mock, Test


def test(program: Program, env: Env, decl: ast.TestDecl, number: int) -> Test | None:
    """A test; its expectations become functions `testN.expectM`. None after reporting."""
    title = text_of(decl.title, env.report)
    runs = [s for s in decl.body if isinstance(s, ast.Run)]
    mocks = [s for s in decl.body if isinstance(s, ast.Mock)]
    expects = [s for s in decl.body if isinstance(s, ast.Expect)]
    if len(runs) != 1:
        at = runs[1].span if runs else decl.title.span
        env.report.error(
            "L0607", f"a test runs one module, this one runs {len(runs)}", at, help="write `run Module(...);`"
        )
        return None
    if not expects:
        env.report.error("L0607", "this test expects nothing", decl.title.span, help="add `expect condition;`")
    target = root(program, env, runs[0].program)
    if target is None:
        return None
    arguments = _arguments(env, runs[0], target)
    answers = tuple(m for m in (_mock(program, env, s) for s in mocks) if m is not None)
    said = []
    for i, s in enumerate(expects, 1):
        symbol = f"test{number}.expect{i}"
        expectation(program, env, s.value, target.returns, STATS, symbol)
        said.append((symbol, source(env.file.text, s.value.span)))
    return Test(title, answers, target.symbol, arguments, tuple(said), decl.span)


def source(text: str, span: Span) -> str:
    """The text of a span, white space made single."""
    lines = text.split("\n")[span.line - 1 : span.end_line]
    lines[-1] = lines[-1][: span.end_column - 1]
    lines[0] = lines[0][span.column - 1 :]
    return " ".join(" ".join(lines).split())


def _plain(env: Env, expr: ast.Expr, code: str) -> tuple[bool, Any]:
    try:
        return True, constant(expr)
    except BadLiteral as e:
        env.report.error(code, str(e), expr.span)
        return False, None


def _arguments(env: Env, run: ast.Run, target: Function) -> tuple[tuple[str, Any], ...]:
    known = {f.name: f for f in target.inputs}
    given: dict[str, Any] = {}
    for arg in run.args:
        name = arg.name.name if arg.name else ""
        if name not in known:
            help = suggest(name, known) or f"it takes {listed(known)}"
            env.report.error("L0608", f"`{run.program.name}` does not take `{name or '?'}`", arg.span, help=help)
            continue
        good, value = _plain(env, arg.value, "L0608")
        why = mismatch(value, known[name].type) if good else None
        if why:
            env.report.error("L0608", f"`{name}`: {why}", arg.value.span)
        given[name] = value
    missing = [n for n in known if n not in given]
    if missing:
        env.report.error("L0608", f"`{run.program.name}` needs {listed(missing)} too", run.span)
    return tuple(given.items())


def _mock(program: Program, env: Env, stmt: ast.Mock) -> Mock | None:
    """A predictor's outputs, or under `value` what a tool or retriever answers."""
    name = stmt.target.name
    good, value = _plain(env, stmt.value, "L0606")
    if not good:
        return None
    if name in program.predictors:
        return _predictor(env, stmt, program.predictors[name], value)
    op = program.find(name)
    if isinstance(op, DefTool | DefRetriever):
        why = mismatch(value, op.returns if isinstance(op, DefTool) else ListOf(STR))
        if why:
            env.report.error("L0606", f"`{name}`: {why}", stmt.value.span)
        return Mock(name, {"value": value})
    if name not in env.file.lost:
        known = [*program.predictors, *(o.symbol for o in program.definitions if isinstance(o, DefTool | DefRetriever))]
        help = suggest(name, known) or there_are(f"`{n}`" for n in known)
        env.report.error("L0606", f"there is no predictor `{name}`", stmt.target.span, help=help)
    return None


def _predictor(env: Env, stmt: ast.Mock, target: Predictor, value: Any) -> Mock | None:
    outputs = {f.name: f for f in target.signature.outputs}
    if not isinstance(value, dict):
        help = f"write `({', '.join(f'{n}: ...' for n in outputs)})`"
        env.report.error("L0606", f"`{stmt.target.name}` answers with its outputs", stmt.value.span, help=help)
        return None
    if target.reasons:
        value = {"reasoning": "", **value}
    for name in value:
        if name not in outputs:
            help = suggest(name, outputs) or f"its outputs are {listed(outputs)}"
            env.report.error("L0606", f"`{stmt.target.name}` has no output `{name}`", stmt.value.span, help=help)
    for name, f in outputs.items():
        why = mismatch(value[name], f.type) if name in value else "is missing"
        if why:
            env.report.error("L0606", f"output `{name}` of `{stmt.target.name}`: {why}", stmt.value.span)
    return Mock(stmt.target.name, value)
