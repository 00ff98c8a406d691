"""Annotations as text: the names that prompts show, and types read from the text of a signature."""

from __future__ import annotations

import ast
import importlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from lampc.ir.sources import parse


class BadType(Exception):
    """An annotation that no field can have; the message says what and what to write instead."""


def shown(annotation: Any) -> str:
    """An annotation as prompts name it: `list[str]`, `Union[int, NoneType]`, `Literal['a', 'b']`, `Passage`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is None:
        name = getattr(annotation, "__prompt_name__", None) or getattr(annotation, "__name__", None)
        return str(name or annotation)
    if origin is typing.Literal:
        return f"Literal[{', '.join(_quoted(a) if isinstance(a, str) else shown(a) for a in args)}]"
    outer = "Union" if origin in (Union, types.UnionType) else shown(origin)
    return f"{outer}[{', '.join(map(shown, args))}]"


def _quoted(text: str) -> str:
    """A string in single quotes, in double ones if that saves escaping."""
    if "'" in text and '"' not in text:
        return f'"{text}"'
    return "'" + (text.replace("'", "\\'") if '"' in text else text) + "'"


_NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def of_text(text: str, names: Mapping[str, Any]) -> Any:
    """The annotation that a text spells; names that are neither builtins nor in `typing` are looked up in `names`.

    Nothing is evaluated: names, attributes, subscripts, `|`, literals and tuples are followed. Raises BadType.
    """
    try:
        node = parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise BadType(f"type `{text}` cannot be read") from None
    return of_node(node, names)


def of_node(node: ast.expr, names: Mapping[str, Any], first: Mapping[str, Any] = _NOTHING) -> Any:
    """The same for a syntax tree; what is in `first` counts more than what builtins and `typing` call so."""
    try:
        return _Resolver(names, first).value(node)
    except BadType as e:
        raise BadType(f"type `{ast.unparse(node)}` cannot be read: {e}") from None
    except Exception as e:  # what a class says to its subscript is the user's
        raise BadType(f"type `{ast.unparse(node)}` cannot be read: {type(e).__name__}: {e}") from None


class _Resolver:
    def __init__(self, names: Mapping[str, Any], first: Mapping[str, Any]) -> None:
        self.names, self.first = names, first

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name):
                return self.named(name)
            case ast.Attribute(value=ast.Name() | ast.Attribute(), attr=attr):
                return self.attribute(node.value, attr)
            case ast.Subscript(value=base, slice=index):
                return self.subscript(self.value(base), index)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return Union[self.value(left), self.value(right)]  # noqa: UP007 - works for all values
            case ast.Constant(value=None):
                return None
            case ast.Constant(value=str() as text):
                return of_text(text, self.names)
            case ast.Constant(value=found) if found is ...:
                return found
            case ast.List(elts=items):
                return [self.value(i) for i in items]
        raise BadType(f"`{ast.unparse(node)}` is no type")

    def named(self, name: str) -> Any:
        if name in self.first:
            return self.first[name]
        if name in _KNOWN:
            return _KNOWN[name]
        if name in self.names:
            return self.names[name]
        raise BadType(f"name {name!r} is not defined; import it, or give it in custom_types")

    def attribute(self, base: ast.expr, attr: str) -> Any:
        try:
            holder = self.value(base)
        except BadType:
            if not isinstance(base, ast.Name):
                raise
            try:
                holder = importlib.import_module(base.id)
            except ImportError:
                raise BadType(f"there is no module or name `{base.id}`") from None
        try:
            return getattr(holder, attr)
        except AttributeError:
            raise BadType(f"`{ast.unparse(base)}` has no `{attr}`") from None

    def subscript(self, base: Any, index: ast.expr) -> Any:
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        if base is typing.Literal:
            values = tuple(self.constant(p) for p in parts)
        elif base is typing.Annotated:
            return self.value(parts[0])  # what else it says is never read, and would have to be evaluated
        elif _reads_text(base):
            values = tuple(self.constant(p) for p in parts)
        else:
            values = tuple(self.value(p) for p in parts)
        if isinstance(index, ast.Tuple) and not parts:
            return base[()]
        return base[values if len(values) != 1 else values[0]]

    def constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute | ast.Name):
            return self.value(node)  # members of enums
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError):
            raise BadType(f"`{ast.unparse(node)}` is no literal") from None


_KNOWN: dict[str, Any] = {
    **{n: t for n, t in vars(typing).items() if n in typing.__all__},
    **{
        t.__name__: t
        for t in (int, str, float, bool, list, tuple, dict, set, frozenset, complex, bytes, bytearray, object)
    },
    "NoneType": type(None),
}
"""Names that mean the same wherever a signature stands."""
KNOWN_EVERYWHERE = frozenset(_KNOWN)


def _reads_text(base: Any) -> bool:
    """Whether a class takes texts, not types, in brackets: `Code["python"]`."""
    return isinstance(base, type) and isinstance(getattr(base, "language", None), str)
