"""What a program declares that it returns, held against what its graph returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.codes import wrong
from lampc.frontend.python.source import outer_names
from lampc.ir.prog import Func
from lampc.ir.types import ANY, Choice, ListOf, MapOf, Maybe, Record, Type, assignable, spelled


def declared_returns(function: Callable[..., Any]) -> Type:
    """What the annotation of a function says that it returns, of a signature its outputs; `any` where it says nothing
    that the IR knows."""
    annotation = getattr(function, "__annotations__", {}).get("return", ANY)
    names = outer_names(function) if hasattr(function, "__closure__") else {}  # type: ignore[arg-type]
    if isinstance(annotation, str):
        annotation = names.get(annotation, annotation)
    try:
        if hasattr(annotation, "output_fields"):
            return Record(tuple((f.name, f.type) for f in annotation.ir().outputs))
        return to_type(annotation, names)
    except BadType:
        return ANY


def declare(func: Func, wanted: Type, single: str) -> None:
    """Give a program's outputs the types that it declares; those that it does not declare stay as they are. `single`
    names the output that a plain value is. Raises CompileError (L0706) for types that no value can have."""
    found = func.returns
    if not isinstance(found, Record):
        func.attrs["returns"] = wanted if isinstance(wanted, Record) else found
        return
    types = dict(found.fields)
    if single and list(types) == [single]:
        wanted = Record(((single, wanted),))
    elif not isinstance(wanted, Record | MapOf | Maybe) and wanted != ANY:
        shown = spelled(found)
        raise _unfit(func, f"`{func.symbol}` is declared to return {spelled(wanted)}, and returns {shown}")
    for name, t in _declared(wanted, types):
        if name not in types and not isinstance(t, Maybe) and t != ANY:
            raise _unfit(func, f"`{func.symbol}` declares the output `{name}: {spelled(t)}`, and does not return it")
        if name in types and not possible(types[name], t):
            raise _unfit(
                func, f"output `{name}` of `{func.symbol}` is declared {spelled(t)}, and is {spelled(types[name])}"
            )
        if name in types and assignable(types[name], t):
            types[name] = t
    whole = isinstance(wanted, Record) and wanted.names() == found.names()
    func.attrs["returns"] = Record(tuple(types.items()), getattr(wanted, "host", "") if whole else found.host)


def _declared(wanted: Type, found: Mapping[str, Type]) -> Iterator[tuple[str, Type]]:
    match wanted:
        case Record(fields):
            yield from fields
        case MapOf(item):
            yield from ((name, item) for name in found)
        case Maybe(item):
            yield from _declared(item, found)


def _unfit(func: Func, message: str) -> Exception:
    end = func.body.terminator
    made = end.operands[0].defining_op() if end is not None else None
    span = (made or func).loc.origin() or func.loc.origin()
    return wrong("L0706", message, span, "return what is declared, or declare what is returned")


def possible(source: Type, target: Type) -> bool:
    """Whether some value of type `source` is one of type `target`: of an optional value only the run knows whether it
    is there, of a list what is in it."""
    if assignable(source, target):
        return True
    match source, target:
        case Maybe(a), _:
            return possible(a, target)
        case _, Maybe(b):
            return possible(source, b)
        case Choice(a), Choice(b):
            return bool(set(a) & set(b))
        case ListOf(), ListOf():
            return True
        case Record(a), MapOf(item):
            return all(possible(t, item) for _, t in a)
        case MapOf(), MapOf() | Record():
            return True
        case Record(a), Record(b):
            have = dict(a)
            return all(possible(have[n], t) if n in have else isinstance(t, Maybe) for n, t in b)
    return False
