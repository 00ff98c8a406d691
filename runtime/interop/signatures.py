"""Signatures and rows of DSPy as ours."""

from __future__ import annotations

import typing
from dataclasses import replace
from importlib import import_module
from types import GenericAlias, UnionType
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.fields import FieldInfo, InputField, OutputField
from lampc.frontend.python.signature import make_signature

_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "allow_inf_nan")


def signature_of(given: Any) -> Any:
    """A signature with the fields, texts and types of one of DSPy's."""
    fields = {name: (annotation_of(f.annotation), _field(f)) for name, f in given.fields.items()}
    return make_signature(fields, given.instructions, given.__name__)


def _field(given: Any) -> FieldInfo:
    extra = given.json_schema_extra or {}
    options: dict[str, Any] = {"desc": extra.get("desc", "")}
    for held in given.metadata:
        options.update({n: v for n in _LIMITS if (v := getattr(held, n, None)) is not None})
    if given.default_factory is not None:
        options["default_factory"] = given.default_factory
    elif not given.is_required():
        options["default"] = given.default
    make = InputField if extra.get("__dspy_field_type") == "input" else OutputField
    made: FieldInfo = make(**options)
    undefined = extra.get("IS_TYPE_UNDEFINED")
    constraints = extra.get("constraints", made.constraints)
    return replace(made, own_prefix=extra.get("prefix"), undefined=undefined, constraints=constraints)


def annotation_of(given: Any) -> Any:
    """A type, DSPy's own types (Image, History, ...) as ours, also inside of lists, dicts and unions."""
    if isinstance(given, type) and not isinstance(given, GenericAlias):
        if given.__module__.partition(".")[0] == "dspy":
            return getattr(import_module("lampc"), given.__name__, given)
        return given
    parts = typing.get_args(given)
    made = tuple(annotation_of(p) for p in parts)
    if made == parts:
        return given
    origin = typing.get_origin(given)
    if origin in (typing.Union, UnionType):
        return typing.Union[made]  # noqa: UP007 - built from parts
    return origin[made] if origin is not None else given


def example_of(given: Any) -> Example:
    """A row or demo as ours."""
    if isinstance(given, Example):
        return given
    values = dict(given) if isinstance(given, dict) else dict(given.items(include_dspy=True))
    made = Example(values)
    keys = getattr(given, "_input_keys", None)
    return made.with_inputs(*keys) if keys else made
