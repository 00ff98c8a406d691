"""By which function a module is traced, and which inputs it takes."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import Any

from lampc.frontend.python.codes import Untraceable
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.parallel import Parallel
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.retrieval import Retrieve, Retriever
from lampc.frontend.python.source import source_of
from lampc.frontend.python.tools.tool import Tool
from lampc.ir.content import Field
from lampc.ir.types import ANY


def forward_of(module: Module) -> Any:
    """The function that a module is traced by: a library module's graph, else its `forward`."""
    return graph_of(module) or type(module).forward


def graph_of(module: Any) -> Any:
    """The graph that stands beside the `forward` of a module's class, if there is one: a subclass with a `forward` of
    its own is traced by that, and so is one that overrides a method that the graph stands for."""
    for cls in type(module).__mro__:
        if "forward" in vars(cls):
            own = all(getattr(type(module), n) is vars(cls)[n] for n in vars(cls).get("_graph_stands_for", ()))
            return vars(cls).get("_graph") if own else None
    return None


_OPS = (Predict, ChainOfThought, Retriever, Retrieve, Tool, Parallel)
"""Library classes whose calls are ops, whatever their methods say."""


def overridden(thing: Any) -> str:
    """The method by which an object of a library class behaves in the user's own way, of which a graph knows nothing;
    "" if there is none. A `forward` that a module is traced by is no such method."""
    if not isinstance(thing, Module | Retriever | Retrieve | Tool | Parallel):
        return ""
    cls = type(thing)
    if "forward" in vars(thing):
        return "forward"
    if not _ours(cls.__call__):
        return "__call__"
    if not isinstance(thing, _OPS) and graph_of(thing) is None:
        return ""
    own = [c for c in cls.__mro__ if not c.__module__.startswith("lampc.") and c is not object]
    for name in (n for names in (thing, *own) for n in vars(names)):
        if not name.startswith("__") and any(isinstance(vars(c).get(name), FunctionType) for c in _library(cls)):
            return name
    return ""


def _library(cls: type) -> list[type]:
    return [c for c in cls.__mro__ if c.__module__.startswith("lampc.")]


def _ours(method: Any) -> bool:
    return isinstance(method, FunctionType) and method.__module__.startswith("lampc.")


def inputs_of(module: Any) -> dict[str, Field] | None:
    """The inputs of a module whose `forward` takes them by any name, by name; None if they are not known.

    They are those of its signature, of the module that it attempts, or of whatever its `forward` hands them to.
    """
    if isinstance(module, ChainOfThought):
        module = module.predict
    if isinstance(module, Predict):
        return {f.name: f for f in module.ir_signature().inputs}
    signature: Any = getattr(module, "signature", None)
    if hasattr(signature, "ir"):
        return {f.name: f for f in signature.ir().inputs}
    if graph_of(module) is not None:
        return inputs_of(getattr(module, "module", None))
    if not isinstance(module, Module):
        return None
    try:
        source = source_of(type(module).forward)
    except Untraceable:
        return None
    star = source.node.args.kwarg
    if not source.node.args.args:
        return None
    first, *rest = source.node.args.args
    own = {a.arg: Field(a.arg, ANY) for a in rest}
    found: dict[str, Field] = {}
    for call in ast.walk(source.node):
        if not isinstance(call, ast.Call) or star is None:
            continue
        if any(k.arg is None and isinstance(k.value, ast.Name) and k.value.id == star.arg for k in call.keywords):
            callee = _part(call.func, first.arg, module)
            inner = inputs_of(callee) if callee is not None else None
            if inner is None:
                return None
            found |= {n: f for n, f in inner.items() if n not in {k.arg for k in call.keywords}}
    return {**own, **found} if found or star is None else None


def _part(node: ast.expr, name: str, module: Module) -> Any:
    """What `self.a.b` names in a module, or None."""
    if isinstance(node, ast.Name):
        return module if node.id == name else None
    if isinstance(node, ast.Attribute):
        owner = _part(node.value, name, module)
        return getattr(owner, node.attr, None) if owner is not None else None
    return None
