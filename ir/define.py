"""Declaring ops as annotated classes.

    @op("prog.field", traits=[Trait.PURE])
    class FieldOf(Op):
        \"\"\"One field of a record.\"\"\"
        record: Operand
        field: Attribute[str]
        value: Result

Annotations say what each name is: `Operand`, `Operands` (a variadic tail), `Result`, `Results`,
`Body` (a region), anything else an attribute. Each becomes a typed property; `docs/ir.md` is made from
the same declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from lampc.ir.core import Op, Region, Value
from lampc.ir.effects import Trait

Operand: TypeAlias = Annotated[Value, "operand"]
Operands: TypeAlias = Annotated[list[Value], "operands"]
Result: TypeAlias = Annotated[Value, "result"]
Results: TypeAlias = Annotated[list[Value], "results"]
Body: TypeAlias = Annotated[Region, "region"]
Bodies: TypeAlias = Annotated[list[Region], "regions"]

OPS: dict[str, type[Op]] = {}
"""Registered op classes by name."""

_O = TypeVar("_O", bound=Op)


@dataclass(frozen=True, slots=True)
class OpSpec:
    """What an op class declares, in order."""

    operands: tuple[str, ...]
    variadic: str
    results: tuple[str, ...]
    variadic_results: str
    regions: tuple[str, ...]
    variadic_regions: str
    attributes: tuple[tuple[str, Any, Any], ...]
    """(name, type hint, default or `REQUIRED`)."""


REQUIRED = object()
SPECS: dict[str, OpSpec] = {}


def op(name: str, traits: Iterable[Trait] = ()) -> Callable[[type[_O]], type[_O]]:
    """Class decorator: register an `Op` subclass under `name` and give it typed accessors."""

    def register(cls: type[_O]) -> type[_O]:
        cls.name = name
        cls.traits = frozenset(traits)
        spec = SPECS[name] = _install(cls)
        cls.gives_results = bool(spec.results or spec.variadic_results)
        OPS[name] = cls
        return cls

    return register


def _install(cls: type[Op]) -> OpSpec:
    operands: list[str] = []
    results: list[str] = []
    regions: list[str] = []
    attributes: list[tuple[str, Any, Any]] = []
    variadic = {"operands": "", "results": "", "regions": ""}
    hints = get_type_hints(cls, include_extras=True)
    for name in inspect.get_annotations(cls):
        hint = hints[name]
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        kind = marks[0] if marks and isinstance(marks[0], str) else "attribute"
        if kind in variadic:
            variadic[kind] = name
            setattr(cls, name, _tail(kind, len({"operands": operands, "results": results}.get(kind, regions))))
        elif kind == "attribute":
            default = cls.__dict__.get(name, REQUIRED)
            attributes.append((name, hint, default))
            setattr(cls, name, _attr(name, default))
        else:
            group = {"operand": operands, "result": results, "region": regions}[kind]
            setattr(cls, name, _item(kind + "s", len(group)))
            group.append(name)
    return OpSpec(
        tuple(operands), variadic["operands"], tuple(results), variadic["results"],
        tuple(regions), variadic["regions"], tuple(attributes),
    )  # fmt: skip


def _item(group: str, index: int) -> property:
    return property(lambda self: getattr(self, group)[index])


def _tail(group: str, start: int) -> property:
    return property(lambda self: getattr(self, group)[start:])


def _attr(name: str, default: Any) -> property:
    def get(self: Op) -> Any:
        value = self.attrs.get(name, default)
        if value is REQUIRED:
            raise AttributeError(f"{self.op_name} has no attribute `{name}`")
        return value

    def put(self: Op, value: Any) -> None:
        if default is not REQUIRED and value == default:
            self.attrs.pop(name, None)
        else:
            self.attrs[name] = value

    return property(get, put)
