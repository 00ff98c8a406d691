"""What a field's annotation says: its IR type, how prompts show it, and the objects that its JSON stands for."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from lampc.frontend.python.annotations import TypeReader, member
from lampc.frontend.python.telling import telling
from lampc.frontend.python.values import foreign
from lampc.frontend.python.values.names import BadType, of_text, shown
from lampc.frontend.python.values.plain import plain
from lampc.ir import Shape, freeze
from lampc.ir.hostvalues import without_odd_defaults
from lampc.ir.types import ANY, BOOL, FLOAT, INT, STR, ListOf, Type


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """An annotation, read. `native`: its values are JSON themselves; `held`: a program's graph can stand for them."""

    annotation: Any
    type: Type
    native: bool = True
    held: bool = True

    def lift(self, value: Any) -> Any:
        """The object that a JSON value stands for. Raises ValueError, saying why it stands for none."""
        if self.native:
            return value
        if _is_enum(self.annotation):
            return member(self.annotation, value)
        return foreign.build(self.annotation, without_odd_defaults(value, self.type))

    def shape(self, output: bool) -> Shape | None:
        """How prompts show the type; None if the IR type says it all. Inputs are never asked for, so they need no
        schema. Raises BadType for an output whose type has no JSON schema."""
        if _evident(self.annotation):
            return None
        form, options, names = self._form()
        about = tuple((shown(c), text) for c in foreign.custom_types(self.annotation) if (text := str(c.description())))
        schema = None
        if output and form not in ("history", "text"):
            try:
                schema = freeze(foreign.schema(self.annotation))
            except foreign.Invalid as e:
                raise BadType(
                    f"`{shown(self.annotation)}` has no JSON schema, so no model can be asked for it: {e}"
                ) from None
        sketch, nested = telling(self.annotation) if output else ("", False)
        return Shape(shown(self.annotation), form, options, names, schema, about, sketch, nested)

    def _form(self) -> tuple[str, tuple[Any, ...], tuple[str, ...]]:
        a = self.annotation
        if _is_enum(a):
            return "enum", tuple(freeze(plain(m.value)) for m in a), tuple(m.name for m in a)
        if get_origin(a) is typing.Literal:
            return "literal", tuple(freeze(plain(v)) for v in get_args(a)), ()
        if foreign.is_custom(a):
            return getattr(a, "__prompt_form__", "custom"), (), ()
        return getattr(a, "__prompt_form__", "schema"), (), ()


def read(annotation: Any, names: Mapping[str, Any]) -> Reading:
    """Read an annotation; texts in it are looked up in `names`. What `Annotated` says besides the type is dropped, as
    DSPy does. Raises BadType."""
    if isinstance(annotation, str):
        annotation = of_text(annotation, names)
    while get_origin(annotation) is typing.Annotated:
        annotation = get_args(annotation)[0]
    try:
        known = _SIMPLE.get(annotation)
    except TypeError:
        known = None
    if known is not None:
        return known
    reader = TypeReader(names)
    return Reading(annotation, reader.read(annotation), reader.native, reader.held)


_SIMPLE: dict[Any, Reading] = {
    t: Reading(t, i)
    for t, i in (
        (str, STR), (int, INT), (float, FLOAT), (bool, BOOL), (Any, ANY), (list[str], ListOf(STR)),
        (list[int], ListOf(INT)), (list[float], ListOf(FLOAT)),
    )
}  # fmt: skip


def _evident(annotation: Any) -> bool:
    """Whether the IR type of an annotation says all that a prompt shows of it."""
    if annotation in (str, int, float, bool):
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal:
        return all(isinstance(a, str) and not isinstance(a, enum.Enum) for a in args)
    if origin in (typing.Union, types.UnionType):
        return len(args) == 2 and args[1] is type(None) and _evident(args[0])
    if origin is dict and len(args) == 2:
        return args[0] is str and _evident(args[1])
    return origin is list and len(args) == 1 and _evident(args[0])


def _is_enum(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)
