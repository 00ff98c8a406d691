"""Types that pydantic reads: schemas, validation and JSON of them. pydantic is loaded when the first one is met."""

from __future__ import annotations

import functools
import typing
from typing import Any, get_args, get_origin


class Invalid(ValueError):
    """A value is none of the annotated type; the message says where and why."""


def is_custom(cls: Any) -> bool:
    """Whether a class is a type with a text or content of its own in prompts: `lampc.Type`, or DSPy's."""
    return isinstance(cls, type) and hasattr(cls, "extract_custom_type_from_annotation")


def custom_types(annotation: Any) -> list[Any]:
    """The custom types in an annotation, in order, those inside the fields of other classes left out."""
    if is_custom(annotation):
        return [annotation]
    return [c for a in get_args(annotation) for c in custom_types(a)] if get_origin(annotation) is not None else []


def accepts(annotation: Any) -> bool:
    """Whether pydantic knows how to read the annotation."""
    from pydantic.errors import PydanticUserError

    try:
        adapter(annotation)
    except (PydanticUserError, TypeError, NameError):
        return False
    return True


def adapter(annotation: Any) -> Any:
    """pydantic's adapter of an annotation. Raises PydanticUserError for a type it does not know."""
    try:
        return _cached(annotation)
    except TypeError:  # not hashable
        return _adapter(annotation)


def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_readable(annotation))


_cached = functools.lru_cache(maxsize=1024)(_adapter)


def _readable(annotation: Any) -> Any:
    """`typing.TypedDict`, which pydantic does not read before Python 3.12, as that of typing_extensions."""
    args = get_args(annotation)
    if args and get_origin(annotation) is not typing.Literal:
        made = tuple(_readable(a) for a in args)
        same = all(a is b for a, b in zip(args, made, strict=True))
        return (
            annotation
            if same
            else annotation.copy_with(made)
            if hasattr(annotation, "copy_with")
            else _of(annotation, made)
        )
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        return _typed_dict(annotation)
    return annotation


def _of(annotation: Any, args: tuple[Any, ...]) -> Any:
    origin = get_origin(annotation)
    return typing.Union[args] if origin.__name__ == "UnionType" else origin[args]  # noqa: UP007


@functools.cache
def _typed_dict(cls: Any) -> Any:
    import typing_extensions

    hints = typing.get_type_hints(cls, include_extras=True)
    parts = {n: _readable(t) for n, t in hints.items()}
    parts = {n: t if n in cls.__required_keys__ else typing_extensions.NotRequired[_bare(t)] for n, t in parts.items()}
    maker: Any = typing_extensions.TypedDict
    made = maker(cls.__name__, parts)
    made.__doc__, made.__module__, made.__qualname__ = cls.__doc__, cls.__module__, cls.__qualname__
    return made


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) in (typing.Required, typing.NotRequired) else annotation


def schema(annotation: Any) -> dict[str, Any]:
    """The JSON schema of an annotation, as pydantic writes it. Raises Invalid where there is none."""
    from pydantic.errors import PydanticUserError

    try:
        found: dict[str, Any] = adapter(annotation).json_schema()
    except PydanticUserError as e:
        raise Invalid(str(e).splitlines()[0]) from None
    return found


def build(annotation: Any, value: Any) -> Any:
    """The object that a JSON value stands for. Raises Invalid."""
    from pydantic import ValidationError

    try:
        return adapter(annotation).validate_python(value, by_alias=True, by_name=True)
    except ValidationError as e:
        raise Invalid(_why(e)) from None


def dump(value: Any) -> Any:
    """The JSON of an object; what has none is its text."""
    try:
        return adapter(type(value)).dump_python(value, mode="json", fallback=_unknown, warnings=False)
    except Exception:
        return str(value)


def _unknown(value: Any) -> Any:
    """What pydantic does not know in a field of an object: arrays are lists, numpy's numbers are numbers."""
    tolist = getattr(value, "tolist", None)
    made = tolist() if callable(tolist) else None
    return made if isinstance(made, list | int | float) else str(value)


def _why(error: Any) -> str:
    """What pydantic found, each with its place, in one line."""
    found = []
    for e in error.errors(include_url=False, include_context=False)[:5]:
        at = ".".join(map(str, e["loc"]))
        found.append(f"{at}: {e['msg']}" if at else str(e["msg"]))
    return "; ".join(found)
