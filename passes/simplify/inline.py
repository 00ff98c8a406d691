"""Calls become the bodies of their functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir.content import Key
from lampc.ir.core import Module, Op
from lampc.ir.diag import CompileError, Diagnostic, Label, explain
from lampc.ir.loc import UNKNOWN, Derived
from lampc.ir.prog import Call, Func
from lampc.ir.rewrite import Rewriter
from lampc.passes.manager import PassContext

explain(
    {
        "L0941": "functions call each other in a circle\nA program is a graph of finite size, so a function may not "
        "reach itself through calls. Use a loop with a bound instead.",
    }
)


@dataclass(frozen=True)
class Inline:
    """Every call of a function of the module is replaced by the function's body.

    A call's key is put in front of the keys inside, so draws are those of the call. Functions stay, since
    any may be asked for by name, unless `entry` names the only one that will be: then those that were
    inlined everywhere are removed.
    """

    name: ClassVar[str] = "inline"
    label: ClassVar[str] = "E"
    entry: str = ""

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        functions = {op.symbol: op for op in module.body.ops if isinstance(op, Func)}
        inlined: set[str] = set()
        calls = 0
        rewriter = Rewriter(self.name)
        for func in _callees_first(functions):
            for call in list(_calls(func, functions)):
                _inline(call, functions[call.callee.name], rewriter)
                inlined.add(call.callee.name)
                calls += 1
        removed = sorted(inlined - {self.entry}) if self.entry in functions else []
        for symbol in removed:
            rewriter.erase(functions[symbol])
        return {"inlined": calls, "removed": len(removed)}


def _calls(func: Func, functions: dict[str, Func]) -> Iterator[Call]:
    return (op for op in func.walk() if isinstance(op, Call) and op.callee.name in functions)


def _callees_first(functions: dict[str, Func]) -> list[Func]:
    """Functions such that each comes after those it calls. Raises CompileError (L0941) for a circle."""
    done: dict[str, Func] = {}
    path: list[str] = []

    def visit(symbol: str) -> None:
        path.append(symbol)
        for call in _calls(functions[symbol], functions):
            callee = call.callee.name
            if callee in path:
                raise CompileError([_circle(call, [*path[path.index(callee) :], callee])])
            if callee not in done:
                visit(callee)
        path.pop()
        done[symbol] = functions[symbol]

    for symbol in functions:
        if symbol not in done:
            visit(symbol)
    return list(done.values())


def _circle(call: Call, names: list[str]) -> Diagnostic:
    span = call.loc.origin()
    message = f"`{names[0]}` calls itself"
    if len(names) > 2:
        message += f" through {', '.join(f'`{n}`' for n in names[1:-1])}"
    label = Label(span, "this call closes the circle") if span else None
    return Diagnostic("L0941", message, label, help="use a loop with a bound instead of recursion")


def _inline(call: Call, callee: Func, rewriter: Rewriter) -> None:
    body = callee.body.clone({})
    for op in body.walk():
        _place(op, call)
    (value,) = rewriter.inline_region(body, call, call.args)
    if not value.hint:
        value.hint = call.result.hint
    rewriter.replace(call, [value])


def _place(op: Op, call: Call) -> None:
    key = op.attrs.get("key")
    if isinstance(key, Key):
        op.attrs["key"] = key.under(call.key)
    if op.loc == UNKNOWN:
        op.loc = call.loc
    elif call.loc != UNKNOWN:
        op.loc = Derived("inline", (op.loc, call.loc))
