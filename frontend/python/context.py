"""What a trace gathers: definitions, their names, and the functions of the module."""

from __future__ import annotations

import ast
import inspect
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.base import FunctionState
from lampc.frontend.python.codes import Untraceable
from lampc.frontend.python.declare import Tune, params_of, returns_of
from lampc.frontend.python.entry import forward_of, inputs_of
from lampc.frontend.python.frames import here
from lampc.frontend.python.given import demo_set
from lampc.frontend.python.liveness import shared, walk_block
from lampc.frontend.python.module import Module, members, predictor_symbols
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.program import MAX_ITERATIONS, Program
from lampc.frontend.python.retrieval import Retrieve, Retriever
from lampc.frontend.python.source import Source, parameters_of, source_of
from lampc.frontend.python.tools.tool import Tool
from lampc.frontend.python.traced import Frame, Traced, as_json
from lampc.ir import Diagnostic, HostRef, Label, Obj, Op, Region, Span, Symbol, freeze, prog
from lampc.ir.hostref import host_ref, is_closure
from lampc.ir.modelnames import model_name
from lampc.ir.types import ANY, Record, Type, assignable

_ASKING = (Predict, Module, Program, Retrieve, Retriever, Tool)


@dataclass(slots=True)
class Traceable:
    """A function of the module: what it takes, what parameters are fixed, what it gives.

    `single` names the only output of a function that returned a plain value.
    """

    symbol: str
    parameters: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    returns: Type = ANY
    single: str = ""
    open: bool = True


class Context:
    """Everything of a trace that is not one function's."""

    def __init__(self, tracer: Any) -> None:
        self.tracer = tracer
        self.ops = 0
        self.symbols: dict[int, str] = {}
        self.used: dict[str, Any] = {}
        self.functions: list[Op] = []
        self.done: dict[int, Traceable] = {}
        self.closures: list[Diagnostic] = []
        self.names: dict[int, str] = {}
        self.paths: dict[int, str] = {}
        self.retrievers: dict[int, tuple[Retriever, str]] = {}
        self.classes: dict[int, type] = {}  # what records stand for, by serial number of the value
        self.changed: set[int] = set()  # values that are something else in Python: tuples, members of enums
        self.exact: dict[str, bool] = {}  # of functions: see FunctionState
        self.single: dict[str, str] = {}  # the output of functions that return a plain value

    # -- names --------------------------------------------------------------------------------------------

    def use(self, thing: Any) -> None:
        """Note that a retriever, tool or tuned value is used."""
        before = self.used.setdefault(thing.name, thing)
        if before is not thing and type(before) is not type(thing):
            self.used[f"{thing.name}.{len(self.used)}"] = thing

    def tool(self, tool: Tool, owner: str) -> Symbol:
        """The symbol of a tool that an agent chooses by name; tools of one name and other functions get one of their
        own."""
        symbol = tool.name
        before = self.used.get(symbol)
        if before is not None and (not isinstance(before, Tool) or before.func is not tool.func):
            symbol = f"{owner}.{tool.name}"
            while (before := self.used.get(symbol)) is not None and before.func is not tool.func:
                symbol += "_"
        self.used.setdefault(symbol, tool)
        return Symbol(symbol)

    def adopt(self, module: Module, prefix: str = "") -> None:
        """Name all predictors of a module, and its parts."""
        for symbol, predictor in predictor_symbols(module):
            self.take(predictor, f"{prefix}.{symbol}" if prefix else symbol, prefix or type(module).__name__)
        for name, part in module.named_sub_modules():
            path = name.removeprefix("self").strip(".").replace("[", ".").replace("]", "")
            whole = self.paths.setdefault(id(part), ".".join(p for p in (prefix, path) if p))
            for own, value in members(part):
                found = getattr(value, "retriever", None) if isinstance(value, Retrieve) else value
                if isinstance(found, Retriever):
                    own = own.replace("['", ".").replace("']", "").replace("[", ".").replace("]", "")
                    self.retrievers.setdefault(id(found), (found, f"{whole}.{own}" if whole else own))

    def retriever(self, retriever: Retriever, tracer: Any = None) -> str:
        """The symbol of a retriever: its own name, else that of the attribute or variable that holds it."""
        if id(retriever) not in self.symbols:
            _, held = self.retrievers.get(id(retriever), (None, ""))
            held = held or (_name_of(retriever, tracer.frame.source.outer) if tracer is not None else "")
            wanted, n = retriever.name or held or "retriever", 1
            symbol = wanted
            while symbol in self.used and self.used[symbol] is not retriever:
                n += 1
                symbol = f"{wanted}_{n}"
            self.symbols[id(retriever)] = retriever.symbol = symbol
            self.used[symbol] = retriever
        return self.symbols[id(retriever)]

    def predictor(self, predictor: Predict, tracer: Any) -> str:
        """The symbol of a predictor."""
        if id(predictor) not in self.symbols:
            name = self.names.get(id(predictor)) or _name_of(predictor, tracer.frame.source.outer)
            self.take(predictor, name or predictor.symbol or "predict", tracer.state.symbol)
        return self.symbols[id(predictor)]

    def take(self, predictor: Predict, wanted: str, owner: str) -> None:
        """Give a predictor its symbol, unless it has one."""
        if id(predictor) in self.symbols:
            return
        symbol, n = wanted, 1
        if symbol in self.used:
            symbol = f"{owner}.{wanted}"
        while symbol in self.used:
            n += 1
            symbol = f"{owner}.{wanted}_{n}"
        self.symbols[id(predictor)] = symbol
        self.used[symbol] = predictor
        predictor.symbol = symbol

    def named(self, name: str, value: Any) -> None:
        """Note that a variable of the traced function holds `value`."""
        inner = value.predict if isinstance(value, ChainOfThought) else value
        if isinstance(inner, Predict | Module):
            self.names.setdefault(id(inner), name)
            self.names.setdefault(id(value), name)

    def hosted(self, function: Any, at: Span, ref: HostRef | None = None) -> None:
        """Note a Python function that the program calls; closures cannot be saved."""
        ref = ref or host_ref(function)
        if is_closure(ref.target):
            text = f"`{function.__qualname__}` exists only in this process: the program runs but cannot be saved"
            help_ = "move the function to the top of a module"
            self.closures.append(Diagnostic("L0718", text, Label(at), help=help_, severity="warning"))

    def asks(self, function: FunctionType, seen: frozenset[int] = frozenset()) -> bool:
        """Whether a function calls something that asks a model, itself or through functions it calls."""
        if id(function) in seen or function.__module__.startswith("lampc."):
            return False
        try:
            source = source_of(function)
        except Untraceable:
            return False
        for node in ast.walk(source.node):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found = source.outer.get(node.id)
                if isinstance(found, _ASKING):
                    return True
                if isinstance(found, FunctionType) and self.asks(found, seen | {id(function)}):
                    return True
        return False

    # -- functions ----------------------------------------------------------------------------------------

    def function(self, callee: Any, tracer: Any, node: ast.AST) -> Traceable:
        """Trace another module or program, once."""
        found = self.done.get(id(callee))
        if found is not None:
            if found.open:
                raise tracer.stop("L0716", node, f"`{found.symbol}` calls itself")
            return found
        if isinstance(callee, Program):
            return self.trace(callee.function, callee.name, callee.max_iters, (), id(callee))
        path = self.paths.get(id(callee)) or self.names.get(id(callee)) or _name_of(callee, tracer.frame.source.outer)
        self.adopt(callee, path)
        name = type(callee).__name__
        taken = {*self.used, *(f.symbol for f in self.done.values())}
        if name in taken:
            name = f"{tracer.state.symbol}.{path.rpartition('.')[2]}"
        return self.trace(forward_of(callee), name, tracer.state.max_iters, (callee,), id(callee))

    def trace(
        self,
        function: Any,
        symbol: str,
        max_iters: int,
        bound: tuple[Any, ...],
        key: int,
        given: Collection[str] = (),
    ) -> Traceable:
        """Trace a Python function into a `prog.func`. Parameters with a default are inputs if they are `given`.

        Raises Untraceable.
        """
        source = source_of(function)
        done = self.done[key] = Traceable(symbol)
        try:
            self._trace(source, done, max_iters, bound, given=given)
        except Untraceable:
            del self.done[key]
            raise
        done.open = False
        return done

    def trace_raw(self, function: Any, symbol: str, types: Mapping[str, Type]) -> None:
        """Trace a function that gives its value itself: a metric or an expectation. Raises Untraceable."""
        source, done = source_of(function), Traceable(symbol)
        self._trace(source, done, MAX_ITERATIONS, (), types)

    def _trace(
        self,
        source: Source,
        done: Traceable,
        max_iters: int,
        bound: tuple[Any, ...],
        raw: Mapping[str, Type] | None = None,
        given: Collection[str] = (),
    ) -> None:
        frame = Frame(source, shared=shared(source.node), at=built_at(source.function, bound))
        state = FunctionState(done.symbol, max_iters, raw=raw is not None)
        tracer = self.tracer(self, state, frame)
        region = tracer.region = Region()
        parameters: list[str] = []
        defaults: dict[str, Any] = {}
        at = source.node
        for i, p in enumerate(parameters_of(source.function).parameters.values()):
            if i < len(bound):
                frame.names[p.name] = bound[i]
            elif p.kind is p.VAR_KEYWORD and (named := inputs_of(bound[0]) if bound else None) is not None:
                taken = frame.names.keys() - {p.name}
                free = {n: f for n, f in named.items() if n not in taken}
                frame.names[p.name] = {n: Traced(region.add_arg(f.type, n)) for n, f in free.items()}
                parameters += free
                defaults = {n: f.default[0] for n, f in free.items() if f.default}
            elif p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                raise tracer.stop("L0711", at, f"parameter `{p.name}` stands for any number of values")
            elif p.default is not p.empty and p.name not in given:
                done.defaults[p.name] = frame.names[p.name] = p.default
            else:
                t = raw[p.name] if raw and p.name in raw else _annotated(p, source)
                frame.names[p.name] = Traced(region.add_arg(t, p.name))
                parameters.append(p.name)
        done.parameters = tuple(parameters)
        tracer.state.single = single_name(at)
        end = tracer.block(source.node.body, frozenset())
        returned = end is not None and not end.dead
        record = tracer.lift(end.value, at) if end is not None and returned else tracer.record(None, at)
        done.returns = (declared_record if raw is None else _raw_type)(source, record.type)
        done.single = tracer.state.single if tracer.state.plain else ""
        self.exact[done.symbol] = tracer.state.exact
        self.single[done.symbol] = done.single if tracer.state.whole else ""
        tracer.emit(prog.Return, record, node=at)
        doc = "" if raw is not None else ast.get_docstring(at) or self._doc(bound)
        told: dict[str, Any] = {"returns": done.returns, "doc": doc, "defaults": Obj(defaults)}
        self.functions.append(prog.Func.make(regions=[region], symbol=done.symbol, loc=tracer.span(at), **told))

    def _doc(self, bound: tuple[Any, ...]) -> str:
        """The docstring of a module's own class."""
        return inspect.cleandoc(vars(type(bound[0])).get("__doc__") or "") if bound else ""

    # -- definitions ----------------------------------------------------------------------------------------

    def definitions(self) -> Iterator[Op]:
        """The definitions that are used, in the order in which they were declared."""
        used = sorted(self.used.items(), key=lambda kv: int(kv[1].serial))
        yield from model_definitions(thing for _, thing in used)
        yield from (definition(symbol, thing) for symbol, thing in used)


def model_definitions(things: Iterable[Any]) -> Iterator[Op]:
    """The definitions of the models that predictors name, each once."""
    predictors = [t for t in things if isinstance(t, Predict)]
    names = dict.fromkeys(model_name(t.lm) for t in predictors)
    names |= dict.fromkeys(t.cascade.proxy for t in predictors if t.cascade is not None)
    for name in names:
        if name != "main":
            yield prog.DefModel.make(symbol=model_symbol(name), kind=_kind(name), source=name)


def definition(symbol: str, thing: Any) -> Op:
    """The definition of a predictor, retriever, tool or tuned value."""
    match thing:
        case Predict():
            model, cascade = Symbol(model_symbol(model_name(thing.lm))), thing.cascade
            if cascade is not None:
                cascade = replace(cascade, proxy=model_symbol(cascade.proxy))
            return prog.DefPredictor.make(
                symbol=symbol, loc=thing.loc, signature=thing.ir_signature(), demos=demo_set(thing.demos),
                layout=thing.layout_in_force(), model=model, frozen=thing.frozen, keep=thing.kept,
                cascade=cascade,
            )  # fmt: skip
        case Retriever():
            return thing.definition(symbol)
        case Tool():
            return prog.DefTool.make(
                symbol=symbol, loc=thing.loc, ref=host_ref(thing.func), params=params_of(thing.func),
                returns=returns_of(thing.func), effect=thing.effect,
            )  # fmt: skip
        case Tune():
            choices = tuple(freeze(as_json(c)) for c in thing.choices)
            default = freeze(as_json(thing.default))
            return prog.DefTune.make(symbol=symbol, loc=thing.loc, type=thing.type, default=default, choices=choices)
    raise TypeError(f"{thing!r} is no definition")


def _raw_type(source: Source, found: Type) -> Type:
    """The type that the return annotation declares, if what is returned fits it."""
    annotation = source.function.__annotations__.get("return")
    try:
        wanted = found if annotation is None else to_type(annotation, source.outer)
    except BadType:
        return found
    return wanted if assignable(found, wanted) else found


def built_at(function: Callable[..., Any], bound: Sequence[Any]) -> Span | None:
    """Where the user built the module whose graph or `forward` is the library's; None for code of the user's."""
    if not str(getattr(function, "__module__", "")).startswith("lampc.") or not bound:
        return None
    return next((p.loc for p in bound[0].predictors()), None) or here()


def single_name(function: ast.FunctionDef) -> str:
    """The name of the output of a function that returns a plain value: that of the returned variable."""
    names = set()
    for node in walk_block(function.body):
        if isinstance(node, ast.Return):
            match node.value:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    names.add(name)
                case _:
                    return "result"
    return names.pop() if len(names) == 1 else "result"


def declared_record(source: Source, found: Type) -> Type:
    """The record that the return annotation declares, if it has the fields of what is returned."""
    annotation = source.function.__annotations__.get("return")
    try:
        wanted = ANY if annotation is None else to_type(annotation, source.outer)
    except BadType:
        return found
    fits = isinstance(wanted, Record) and isinstance(found, Record) and wanted.names() == found.names()
    return wanted if fits and assignable(found, wanted) else found


def _annotated(p: inspect.Parameter, source: Source) -> Type:
    if p.annotation is p.empty:
        return ANY
    try:
        return to_type(p.annotation, source.outer)
    except BadType:
        return ANY


def _name_of(thing: Any, names: dict[str, Any]) -> str:
    """The name under which `thing` is found: `classify`, `steps.0`, `parts.read`; "" if it is not."""

    def hit(value: Any) -> bool:
        inner = getattr(value, "predict" if isinstance(value, ChainOfThought) else "retriever", None)
        return value is thing or (isinstance(value, ChainOfThought | Retrieve) and inner is thing)

    for name, value in names.items():
        if hit(value):
            return name
    for name, value in names.items():
        if isinstance(value, list | tuple):
            for i, v in enumerate(value):
                if hit(v):
                    return f"{name}.{i}"
        elif isinstance(value, dict) and not name.startswith("__"):
            for k, v in value.items():
                if hit(v):
                    return f"{name}.{k}"
        elif isinstance(value, Module):
            for sub, v in predictor_symbols(value):
                if hit(v):
                    return f"{name}.{sub}"
    return ""


def model_symbol(name: str) -> str:
    """A symbol for a model; other names have other symbols."""
    if name.replace("_", "").isalnum() and not name[0].isdigit():
        return name
    clean = "".join(c if c.isalnum() else "_" for c in name)
    return f"m_{clean}_{zlib.crc32(name.encode()):08x}"


def _kind(name: str) -> str:
    return "endpoint" if name.startswith(("http://", "https://")) else "engine"
