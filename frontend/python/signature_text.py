"""The string form of signatures: `question, context: list[str] -> answer: int`."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from lampc.frontend.python.codes import wrong
from lampc.frontend.python.fields import FieldInfo
from lampc.frontend.python.frames import Visible
from lampc.frontend.python.values.names import KNOWN_EVERYWHERE, BadType, of_node
from lampc.frontend.python.values.reading import read
from lampc.ir import CompileError
from lampc.ir.sources import parse


class SignatureError(CompileError, ValueError):
    """A signature that cannot be read: also a ValueError, as in DSPy."""


class FieldError(CompileError, TypeError):
    """An attribute of a signature class that is no field: also a TypeError, as in DSPy."""


def bad_signature(code: str, message: str) -> CompileError:
    """The error, placed at the line that is running now."""
    found = wrong(code, message)
    return (FieldError if code == "L0703" else SignatureError)(found.diagnostics, found.sources)


def parse_fields(text: str, custom_types: Mapping[str, Any] | None = None) -> dict[str, FieldInfo]:
    """Fields of the string form; names of types are looked up in `custom_types`, then where the caller stands.

    Raises CompileError (L0701, L0702) placed at the user's line.
    """
    if not custom_types and _is_timeless(text):
        return _timeless(text)
    return _fields(text, Names(custom_types or {}), custom_types or {})


@functools.lru_cache(maxsize=4096)
def _is_timeless(text: str) -> bool:
    """Whether all names in the types of a text mean the same wherever it stands."""
    try:
        return all(
            n.id in KNOWN_EVERYWHERE
            for _, _, arg in _args(text)
            if arg.annotation is not None
            for n in ast.walk(arg.annotation)
            if isinstance(n, ast.Name)
        )
    except Exception:
        return False


@functools.lru_cache(maxsize=4096)
def _timeless(text: str) -> dict[str, FieldInfo]:
    return _fields(text, {}, {})


def _fields(text: str, names: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, FieldInfo]:
    out: dict[str, FieldInfo] = {}
    for kind, name, arg in _args(text):
        if name in out:
            raise bad_signature("L0701", f'signature "{text}" has two fields called `{name}`')
        try:
            annotation = None if arg.annotation is None else of_node(arg.annotation, names, first)
            reading = read(str if annotation is None else annotation, names)
        except BadType as e:
            raise bad_signature("L0702", f"field `{name}`: {e}") from None
        undefined = arg.annotation is None if kind == "input" else None
        out[name] = FieldInfo(kind, name, reading.annotation, reading, undefined=undefined)
    return out


@functools.lru_cache(maxsize=4096)
def _args(text: str) -> tuple[tuple[str, str, ast.arg], ...]:
    """(kind, name, syntax) of each field. Raises CompileError (L0701)."""
    found: list[tuple[str, str, ast.arg]] = []
    if text.count("->") != 1:
        raise bad_signature("L0701", f'signature "{text}" needs exactly one `->` between inputs and outputs')
    for kind, side in zip(("input", "output"), text.split("->"), strict=True):
        try:
            tree = parse(f"def f({side.strip()}): pass").body[0]
        except (SyntaxError, ValueError):
            raise bad_signature(
                "L0701", f'the {kind}s of signature "{text}" cannot be read: `{side.strip()}`'
            ) from None
        assert isinstance(tree, ast.FunctionDef)
        args = tree.args
        if args.vararg or args.kwarg or args.kwonlyargs or args.posonlyargs or args.defaults:
            raise bad_signature("L0701", f'signature "{text}": write `name` or `name: type`, nothing else')
        if not args.args and kind == "output":
            raise bad_signature("L0701", f'signature "{text}" has no outputs')
        found += [(kind, arg.arg, arg) for arg in args.args]
    return tuple(found)


class Names(Mapping[str, Any]):
    """Names of types: those given first, then what the caller's frames hold, looked at when first needed."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._frames: Visible | None = None

    @property
    def _seen(self) -> Visible:
        if self._frames is None:
            self._frames = Visible()
        return self._frames

    def __getitem__(self, key: str) -> Any:
        return self._given[key] if key in self._given else self._seen[key]

    def __iter__(self) -> Iterator[str]:
        return iter({*self._given, *self._seen})

    def __len__(self) -> int:
        return len({*self._given, *self._seen})
