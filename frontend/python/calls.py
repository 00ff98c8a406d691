"""Tracing calls: predictors, modules, retrievers, tools, built-ins, methods, and the user's own functions."""

from __future__ import annotations

import ast
import builtins
import inspect
import types
from collections.abc import Callable
from typing import Any

from lampc.frontend.python import lowered, methods
from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.continuing import take_after
from lampc.frontend.python.data import MetricFunction, exact_match, f1, normalize
from lampc.frontend.python.declare import Tune, argmax, returns_of, vote
from lampc.frontend.python.entry import graph_of, overridden
from lampc.frontend.python.example import Example, Prediction
from lampc.frontend.python.exprs import Expressions
from lampc.frontend.python.given import as_given, check_inputs
from lampc.frontend.python.liveness import MUTATORS, shared
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.parallel import Parallel
from lampc.frontend.python.options import sampling_of
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.program import Program
from lampc.frontend.python.retrieval import Retrieve, Retriever
from lampc.frontend.python.source import open_ended, parameters_of, source_of
from lampc.frontend.python.tools.tool import Tool, effect_of
from lampc.frontend.python.traced import (
    Completions,
    Exit,
    Frame,
    Local,
    Traced,
    WithIndex,
    answers,
    as_json,
    holds_records,
    is_static,
    same,
)
from lampc.ir import CompileError, HostRef, Region, Symbol, prog
from lampc.ir.hostref import host_ref
from lampc.ir.settings import settings
from lampc.ir.types import ANY, INT, STR, Type, assignable, mismatch, spelled

_PURE_MODULES = frozenset(
    {"math", "cmath", "json", "re", "string", "textwrap", "difflib", "statistics", "unicodedata", "operator", "html"}
)
_APPLIED = frozenset({normalize, exact_match, f1})
_DEPTH = 30
_NO_JSON = frozenset({type, iter, next, id, vars, dir, super, object, memoryview, bytearray, complex, slice})
"""Built-ins that give what no value of a graph can be."""
_KNOWN_TYPES = (str, int, float, bool, bytes, list, tuple, dict, set, frozenset, range, type(None))


class Calls(Expressions):
    """Calls by what is called."""

    def _Call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Attribute):
            receiver = self.expr(node.func.value)
            if isinstance(receiver, Tune):  # what its method gives hangs on what is chosen
                receiver = Traced(self.lift(receiver, node))
            if isinstance(receiver, Traced | Completions) or not is_static(receiver):
                args, kwargs = self.arguments(node)
                return methods.traced(self, receiver, node.func.attr, args, kwargs, node)
            function = self.attribute(receiver, node.func.attr, node.func)
        else:
            function = self.expr(node.func)
        args, kwargs = self.arguments(node)
        return self.call(function, args, kwargs, node)

    def arguments(self, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
        """Values of the arguments, stars opened."""
        args: list[Any] = []
        for a in node.args:
            value = self.expr(a.value if isinstance(a, ast.Starred) else a)
            if isinstance(a, ast.Starred):
                if isinstance(value, Traced | Completions | WithIndex):
                    raise self.stop("L0712", a, "`*` of a list that is only known at run time")
                args += list(value)
            else:
                args.append(value)
        kwargs: dict[str, Any] = {}
        for k in node.keywords:
            value = self.expr(k.value)
            if k.arg is None:
                kwargs.update(self.fields(value, k.value))
            else:
                kwargs[k.arg] = value
        return args, kwargs

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        """The value of `function(*args, **kwargs)`."""
        if name := overridden(function):
            raise self.stop("L0711", node, f"`{name}` of `{type(function).__name__}` is the program's own")
        match function:
            case ChainOfThought():
                return self.call(function.predict, args, kwargs, node)
            case Predict():
                return self.predict(function, args, kwargs, node)
            case Retriever():
                return self.retrieve(function, args, kwargs, node)
            case Retrieve():
                found = self.retrieve(function.retriever, args, {"k": function.asked, **kwargs}, node, detail=False)
                return self.pack({"passages": found}, node, Prediction)
            case Tool():
                return self.tool(function, args, kwargs, node)
            case Module() if (graph := graph_of(function)) is not None:
                return self.inline(graph, [function, *args], kwargs, node)
            case Module() | Program():
                return self.nested(function, args, kwargs, node)
            case Parallel():
                return lowered.parallel(self, function, args, kwargs, node)
            case MetricFunction():
                return self.call(function.function, args, kwargs, node)
            case Local():
                return self.inline_local(function, args, kwargs, node)
            case Traced() | Completions():
                raise self.stop("L0712", node, "calling a value of the program")
        if _hashable(function) and (lowering := lowered.FUNCTIONS.get(function)) and not _all_static(args, kwargs):
            return lowering(self, args, kwargs, node)
        if _hashable(function) and function in _APPLIED:
            if is_static(args) and is_static(kwargs):
                return function(*args, **kwargs)
            return self.apply(function.__name__, *args, *kwargs.values(), node=node)
        if function is vote or function is argmax:
            items = self.lift(args[0], node)
            made = self.emit(prog.Vote if function is vote else prog.Argmax, items, node=node)
            return Traced(made.results[0])
        if isinstance(function, type) and issubclass(function, Example):
            values = self.fields(args[0], node) if args else {}
            values = {**values, **kwargs}
            return function(**values) if is_static(values) else self.pack(values, node, function)
        builtin = methods.BUILTIN_FUNCTIONS.get(function) if _hashable(function) else None
        if builtin is not None:
            return builtin(self, args, kwargs, node)
        return self.python(function, args, kwargs, node)

    # -- what asks a model ------------------------------------------------------------------------------

    def predict(self, predictor: Predict, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        """`prog.predict`; with n > 1 a map of them."""
        symbol = self.context.predictor(predictor, self)
        if args:
            raise self.fail(node, f"`{symbol}` takes its inputs by name")
        own = {n: kwargs.pop(n) for n in ("signature", "demos", "config", "lm") if n in kwargs}
        if not is_static(own) or "signature" in own or "demos" in own or "lm" in own:
            raise self.stop("L0712", node, "a call that replaces its predictor's signature, demos or model")
        after = take_after(kwargs, predictor.signature.input_fields)
        if after is not None and not answers(after):
            raise self.stop("L0712", node, "`after=` takes what one call of a predictor gave, in the same function")
        config = {**settings.sampling, **self.drawing, **predictor.config, **(own.get("config") or {})}
        signature = predictor.ir_signature()
        try:
            values = check_inputs(signature, symbol, kwargs)
            n, sampling = sampling_of({k: v.value if isinstance(v, Tune) else v for k, v in config.items()})
        except TypeError as e:
            raise self.fail(node, str(e)) from None
        inputs = [self.lift(values[f.name], node) for f in signature.inputs]
        for f, v in zip(signature.inputs, inputs, strict=True):
            literal = values[f.name]
            if f.type == STR:
                continue  # a prompt writes any value as text
            wrong = mismatch(as_json(literal), f.type) if is_static(literal) and not isinstance(literal, Tune) else None
            if wrong:  # as plain Python any value is written, as DSPy has it
                raise self.stop("L0712", node, f"input `{f.name}` of `{symbol}`: {wrong}")
            if not assignable(v.type, f.type):
                raise self.stop(
                    "L0712", node, f"input `{f.name}` of `{symbol}` is {spelled(f.type)}, got {spelled(v.type)}"
                )
        for name, info in predictor.signature.output_fields.items():
            if info.reading is not None and not info.reading.held:
                raise self.stop("L0713", node, f"output `{name}` of `{symbol}` is an object that the IR cannot hold")
        signature = as_given(signature, kwargs)
        key = self.state.key(symbol)
        more: dict[str, Any] = {"predictor": Symbol(symbol), "signature": signature, "sampling": sampling, "key": key}
        kind = prog.Predict
        if after is not None:
            kind, inputs = prog.Continue, [after.value, *inputs]
        if n == 1:
            return Traced(self.emit(kind, *inputs, node=node, **more).result)
        numbers = self.const(list(range(n)), node)
        body = Region([("", INT), ("", INT)])
        with self.inside(body):
            one = self.emit(kind, *inputs, node=node, **more)
            self.emit(prog.Yield, one.result, node=node)
        return Completions(self.emit(prog.Map, numbers, node=node, regions=[body]).result)

    def nested(self, callee: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        """`prog.call` of another module or program."""
        function = callee.function if isinstance(callee, Program) else type(callee).forward
        outer = [] if isinstance(callee, Program) else [callee]
        if self.drawing or open_ended(function):
            return self.inline(function, [*outer, *args], kwargs, node)
        done = self.context.function(callee, self, node)
        try:
            bound = parameters_of(function).bind(*outer, *args, **kwargs).arguments
        except TypeError as e:
            raise self.fail(node, f"`{done.symbol}`: {e}") from None
        if any(not same(bound[n], v) for n, v in done.defaults.items() if n in bound):
            return self.inline(function, [*outer, *args], kwargs, node)
        values = [self.lift(bound[n], node) for n in done.parameters]
        key = self.state.key(done.symbol)
        made = self.emit(prog.Call, *values, node=node, callee=Symbol(done.symbol), key=key, returns=done.returns)
        return self.get(Traced(made.result), done.single, node) if done.single else Traced(made.result)

    def in_place(self, module: Any, kwargs: dict[str, Any], node: ast.AST) -> Any:
        """A module's call with its body here, so that what is drawn in it is drawn as said here."""
        if isinstance(module, Module) and not isinstance(module, Predict | ChainOfThought) and not overridden(module):
            return self.inline(graph_of(module) or type(module).forward, [module], kwargs, node)
        return self.call(module, [], kwargs, node)

    def retrieve(
        self,
        retriever: Retriever,
        args: list[Any],
        kwargs: dict[str, Any],
        node: ast.AST,
        detail: bool | None = None,
    ) -> Traced:
        symbol = self.context.retriever(retriever, self)
        given = dict(zip(("query", "k"), args, strict=False)) | kwargs
        if len(args) > 2 or set(given) - {"query", "k"} or "query" not in given:
            raise self.fail(node, f"retriever `{symbol}` takes query and k")
        query = self.lift(given["query"], node)
        k = given.get("k", retriever.k if isinstance(retriever.k, Tune) else None)
        rest = [] if k is None else [self.lift(k, node)]
        whole = bool(retriever.gives) if detail is None else detail
        made = self.emit(prog.Retrieve, query, *rest, node=node, retriever=Symbol(symbol), detail=whole)
        return Traced(made.result)

    def tool(self, tool: Tool, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Traced:
        try:
            bound = inspect.signature(tool.func).bind(*args, **kwargs)
        except TypeError as e:
            raise self.fail(node, f"tool `{tool.name}`: {e}") from None
        if bound.kwargs:  # what stands before them is not given
            bound.apply_defaults()
        if bound.kwargs:
            raise self.stop("L0712", node, f"tool `{tool.name}` has parameters that can only be given by name")
        self.context.use(tool)
        values = [self.lift(v, node) for v in bound.args]
        returns = returns_of(tool.func)
        made = self.emit(prog.Tool, *values, node=node, tool=Symbol(tool.name), effect=tool.effect, returns=returns)
        return Traced(made.result)

    # -- Python -----------------------------------------------------------------------------------------

    def python(self, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        """A call of a Python function: now if all is known and pure, in place if it asks models, else `prog.py`."""
        static = is_static(args) and is_static(kwargs)
        owner = getattr(function, "__self__", None)
        if isinstance(function, types.BuiltinMethodType) and isinstance(owner, _KNOWN_TYPES) and owner is not None:
            if not static:
                return methods.traced(self, owner, function.__name__, args, kwargs, node)
            if function.__name__ in MUTATORS:
                raise self.stop("L0715", node, f"`.{function.__name__}` of a list or dict from outside the function")
            return self._now(function, args, kwargs, node)
        if static and self._computable(function):
            return self._now(function, args, kwargs, node)
        if isinstance(function, types.MethodType):
            return self._method(function, args, kwargs, node)
        if isinstance(function, types.FunctionType) and (self.context.asks(function) or holds_records([args, kwargs])):
            return self.inline(function, args, kwargs, node)
        if any(function is f for f in (getattr, hasattr, setattr, delattr)) and holds_records(args):
            raise self.stop("L0712", node, f"`{function.__name__}` of a record of the program")
        if _hashable(function) and function in _NO_JSON:
            raise self.stop("L0713", node, f"what `{function.__name__}` gives is no value of a graph")
        target, effect, returns = self._host(function, node)
        values = [self.lift(a, node) for a in [*args, *kwargs.values()]]
        made = self.emit(
            prog.Py, *values, node=node, ref=target, effect=effect, returns=returns, keywords=tuple(kwargs)
        )
        return Traced(made.result)

    def _computable(self, function: Any) -> bool:
        module = str(getattr(function, "__module__", ""))
        if module.startswith("lampc."):
            return True
        if isinstance(function, type):
            return function in _KNOWN_TYPES or module.split(".")[0] in ("enum", "collections")
        return effect_of(function) == "pure" or module in _PURE_MODULES

    def _now(self, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        try:
            return function(*args, **kwargs)
        except CompileError:
            raise
        except Exception as e:
            raise self.stop("L0712", node, f"{type(e).__name__}: {e}") from None

    def _method(self, method: types.MethodType, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        owner: Any = method.__self__
        if isinstance(owner, Retrieve) and method.__name__ in ("forward", "__call__"):
            return self.call(owner, args, kwargs, node)
        if isinstance(owner, Retriever) and method.__name__ in ("search", "forward", "__call__"):
            return self.retrieve(owner, args, kwargs, node, False if method.__name__ == "search" else None)
        if isinstance(owner, Module) and method.__name__ in ("forward", "__call__"):
            return self.call(owner, args, kwargs, node)
        if isinstance(owner, Module):
            return self.inline(method.__func__, [owner, *args], kwargs, node)
        if isinstance(owner, type) and effect_of(method) == "pure":
            return self._host_call(method, args, kwargs, node)
        name = f"{type(owner).__name__}.{method.__name__}"
        raise self.stop("L0713", node, f"`{name}` is a method of a Python object that the IR cannot hold")

    def _host_call(self, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Traced:
        values = [self.lift(a, node) for a in [*args, *kwargs.values()]]
        ref = host_ref(function)
        made = self.emit(
            prog.Py, *values, node=node, ref=ref, effect=effect_of(function), returns=returns_of(function),
            keywords=tuple(kwargs),
        )  # fmt: skip
        return Traced(made.result)

    def _host(self, function: Any, node: ast.AST) -> tuple[HostRef, str, Type]:
        """(reference, effect, result type) of a Python callable."""
        if not callable(function):
            raise self.stop("L0712", node, f"`{function!r}` cannot be called")
        module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        owner = getattr(function, "__self__", None)
        if isinstance(owner, types.ModuleType):
            module = owner.__name__
        elif owner is not None and not isinstance(owner, type):
            raise self.stop("L0713", node, f"`{name}` is a method of a Python object that the IR cannot hold")
        if not module or not name:
            raise self.stop("L0713", node, f"`{function!r}` has no name by which it could be found again")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise self.stop("L0712", node, f"`{name}` is a coroutine or generator")
        if isinstance(function, types.FunctionType):
            self.context.hosted(function, self.span(node))
            effect = "pure" if module in _PURE_MODULES else effect_of(function)
            return host_ref(function), effect, returns_of(function)
        if isinstance(function, type) and module != "builtins":
            raise self.stop("L0713", node, f"an object of class `{name}`, which the IR cannot hold")
        pure = module in _PURE_MODULES or (module == "builtins" and name != "print" and name != "input")
        return HostRef(f"{module}:{name}"), "pure" if pure else effect_of(function), ANY

    # -- in place ---------------------------------------------------------------------------------------

    def inline(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        """Trace the body of a function here."""
        source = source_of(function)
        try:
            bound = parameters_of(function).bind(*args, **kwargs)
        except TypeError as e:
            raise self.fail(node, f"`{source.qualname}`: {e}") from None
        bound.apply_defaults()
        ours = source.function.__module__.startswith("lampc.")
        at = self.frame.at or (self.span(node) if ours else None)
        frame = Frame(source, dict(bound.arguments), shared=shared(source.node), depth=self.frame.depth + 1, at=at)
        return self.body(frame, source.node.body, node)

    def inline_local(self, function: Local, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        """Trace the body of a function defined inside the traced one."""
        spec = function.node.args
        if spec.vararg or spec.kwarg or spec.kwonlyargs or spec.posonlyargs:
            raise self.stop("L0712", node, "an inner function with * or keyword-only parameters")
        names = [a.arg for a in spec.args]
        defaults = dict(zip(names[len(names) - len(spec.defaults) :], map(self.expr, spec.defaults), strict=True))
        bound = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
        if len(args) > len(names) or set(bound) != set(names):
            raise self.fail(node, f"the function takes {', '.join(names) or 'nothing'}")
        frame = Frame(function.frame.source, bound, parent=function.frame, depth=self.frame.depth + 1)
        if isinstance(function.node, ast.Lambda):
            statement = ast.copy_location(ast.Return(function.node.body), function.node.body)
            return self.body(frame, [statement], node)
        return self.body(frame, function.node.body, node)

    def body(self, frame: Frame, statements: list[ast.stmt], node: ast.AST) -> Any:
        """Run a function's statements in `frame`; gives what it returns."""
        if frame.depth > _DEPTH:
            raise self.stop("L0716", node, "a function that calls itself")
        before, self.frame = self.frame, frame
        try:
            end: Exit | None = self.block(statements, frozenset())
        finally:
            self.frame = before
        return end.value if end is not None else None

    def returns(self, annotation: Any, scope: dict[str, Any]) -> Type:
        try:
            return to_type(annotation, scope)
        except BadType:
            return ANY


def _all_static(args: list[Any], kwargs: dict[str, Any]) -> bool:
    return is_static(args) and is_static(kwargs)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return isinstance(value, type | types.BuiltinFunctionType | types.FunctionType) or value in vars(builtins).values()


__all__ = ["Calls"]
