"""What a program declares that it returns, held against what its graph returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, is_typeddict

from lampc.frontend.python.annotations import BadType, TypeReader
from lampc.frontend.python.codes import wrong
from lampc.frontend.python.source import outer_names
from lampc.ir.hostvalues import defaults_of
from lampc.ir.prog import Func
from lampc.ir.types import ANY, Choice, MapOf, Maybe, Record, Scalar, Type, possible, spelled


class _Declared(TypeReader):
    """Reads a return annotation: what the JSON of a value is like, of a signature its outputs."""

    def generic(self, annotation: Any, origin: Any, args: tuple[Any, ...]) -> Type:
        found = super().generic(annotation, origin, args)
        if isinstance(found, MapOf) and not isinstance(found.key, Scalar | Choice):
            return MapOf(found.item)
        return found

    def klass(self, cls: type, annotation: Any = None) -> Type:
        if hasattr(cls, "output_fields"):
            return Record(tuple((f.name, f.type) for f in cls.ir().outputs))  # type: ignore[attr-defined]
        if _dumped_otherwise(cls):
            return ANY
        found = super().klass(cls, annotation)
        if not (is_typeddict(cls) and isinstance(found, Record)):
            return found
        absent = cls.__optional_keys__  # type: ignore[attr-defined]
        return Record(tuple((n, Maybe(t) if n in absent and not isinstance(t, Maybe) else t) for n, t in found.fields))


def _dumped_otherwise(cls: type) -> bool:
    """Whether the JSON of a pydantic model is not what its fields say."""
    made = getattr(cls, "__pydantic_decorators__", None)
    fields = getattr(cls, "model_fields", None) or getattr(cls, "__pydantic_fields__", {})
    if made is None or not isinstance(fields, dict):
        return False
    by_alias = getattr(cls, "model_config", {}).get("serialize_by_alias")
    return bool(
        getattr(cls, "__pydantic_root_model__", False)
        or made.field_serializers
        or made.model_serializers
        or any(f.exclude or (by_alias and f.serialization_alias) for f in fields.values())
        or any(type(m).__name__ in ("PlainSerializer", "WrapSerializer") for f in fields.values() for m in f.metadata)
    )


def declared_returns(function: Callable[..., Any]) -> Type:
    """What the annotation of a function says that it returns, of a signature its outputs; `any` where it says nothing
    that the IR knows."""
    annotation = getattr(function, "__annotations__", {}).get("return", ANY)
    names = outer_names(function) if hasattr(function, "__closure__") else {}  # type: ignore[arg-type]
    try:
        return _Declared(names).read(annotation)
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
    optional = defaults_of(wanted.host) if isinstance(wanted, Record) else frozenset[str]()
    for name, t in _declared(wanted, types):
        if name not in types and name in optional:
            types[name] = t if isinstance(t, Maybe) else Maybe(t)
        if name not in types and not isinstance(t, Maybe) and t != ANY:
            raise _unfit(func, f"`{func.symbol}` declares the output `{name}: {spelled(t)}`, and does not return it")
        if name in types and not possible(types[name], t):
            raise _unfit(
                func, f"output `{name}` of `{func.symbol}` is declared {spelled(t)}, and is {spelled(types[name])}"
            )
        if name in types:
            types[name] = t
    whole = isinstance(wanted, Record) and set(wanted.names()) == set(types)
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
