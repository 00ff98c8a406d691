"""What layouts tell of a Python annotation besides its name and JSON schema: a sketch of it, and whether it nests.

    telling(list[Passage])      ('[\\n  {\\n    title: string,\\n  }\\n]', True)

The sketch is the compact form of DSPy's BAMLAdapter: models field by field with their descriptions as comments. A
model within itself is told by its name there.
"""

from __future__ import annotations

import inspect
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_WORDS: dict[Any, str] = {str: "string", int: "int", float: "float", bool: "boolean"}
_INDENT = "  "


def telling(annotation: Any) -> tuple[str, bool]:
    """(compact schema, whether XML writes values as nested elements)."""
    return _told(annotation, 0, ()), _nests(annotation)


def is_model(cls: Any) -> bool:
    """Whether it is a class of pydantic models."""
    return isinstance(cls, type) and isinstance(getattr(cls, "model_fields", None), dict)


def _told(annotation: Any, indent: int, within: tuple[Any, ...]) -> str:
    if annotation in _WORDS:
        return _WORDS[annotation]
    if is_model(annotation):
        return str(annotation.__name__) if annotation in within else _model(annotation, indent, within)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _told(args[0], indent, within)
    if origin in (Union, types.UnionType):
        known = [_told(a, indent, within) for a in args if a is not type(None)]
        return " or ".join(known + (["null"] if len(known) < len(args) else []))
    if origin is Literal:
        return " or ".join(_member(a) for a in args)
    if origin is list and args:
        if is_model(args[0]) and args[0] not in within:
            return f"[\n{_model(args[0], indent + 1, within)}\n{_INDENT * indent}]"
        return f"{_told(args[0], indent, within)}[]"
    if origin is dict and args:
        return f"dict[{_told(args[0], indent, within)}, {_told(args[1], indent, within)}]"
    return str(getattr(annotation, "__name__", annotation))


def _member(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else f'"{value}"' if isinstance(value, str) else str(value)


def _model(cls: Any, indent: int, within: tuple[Any, ...]) -> str:
    here, inner = _INDENT * indent, _INDENT * (indent + 1)
    lines = _comments(cls, here) if indent == 0 else []
    lines.append(here + "{")
    if not cls.model_fields:
        lines.append(f"{inner}# No fields defined")
    for name, field in cls.model_fields.items():
        if field.description:
            lines.append(f"{inner}# {field.description}")
        elif field.alias and field.alias != name:
            lines.append(f"{inner}# alias: {field.alias}")
        if is_model(only := _only(field.annotation)):
            lines += _comments(only, inner)
        lines.append(f"{inner}{name}: {_told(field.annotation, indent + 1, (*within, cls))},")
    return "\n".join([*lines, here + "}"])


def _comments(cls: Any, before: str) -> list[str]:
    """A class's docstring, line by line."""
    return [f"{before}# {line.strip()}" for line in (cls.__doc__ or "").strip().split("\n") if line.strip()]


def _only(annotation: Any) -> Any:
    """T of `Optional[T]`, else the annotation itself."""
    if get_origin(annotation) in (Union, types.UnionType):
        args = [a for a in get_args(annotation) if a is not type(None)]
        if len(args) == 1:
            return args[0]
    return annotation


def _nests(annotation: Any) -> bool:
    args = [a for a in get_args(annotation) if a is not type(None)]
    if len(args) == 1 and get_origin(annotation) in (Union, types.UnionType):
        annotation = args[0]
    origin = get_origin(annotation)
    item = get_args(annotation)[0] if origin is list and get_args(annotation) else annotation
    if inspect.isclass(item) and _of_ours(item):
        return False
    return origin in (list, dict) or _is_typed_dict(annotation) or is_model(annotation)


def _is_typed_dict(annotation: Any) -> bool:
    """Of `typing`, or of typing_extensions, whose own are others before Python 3.13."""
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")


def _of_ours(cls: type) -> bool:
    """Types of values that come with this package (images, code, calls of tools) have texts of their own."""
    return cls.__module__.partition(".")[0] in ("lampc", "dspy")
