"""`trace`: a program or module into a Unit; what cannot be traced runs in eager mode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from types import CodeType, FunctionType
from typing import Any

from lampc.frontend.python.codes import Untraceable, untraceable
from lampc.frontend.python.context import Context, built_at, definition, model_definitions
from lampc.frontend.python.declare import Tune
from lampc.frontend.python.entry import forward_of, overridden
from lampc.frontend.python.example import Example
from lampc.frontend.python.frames import here
from lampc.frontend.python.module import Module
from lampc.frontend.python.options import sampling_of
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.program import MAX_ITERATIONS, Program
from lampc.frontend.python.retrieval import Retrieve, Retriever
from lampc.frontend.python.returning import declare, declared_returns
from lampc.frontend.python.rounds import Rounds
from lampc.frontend.python.source import outer_names, parameters_of
from lampc.frontend.python.tools.tool import Tool
from lampc.ir import CompileError, Key, Obj, Region, Symbol, Unit, prog
from lampc.ir import Module as IRModule
from lampc.ir.settings import settings
from lampc.ir.types import ANY, Type


class Tracer(Rounds):
    """All of Python that is followed."""


def trace(program: Any, *, entry: str | None = None) -> Unit:
    """The Unit of a `@lampc.program` function or of a module object; `entry` renames it.

    A program that cannot be traced gives a Unit with `dynamic` and `host_entry`. Raises CompileError for
    calls that do not fit their signature and returns that do not fit what the program declares, TypeError for
    something that is no program.
    """
    return build(program, None, entry, declared=True)


def runnable(program: Any, given: Collection[str] = ()) -> Unit:
    """As `trace`, for who runs the program now: parameters with a default that are `given` are inputs.

    A module whose source names a field or input that is not there runs as plain Python: rows that never come by that
    line are none the worse for it. What it declares to return is a hint, as in a call. Raises CompileError, TypeError.
    """
    try:
        return build(program, given=given)
    except CompileError as e:
        if not isinstance(program, Module) or [d.code for d in e.diagnostics] != ["L0704"]:
            raise
        return build(program, plainly=e.diagnostics[0].line())


def defaults_of(program: Any) -> dict[str, Any]:
    """What the parameters of a program are that a call may leave out."""
    if isinstance(program, Predict | ChainOfThought):
        return {}
    try:
        function, _, _, bound = _parts(program)
    except TypeError:
        return {}
    own = list(parameters_of(function).parameters.values())[len(bound) :]
    return {p.name: p.default for p in own if p.default is not p.empty}


def build(
    program: Any,
    more: Callable[[Context], Callable[[Unit], None]] | None = None,
    entry: str | None = None,
    plainly: str = "",
    given: Collection[str] = (),
    declared: bool = False,
) -> Unit:
    """As `trace`; `more` may add to the module's functions and then, by what it gives, to the unit. With `plainly`,
    why it is not to be traced, it runs as plain Python. With `declared` its outputs are held to what it declares."""
    own = plainly or _own(program)
    if isinstance(program, Predict | ChainOfThought) and not own:
        return bare(program, entry or "main")
    function, name, max_iters, bound = _parts(program)
    name = entry or name
    context = Context(Tracer)
    if isinstance(program, Module):
        context.adopt(program)
    dynamic = None
    returns = declared_returns(function) if declared else ANY
    try:
        if own:
            raise untraceable("L0711", here(), own)
        traced = context.trace(function, name, max_iters, bound, id(program), given)
        func = context.functions[-1]
        assert isinstance(func, prog.Func)
        declare(func, returns, traced.single)
    except Untraceable as e:
        dynamic = e.diagnostic
        context.functions = []
        gather(context, function, name)
        for retriever, _ in context.retrievers.values():
            context.retriever(retriever)
    fill = more(context) if more is not None else None
    module = IRModule()
    for op in [*context.definitions(), *context.functions]:
        module.add(op)
    if isinstance(program, Module) and program._fused and dynamic is None:
        module.attrs["fuse"] = program._fused
    path = _place(function, bound)[0]
    exact = context.exact.get(name, True)
    unit = Unit(module.clone(), name, path, warnings=list(context.closures), dynamic=dynamic, exact=exact)
    brought = ((s, r.store) for s, r in context.used.items() if isinstance(r, Retriever) and r.store is not None)
    unit.retrievers = dict(brought)
    if isinstance(program, Module) and dynamic is None:
        unit.single = context.single.get(name, "")
    if dynamic is not None:
        unit.host_entry = host_entry(program, returns)
    if fill is not None:
        fill(unit)
    return unit


def _own(program: Any) -> str:
    """Why a program is not what its class says, or a call not what a layout is, for a note; "" if it is."""
    if getattr(settings.adapter, "changed", ""):
        return f"the adapter `{type(settings.adapter).__name__}` writes prompts and reads answers in Python"
    if name := overridden(program):
        return f"`{name}` of `{type(program).__name__}` is the program's own"
    if isinstance(program, ChainOfThought):
        return _own(program.predict) if isinstance(program.predict, Predict) else "`predict` is no predictor"
    if isinstance(program, Predict) and sampling_of({**settings.sampling, **program.config})[0] > 1:
        return "a predictor by itself that gives several completions"
    return ""


def _parts(program: Any) -> tuple[Callable[..., Any], str, int, tuple[Any, ...]]:
    """(function, name, bound of loops, arguments that are bound)."""
    if isinstance(program, Program):
        return program.function, program.name, program.max_iters, ()
    if isinstance(program, Module):
        return forward_of(program), type(program).__name__, MAX_ITERATIONS, (program,)
    if callable(program) and hasattr(program, "__code__"):
        return program, program.__name__, MAX_ITERATIONS, ()
    raise TypeError(f"a program is a @lampc.program function or a lampc.Module, not {program!r}")


def bare(program: Predict | ChainOfThought, name: str) -> Unit:
    """The Unit of a predictor by itself: a function of its inputs that makes one call."""
    predictor = program.predict if isinstance(program, ChainOfThought) else program
    signature = predictor.ir_signature()
    _, sampling = sampling_of(predictor.config)
    predictor.symbol = "predict"
    region = Region([(f.name, f.type) for f in signature.inputs])
    more: dict[str, Any] = {"signature": signature, "sampling": sampling, "key": Key(("predict#0",))}
    made = prog.Predict.make(*region.args, predictor=Symbol("predict"), loc=predictor.loc, **more)
    region.append(made)
    region.append(prog.Return.make(made.result, loc=predictor.loc))
    module = IRModule()
    for op in (*model_definitions([predictor]), definition("predict", predictor)):
        module.add(op)
    defaults = Obj({f.name: f.default[0] for f in signature.inputs if f.default})
    told: dict[str, Any] = {"returns": signature.record(), "defaults": defaults}
    module.add(prog.Func.make(regions=[region], symbol=name, loc=predictor.loc, **told))
    return Unit(module, name, predictor.loc.path)


def gather(context: Context, function: Any, owner: str) -> None:
    """Note the definitions that an untraceable function refers to, itself or through functions it calls."""
    for name, thing in mentioned(function):
        inner = thing.predict if isinstance(thing, ChainOfThought) else thing
        if isinstance(inner, Predict):
            context.take(inner, name, owner)
        elif isinstance(thing, Module):
            context.adopt(thing, name)
        elif isinstance(thing, Retriever | Retrieve):
            found = thing.retriever if isinstance(thing, Retrieve) else thing
            context.retrievers.setdefault(id(found), (found, name))
            context.retriever(found)
        elif isinstance(thing, Tool | Tune):
            context.use(thing)


def mentioned(function: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of what a function refers to outside of itself; programs and functions are followed instead."""
    queue, seen = [function], set()
    while queue:
        f = queue.pop(0)
        if id(f) in seen or not isinstance(f, FunctionType):
            continue
        seen.add(id(f))
        names = outer_names(f)
        for name in _mentioned(f.__code__):
            thing = names.get(name)
            if isinstance(thing, Program):
                queue.append(thing.function)
            elif isinstance(thing, FunctionType) and not thing.__module__.startswith("lampc."):
                queue.append(thing)
            else:
                yield name, thing


def _mentioned(code: CodeType) -> list[str]:
    """Outer names that a function's code refers to, those of inner functions too."""
    inner = [n for c in code.co_consts if isinstance(c, CodeType) for n in _mentioned(c)]
    return list(dict.fromkeys([*code.co_names, *code.co_freevars, *inner]))


def host_entry(program: Any, returns: Type = ANY) -> Callable[..., dict[str, Any]]:
    """Run one row as plain Python: inputs by name, outputs by name. Errors of what it gives stand where
    `__lampc_place__` says; `__lampc_program__` is what it runs, `__lampc_returns__` the type of what it returns."""

    def run(**inputs: Any) -> dict[str, Any]:
        return outputs(program(**inputs))

    function, _, _, bound = _parts(program)
    run.__lampc_place__ = ":".join(filter(None, _place(function, bound)))  # type: ignore[attr-defined]
    run.__lampc_program__ = program  # type: ignore[attr-defined]
    run.__lampc_returns__ = returns  # type: ignore[attr-defined]
    return run


def _place(function: Callable[..., Any], bound: tuple[Any, ...]) -> tuple[str, str]:
    """File and line that a program is known by."""
    if at := built_at(function, bound):
        return at.path, str(at.line)
    code = getattr(function, "__code__", None)
    return (code.co_filename, str(code.co_firstlineno)) if code else ("", "")


def outputs(value: Any) -> dict[str, Any]:
    """What a program returned, as a record: a plain value under the name `result`."""
    if isinstance(value, Example):
        return value.toDict()
    return dict(value) if isinstance(value, dict) else {"result": value}
