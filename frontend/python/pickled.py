"""Signatures in pickles: a class that can be imported is its name there, any other its definition.

A definition is what `Signature("question -> answer")`, `with_instructions` and the other ways of making a signature
at run time have put together: names, instruction and fields. Another process makes the class anew out of it, and
reads every part as it reads what a user writes. Types of fields are what pickle makes of them: classes by their name.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from dataclasses import fields
from pickle import PicklingError
from typing import Any, ForwardRef, get_args, get_origin

from lampc.frontend.python.fields import MISSING, FieldInfo
from lampc.frontend.python.signature import Signature, SignatureMeta
from lampc.frontend.python.signature_text import bad_signature
from lampc.frontend.python.values.names import BadType
from lampc.frontend.python.values.reading import read
from lampc.ir import Obj

_FORMS: dict[str, Callable[[Any], bool]] = {
    "kind": lambda v: v in ("input", "output"),
    "annotation": lambda v: True,
    "description": lambda v: v is None or isinstance(v, str),
    "constraints": lambda v: isinstance(v, str),
    "limits": lambda v: isinstance(v, Obj),
    "max_tokens": lambda v: type(v) is int and v >= 0,
    "default": lambda v: True,
    "default_factory": lambda v: v is None or callable(v),
    "own_prefix": lambda v: v is None or isinstance(v, str),
    "undefined": lambda v: v in (None, True, False),
}
"""What a field's definition may say, and what each part must be."""


def reduced(signature: SignatureMeta) -> str | tuple[Any, ...]:
    """What pickle writes of a signature. Raises PicklingError for a type that is spelt as a text inside another, since
    what it names is known only where the signature was written."""
    if _imported(signature):
        return signature.__qualname__
    parts = {}
    for name, info in signature._fields.items():
        if _spelt(info.annotation):
            raise PicklingError(
                f"field `{name}` of signature `{signature.__name__}`: its type {info.annotation} names a class by a "
                "text: write the class itself, and the signature can be pickled"
            )
        said = {f.name: getattr(info, f.name) for f in fields(info) if f.name in _FORMS}
        parts[name] = {part: value for part, value in said.items() if value is not MISSING}
    names = (signature.__name__, signature.__module__, signature.__qualname__)
    order = getattr(signature, "__layout__", ((), False))
    return restored, (names, signature._instruction, signature.__doc__, order, parts)


def restored(names: Any, instruction: Any, doc: Any, order: Any, parts: Any) -> Any:
    """The signature of a definition. Nothing is imported, whatever the definition says.

    Raises ValueError for what `reduced` does not write, and what making a signature raises for types that no field has.
    """
    _check(_texts(names, 3), "its name is three texts")
    _check(instruction is None or isinstance(instruction, str), "its instruction is a text")
    _check(doc is None or isinstance(doc, str), "its docstring is a text")
    _check(type(order) is tuple and len(order) == 2 and _texts(order[0]) and type(order[1]) is bool, "its layout")
    _check(type(parts) is dict, "its fields are a dict")
    body = {
        "_fields": {name: _field(name, said) for name, said in parts.items()},
        "_instruction": instruction,
        "__doc__": doc,
        "__module__": names[1],
        "__qualname__": names[2],
        "__layout__": order,
    }
    return SignatureMeta(names[0], (Signature,), body)


def _field(name: Any, said: Any) -> FieldInfo:
    _check(isinstance(name, str) and name.isidentifier(), f"{name!r} is no name of a field")
    _check(type(said) is dict and {"kind", "annotation"} <= said.keys() <= _FORMS.keys(), f"the parts of `{name}`")
    for part, value in said.items():
        _check(_FORMS[part](value), f"`{part}` of field `{name}` cannot be {value!r}")
    _check(not _spelt(said["annotation"]), f"the type of `{name}` is a text")
    try:
        reading = read(said["annotation"], {})
    except BadType as e:
        raise bad_signature("L0702", f"field `{name}` of a pickled signature: {e}") from None
    return FieldInfo(name=name, **{**said, "annotation": reading.annotation, "reading": reading})


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"this is no pickle of a signature ({what}): pickle the signature again, with this version")


def _texts(value: Any, size: int | None = None) -> bool:
    return type(value) is tuple and size in (None, len(value)) and all(isinstance(v, str) for v in value)


def _imported(signature: SignatureMeta) -> bool:
    """Whether the class is what its module has under its name."""
    found: Any = sys.modules.get(signature.__module__)
    for part in signature.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is signature


def _spelt(annotation: Any) -> bool:
    """Whether an annotation names a class by a text, as `list["Passage"]` does. Reading a text may import a module."""
    if isinstance(annotation, str | ForwardRef):
        return True
    return get_origin(annotation) is not typing.Literal and any(_spelt(a) for a in get_args(annotation))
