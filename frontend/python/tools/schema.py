"""JSON schemas of a function's parameters, and arguments checked against them and cast to the annotated types.

Schemas are pydantic's, checks are jsonschema's; both libraries are loaded when the first schema is needed.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from lampc.frontend.python.tools.references import inlined

_BY_NAME = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


def parameters(function: Callable[..., Any], described: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(JSON schema by parameter, type by parameter), in the order of the function's signature."""
    spec = inspect.signature(function).parameters
    hints = type_hints(function)
    types = {name: hints.get(name, Any) for name in spec}
    schemas = {}
    for name, parameter in spec.items():
        schema = schema_of(types[name])
        if parameter.default is not inspect.Parameter.empty:
            schema["default"] = as_default(parameter.default)
        if name in described:
            schema["description"] = described[name]
        schemas[name] = schema
    return schemas, types


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Types by parameter: names are looked up in the user's frames too, what is unknown is left out."""
    from lampc.frontend.python.frames import Visible

    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        pass
    out: dict[str, Any] = {}
    names = {**vars(typing), **Visible(), **getattr(function, "__globals__", {})}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        try:
            out[name] = eval(annotation, names) if isinstance(annotation, str) else annotation
        except Exception:
            continue
    return out


def schema_of(annotation: Any) -> dict[str, Any]:
    """The JSON schema of a type, references written out; `{}` (anything) for what has none."""
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    if annotation is Any:
        return {}
    try:
        return inlined(TypeAdapter(annotation).json_schema())
    except (PydanticSchemaGenerationError, PydanticUserError):
        return {}


def as_default(value: Any) -> Any:
    """The default of a parameter as JSON has it; a value that JSON cannot hold stays as it is."""
    from pydantic_core import to_jsonable_python

    if isinstance(value, Decimal):
        return float(value)
    try:
        return to_jsonable_python(value)
    except Exception:
        return value


def from_input_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """(schemas, types, descriptions) by argument out of the input schema that a tool of elsewhere declares. Raises
    BadReference, a ValueError, for references that name nothing, or lead back to themselves."""
    whole = inlined({"$ref": "#"}, schema) if "$ref" in schema and not schema.get("properties") else schema
    definitions = schema.get("$defs") or {}
    required = whole.get("required", ())
    schemas, types, described = {}, {}, {}
    for name, given in (whole.get("properties") or {}).items():
        own = (given.get("$defs") if isinstance(given, Mapping) else None) or {}
        one = {} if isinstance(given, bool) else inlined(given, {**schema, "$defs": {**definitions, **own}})
        kind = one.get("type")
        schemas[name] = one
        types[name] = _BY_NAME.get(kind, Any) if isinstance(kind, str) else Any
        described[name] = one.get("description", "No description provided.") + (
            " (Required)" if name in required else ""
        )
    return schemas, types, described


class Arguments:
    """Checks and casts the arguments of one tool; what is expensive to build is built once per argument."""

    def __init__(self, schemas: Mapping[str, Any], types: Mapping[str, Any], extra: bool) -> None:
        self.schemas, self.types, self.extra = schemas, types, extra
        self._checks: dict[str, Callable[[Any], str]] = {}
        self._casts: dict[str, Callable[[Any], Any]] = {}

    def parsed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in their annotated types. Raises ValueError naming the argument that is wrong."""
        for name, value in given.items():
            if name not in self.schemas:
                if not self.extra:
                    raise ValueError(f"Arg {name} is not in the tool's args.")
            elif why := self._check(name)(value):
                raise ValueError(f"Arg {name} is invalid: {why}")
        return {name: self._cast(name)(value) for name, value in given.items()}

    def _check(self, name: str) -> Callable[[Any], str]:
        if name not in self._checks:
            self._checks[name] = _checker(self.schemas[name])
        return self._checks[name]

    def _cast(self, name: str) -> Callable[[Any], Any]:
        if name not in self._casts:
            self._casts[name] = _caster(self.types.get(name, Any))
        return self._casts[name]


def _checker(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """A function from a value to what is wrong with it, "" if nothing is."""
    if schema.get("type") in (None, "Any"):
        return lambda value: ""
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for

    validator = validator_for(schema)(schema)

    def check(value: Any) -> str:
        plain = value.model_dump() if hasattr(value, "model_dump") else value
        error = best_match(validator.iter_errors(plain))
        return "" if error is None else str(error.message)

    return check


def _caster(annotation: Any) -> Callable[[Any], Any]:
    if annotation is Any:
        return lambda value: value
    from pydantic import create_model
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        model = create_model("Wrapper", value=(annotation, ...))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return lambda value: value
    return lambda value: model.model_validate({"value": value}).value  # type: ignore[attr-defined]
