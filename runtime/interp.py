"""The reference interpreter of `prog.*`: slow, complete, sequential. It defines what a program means.

Ops run one after another in program order; nothing is batched, shared, cached or reordered. The executor
is held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from lampc.frontend.python.values.plain import fitted
from lampc.ir import Assignment, Draw, Key, Module, Op, Region, Sampling, Value, thaw
from lampc.ir.adapters import Bound, ParseFailure, bind_predictors, bind_prompt
from lampc.ir.adapters.bind import prompt_of
from lampc.ir.adapters.registry import asked_once
from lampc.ir.hostvalues import completed, same
from lampc.ir.lookup import Hit, Lookup, as_hit, as_record
from lampc.ir.prog import (
    Assert,
    Call,
    Continue,
    DefRetriever,
    DefTool,
    Func,
    If,
    Loop,
    Map,
    Match,
    Next,
    Predict,
    Py,
    Retrieve,
    Return,
    Tool,
    Try,
    Yield,
)
from lampc.ir.runner import LookupRunner
from lampc.ir.types import mismatch
from lampc.passes.lower.continuing import in_conversation
from lampc.passes.manager import RunOptions
from lampc.passes.schedule.fuse_calls import BEFORE, fused_in
from lampc.runtime.failures import RowFailure, UnreadableAnswer, as_declared, unfit, unwritable_output
from lampc.runtime.hosts import call_host, call_tool, plain
from lampc.runtime.objects import with_objects
from lampc.runtime.observed import observe_host
from lampc.runtime.ops import compute, items_of
from lampc.runtime.types import TraceStep

HostCall: TypeAlias = Callable[[Tool | Py, Sequence[Any], Module, Path], Any]


class ProgramRunner(Protocol):
    """What the interpreter asks of the outside: one LM call or one retrieval at a time."""

    def predict(
        self, bound: Bound, inputs: dict[str, Any], sampling: Sampling, draw: Draw
    ) -> tuple[Mapping[str, Any], str]:
        """Outputs by name and the model's text. May raise ParseFailure or RowFailure."""
        ...

    def retrieve(self, name: str, query: str, k: int) -> list[str]: ...


def interpret(
    module: Module,
    inputs: Mapping[str, Any],
    *,
    entry: str | None = None,
    runner: ProgramRunner | None = None,
    assignment: Assignment | None = None,
    seed: int = 0,
    row: str = "",
    base: Path = Path("."),
    trace: list[TraceStep] | None = None,
    host: HostCall | None = None,
) -> Any:
    """Run a function of `module` on named inputs and give its value (a dict for a record).

    `entry` defaults to the module's last function. `host` calls tools and Python functions in place of
    `host_call` (plans and tests do not want the real ones). Raises RowFailure, placed at the op that failed.
    """
    if fused_in(module, assignment):
        from lampc.runtime.compile import passes_for

        module = module.clone()
        passes_for(module, assignment, BEFORE).run(module, options=RunOptions(on_trial=True))
    func = entry_function(module, entry)
    run = _Run(module, runner, assignment or Assignment(), seed, row, base, trace, host or host_call)
    value = as_declared(func, run.call(func, arguments(func, inputs), (), ()))
    why = unfit(func, value)
    why = why or unwritable_output(value if isinstance(value, dict) else {"value": value})
    if why:
        raise RowFailure(why, func.body.terminator)
    return value


def entry_function(module: Module, entry: str | None) -> Func:
    """The function called `entry`, by default the last one. Raises ValueError if there is none."""
    functions = [op for op in module.body.ops if isinstance(op, Func)]
    if entry is None and functions:
        return functions[-1]
    for f in functions:
        if f.symbol == entry:
            return f
    known = ", ".join(f.symbol for f in functions) or "none"
    raise ValueError(f"there is no program `{entry or 'main'}`; programs here: {known}")


def arguments(func: Func, inputs: Mapping[str, Any]) -> list[Any]:
    """Values of the parameters in order. Raises RowFailure naming a parameter that is missing or mistyped."""
    out = []
    for arg in func.body.args:
        default = thaw(func.defaults.get(arg.hint))
        if arg.hint not in inputs and arg.hint not in func.defaults and mismatch(None, arg.type):
            raise RowFailure(f"input `{arg.hint}` is missing", func)
        try:
            given = fitted(inputs.get(arg.hint, default), arg.type)
        except Exception as e:  # it is code of whoever wrote the class of the value
            raise RowFailure(f"input `{arg.hint}`: {type(e).__name__}: {e}", func, "host") from None
        value = completed(plain(given), arg.type)
        is_default = arg.hint in func.defaults and same(value, default)
        if not is_default and (why := mismatch(value, arg.type)):
            raise RowFailure(f"input `{arg.hint}`: {why}", func)
        out.append(value)
    return out


class _Run:
    def __init__(
        self,
        module: Module,
        runner: ProgramRunner | None,
        assignment: Assignment,
        seed: int,
        row: str,
        base: Path,
        trace: list[TraceStep] | None,
        host: HostCall,
    ) -> None:
        self.module, self.runner, self.assignment, self.host = module, runner, assignment, host
        self.seed, self.row, self.base, self.trace = seed, row, base, trace
        self.bound = bind_predictors(module, assignment)
        self.said: dict[Value, tuple[tuple[str, str], ...]] = {}  # by calls that others go on from

    def call(self, func: Func, args: Sequence[Any], path: tuple[str, ...], indices: tuple[int, ...]) -> Any:
        env: dict[Value, Any] = dict(zip(func.body.args, args, strict=True))
        (value,) = self.region(func.body, env, path, indices)
        return value

    def region(
        self, region: Region, env: dict[Value, Any], path: tuple[str, ...], indices: tuple[int, ...]
    ) -> list[Any]:
        """Run the ops in order; gives the terminator's operands."""
        for op in region.ops:
            args = [env[v] for v in op.operands]
            if isinstance(op, Return | Yield | Next):
                return args
            try:
                results = self.op(op, args, env, path, indices)
            except RowFailure as e:
                raise e.at(op) from e.__cause__
            env.update(zip(op.results, results, strict=True))
        raise RowFailure("a region has no terminator")

    def op(
        self, op: Op, args: list[Any], env: dict[Value, Any], path: tuple[str, ...], indices: tuple[int, ...]
    ) -> list[Any]:
        match op:
            case Predict():
                return [self.predict(op, args, path, indices)]
            case If():
                return self.region(op.then if args[0] else op.orelse, env, path, indices)
            case Match():
                arm = op.cases.index(args[0]) if args[0] in op.cases else len(op.cases)
                if arm >= len(op.arms):
                    raise RowFailure(f"no case for {args[0]!r}")
                return self.region(op.arms[arm], env, path, indices)
            case Map():
                return [self.map(op, items_of(args[0]), env, path, indices)]
            case Loop():
                return self.loop(op, args, env, path, indices)
            case Try():
                try:
                    return [*self.region(op.body, env, path, indices), None]
                except RowFailure as e:
                    return [*([None] * (len(op.outs) - 1)), e.message]
            case Call():
                func = entry_function(self.module, op.callee.name)
                return [self.call(func, args, path + op.key.path, indices)]
            case Retrieve():
                return [self.retrieve(op, args)]
            case Tool() | Py():
                return [self.host(op, args, self.module, self.base)]
            case Assert():
                if not args[0]:
                    raise RowFailure(op.message, kind="assert")
                return []
        return [compute(op, args, self.module, self.assignment)]

    def predict(self, op: Predict, args: list[Any], path: tuple[str, ...], indices: tuple[int, ...]) -> Any:
        if self.runner is None:
            raise RowFailure("this program calls a model, and none was given")
        bound = self.bound[op.predictor.name]
        talks = in_conversation(op)
        if talks:
            bound = replace(bound, layout=asked_once(bound.layout))
        if isinstance(op, Continue):
            bound, args = replace(bound, after=self.said[op.after]), args[1:]
        inputs = {f.name: v for f, v in zip(op.signature.inputs, args, strict=True)}
        draw = Draw(self.seed, Key(path + op.key.path), indices, self.row)
        try:
            outputs, text = self.runner.predict(bound, inputs, op.sampling, draw)
        except RowFailure:
            raise
        except ParseFailure as e:
            raise UnreadableAnswer(bound, bound.layout, e, inputs) from e
        if talks:
            asked = bind_prompt(prompt_of(bound), bound, list(inputs.values()))
            self.said[op.result] = (*asked, ("assistant", text))
        if self.trace is not None:
            self.trace.append(TraceStep(bound.name, inputs, dict(outputs), text, str(op.loc.origin() or "")))
        return dict(outputs)

    def map(
        self, op: Map, items: Any, env: dict[Value, Any], path: tuple[str, ...], indices: tuple[int, ...]
    ) -> list[Any]:
        out = []
        for i, item in enumerate(items):
            inner = {**env, op.body.args[0]: item, op.body.args[1]: i}
            value, *keep = self.region(op.body, inner, path, (*indices, i))
            if not keep or keep[0]:
                out.append(value)
        return out

    def loop(
        self, op: Loop, init: list[Any], env: dict[Value, Any], path: tuple[str, ...], indices: tuple[int, ...]
    ) -> list[Any]:
        carried = init
        for i in range(op.max):
            inner = {**env, **dict(zip(op.body.args, [*carried, i], strict=True))}
            stop, *values = self.region(op.body, inner, path, (*indices, i))
            carried = values[: len(init)]
            if stop:
                break
        return values

    def retrieve(self, op: Retrieve, args: list[Any]) -> Any:
        if self.runner is None:
            raise RowFailure("this program retrieves, and no runner was given")
        ask = lookup_of(op, args, self.module, self.assignment)
        if isinstance(self.runner, LookupRunner):
            return found(op, self.runner.lookup(ask))
        return found(op, [as_hit(p) for p in self.runner.retrieve(op.retriever.name, ask.query, ask.k)])


def lookup_of(
    op: Retrieve, args: Sequence[Any], module: Module, assignment: Assignment, brought: Mapping[str, Any] | None = None
) -> Lookup:
    """What a retrieval asks for under a candidate. `k` is its second operand, else the parameter `k` of the retriever.

    Raises RowFailure if the module has no such retriever.
    """
    name = op.retriever.name
    definition = module.lookup(name)
    if not isinstance(definition, DefRetriever):
        raise RowFailure(f"there is no retriever `{name}`", op)
    k = args[1] if len(args) > 1 and args[1] is not None else assignment.get(f"{name}.k", definition.k)
    other = assignment.get(f"{name}.store", "")
    return Lookup(definition, args[0], int(k), (brought or {}).get(name), str(other))


def found(op: Retrieve, hits: list[Hit]) -> Any:
    """The value of a retrieval."""
    return as_record(hits) if op.detail else [h.text for h in hits]


def host_call(op: Tool | Py, args: Sequence[Any], module: Module, base: Path) -> Any:
    """Call the Python function behind a tool or `prog.py` op. Raises RowFailure."""
    if isinstance(op, Tool):
        definition = module.lookup(op.tool.name)
        if not isinstance(definition, DefTool):
            raise RowFailure(f"there is no tool `{op.tool.name}`", op)
        if op.observed:
            return observe_host(definition, args[0], base)
        args = [with_objects(a, v.type, base) for a, v in zip(args, op.operands, strict=True)]
        return call_tool(definition.ref, definition.symbol, args, op.returns, base)
    args = [with_objects(a, v.type, base) for a, v in zip(args, op.operands, strict=True)]
    split = len(args) - len(op.keywords)
    return call_host(op.ref, args[:split], dict(zip(op.keywords, args[split:], strict=True)), op.returns, base)
