"""Library functions as ops: the parts of agents and attempts, calls that run together, votes."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from lampc.frontend.python.modules import graph
from lampc.frontend.python.modules.majority import default_normalize, majority
from lampc.frontend.python.modules.parallel import Parallel
from lampc.frontend.python.traced import Completions, Traced
from lampc.ir import HostRef, Op, Region, Value, prog
from lampc.ir.hostref import host_ref
from lampc.ir.types import BOOL, ListOf, Record

Lowering = Callable[[Any, list[Any], dict[str, Any], ast.AST], Any]


def _applied(name: str) -> Lowering:
    def lower(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        return t.apply(name, *args, node=node)

    return lower


def _act(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Traced:
    """One region for each tool, by the name that the model chose."""
    tools, name, given = args
    regions, values = [], t.lift(given, node)
    for tool in tools.values():
        try:
            ref = host_ref(tool.func)
        except AttributeError:
            raise t.stop("L0713", node, f"tool `{tool.name}` is an object, not a function") from None
        t.context.hosted(tool.func, t.span(node), ref)
        region = Region()
        with t.inside(region):
            more = {"tool": t.context.tool(tool, t.state.symbol), "effect": tool.effect, "observed": True}
            t.emit(prog.Yield, t.emit(prog.Tool, values, node=node, **more).result, node=node)
        regions.append(region)
    made = t.emit(prog.Match, t.lift(name, node), node=node, regions=regions, cases=tuple(tools))
    return Traced(made.outs[0])


def _tried(t: Any, compute: Callable[[], list[Value]], node: ast.AST) -> tuple[Op, list[Traced], Traced]:
    """(op, values, error) of a computation whose failure is no failure of the row."""
    region = Region()
    with t.inside(region):
        t.emit(prog.Yield, *compute(), node=node)
    made = t.emit(prog.Try, node=node, regions=[region])
    return made, [Traced(v) for v in made.outs[:-1]], Traced(made.outs[-1])


def _attempt(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Traced:
    module, inputs, reward, threshold = args

    def compute() -> list[Value]:
        before, t.drawing = t.drawing, {"temperature": 1.0}
        try:
            made = t.in_place(module, dict(inputs), node)
        finally:
            t.drawing = before
        prediction = t.record(made, node)
        value = t.inline(reward, [dict(inputs), Traced(prediction)], {}, node)
        reached = t.apply("ge", value, threshold, node=node)
        return [prediction, t.lift(value, node), t.lift(reached, node, BOOL)]

    _, (prediction, value, reached), error = _tried(t, compute, node)
    made: Traced = t.pack({"prediction": prediction, "reward": value, "reached": reached, "error": error}, node)
    return made


def parallel(t: Any, runner: Parallel, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> list[Any]:
    """Calls of modules, each of which may fail alone; nothing orders them, so they run together."""
    pairs = args[0] if args else kwargs.get("exec_pairs")
    if not isinstance(pairs, list | tuple) or runner.return_failed_examples:
        raise t.stop("L0712", node, "`Parallel` over pairs that are only known at run time, or with its failures")
    out, errors = [], []
    for pair in pairs:
        module, given = pair
        if hasattr(given, "toDict") and not isinstance(given, dict):
            given = given.inputs().toDict() if given._input_keys is not None else given.toDict()
        given = t.fields(given, node)

        def compute(module: Any = module, given: dict[str, Any] = given) -> list[Value]:
            return [t.record(t.call(module, [], dict(given), node), node)]

        _, values, error = _tried(t, compute, node)
        out += values
        errors.append(error)
    if runner.max_errors and len(errors) >= runner.max_errors:
        failed = [t.apply("ne", e, None, node=node) for e in errors]
        count = t.apply("sum", tuple(failed), node=node)
        few = t.apply("lt", count, runner.max_errors, node=node)
        t.emit(prog.Assert, few.value, node=node, message=f"{runner.max_errors} or more calls of `Parallel` failed")
    return out


def _majority(t: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Traced:
    value = args[0]
    given = dict(zip(("normalize", "field"), args[1:], strict=False)) | kwargs
    if given.get("normalize", default_normalize) is not default_normalize:
        raise t.stop("L0712", node, "`majority` with a `normalize` of its own")
    rows = value.rows if isinstance(value, Completions) else t.lift(value, node)
    item = rows.type.item if isinstance(rows.type, ListOf) else rows.type
    if not isinstance(item, Record):
        return Traced(t.emit(prog.Vote, rows, node=node).results[0])
    if not isinstance(rows.type, ListOf):
        return Traced(rows)
    field = t.lift(given.get("field") or item.names()[-1], node)
    ref = HostRef("lampc.frontend.python.modules.majority:pick")
    return Traced(t.emit(prog.Py, rows, field, node=node, ref=ref, effect="pure", returns=item).result)


FUNCTIONS: dict[Any, Lowering] = {
    graph.numbered: _applied("numbered"),
    graph.shown: _applied("blocks"),
    graph.best_of: _applied("best"),
    graph.column: lambda t, args, kwargs, node: t.attribute(args[0], args[1], node),
    graph.act: _act,
    graph.attempt: _attempt,
    majority: _majority,
}

__all__ = ["FUNCTIONS", "parallel"]
