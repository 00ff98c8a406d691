"""References in JSON schemas, written out: what shows or checks a part of a schema needs no other part then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

MOST_PARTS = 100_000
"""Values of what references are written out to; each may name another several times over."""

_DATA = frozenset({"default", "enum", "const", "examples", "example"})
"""Keywords that hold values, in which nothing is a reference."""

_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords that hold schemas by name: no name among them is a keyword."""

_TOLD = frozenset(
    {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""Keywords that tell of a value, and allow or forbid none."""

_OF_THE_WHOLE = frozenset({"$ref", "$defs", "definitions", "$schema", "$id", "$anchor"})
"""Keywords that ask nothing of a value: they name schemas."""

_Part: TypeAlias = tuple[Any, tuple[str, ...], Any, Any]
"""(schema or schemas, the references it stands in, the list or dict that it is written to, where)."""


class BadReference(ValueError):
    """A schema cannot be written out; the message names the reference."""


def inlined(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A schema without `$defs`: each reference replaced by what it names in `root` (the schema itself, if there is
    none), a type inside itself by any object. Raises BadReference."""
    top = {k: v for k, v in schema.items() if k not in ("$defs", "definitions")}
    made = _Opened(schema if root is None else root).schema(top)
    return made if isinstance(made, dict) else {}


class _Asked(dict[str, Any]):
    """What is asked of a value beside a reference; `inside` are the references that it stands in itself."""

    inside: tuple[str, ...] = ()


def beside(named: Any, node: Mapping[str, Any], inside: tuple[str, ...] = ()) -> Any:
    """The schema that a reference names, with what stands beside the reference in `node`: what is told there counts
    before what is told of the schema itself, and a value must be right by both (JSON Schema 2020-12, core, 8.2.3)."""
    told = {k: v for k, v in node.items() if k in _TOLD}
    asked = _Asked({k: v for k, v in node.items() if k not in _TOLD and k not in _OF_THE_WHOLE})
    asked.inside = inside
    if named is False or not (told or asked):
        return named
    made = {**(named if isinstance(named, Mapping) else {}), **told}
    return {**made, "allOf": [*(made.get("allOf") or ()), asked]} if asked else made


class _Opened:
    """Writes out parts of one schema, however deep."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root, self.parts = root, 0

    def schema(self, top: Mapping[str, Any]) -> Any:
        made: list[Any] = [None]
        todo: list[_Part] = [(top, (), made, 0)]
        while todo:
            node, inside, place, key = todo.pop()
            inside = node.inside if isinstance(node, _Asked) else inside
            self.count(inside)
            if isinstance(node, list):
                place[key] = self.each(enumerate(node), [None] * len(node), inside, todo)
            elif not isinstance(node, Mapping):
                place[key] = node
            elif not isinstance(node.get("$ref"), str):
                place[key] = self.keywords(node, inside, todo)
            else:
                refs, named = self.end(node, inside)
                if any(ref in inside for ref in refs):
                    place[key] = beside({"type": "object"}, {k: v for k, v in node.items() if k in _TOLD})
                elif isinstance(named, Mapping):  # what leads out of the root has its reference still
                    place[key] = self.keywords(named, (*inside, *refs), todo)
                else:
                    todo.append((named, (*inside, *refs), place, key))
        return made[0]

    def keywords(self, node: Mapping[str, Any], inside: tuple[str, ...], todo: list[_Part]) -> dict[str, Any]:
        """A schema whose parts are still to be written out."""
        made = dict(node)
        for name, value in node.items():
            if name in _BY_NAME and isinstance(value, Mapping):
                made[name] = self.each(value.items(), dict(value), inside, todo)
            elif name not in _DATA:
                todo.append((value, inside, made, name))
        return made

    def each(self, parts: Iterable[tuple[Any, Any]], made: Any, inside: tuple[str, ...], todo: list[_Part]) -> Any:
        todo += [(value, inside, made, key) for key, value in parts]
        return made

    def count(self, inside: tuple[str, ...]) -> None:
        self.parts += bool(inside)
        if self.parts > MOST_PARTS:
            raise BadReference(
                f"its input schema has more than {MOST_PARTS:,} parts when each `$ref` ({inside[0]!r}, ...) is written "
                "out: let it name fewer schemas that name others several times, or leave what lies deep open"
            )

    def end(self, node: Any, inside: tuple[str, ...]) -> tuple[list[str], Any]:
        """(references, schema) at the end of references to references, with what stands beside each."""
        seen: list[str] = []
        more: list[Mapping[str, Any]] = []
        while isinstance(node, Mapping) and isinstance(ref := node.get("$ref"), str):
            if ref in seen:
                raise BadReference(
                    f"`$ref`: {ref!r} in its input schema leads back to itself with nothing in between, so it says "
                    "nothing of a value: let it name a schema that has a `type`"
                )
            if not ref.startswith("#"):
                break
            seen.append(ref)
            more.append(node)
            node = self.named(ref)
        if isinstance(node, Mapping) and node is self.root:
            node = {k: v for k, v in node.items() if k not in ("$defs", "definitions")}
        for i, one in reversed(list(enumerate(more))):
            node = beside(node, one, (*inside, *seen[:i]))
        return seen, node

    def named(self, ref: str) -> Any:
        """What a reference names; one that leads nowhere, by its last name alone, as some write them."""
        path = [p.replace("~1", "/").replace("~0", "~") for p in unquote(ref).split("/")[1:]]
        found: Any = self.root if path or ref == "#" else None
        for part in path:
            if isinstance(found, list):
                found = found[int(part)] if part.isdecimal() and int(part) < len(found) else None
            else:
                found = found.get(part) if isinstance(found, Mapping) else None
        if found is None:
            known = {**(self.root.get("definitions") or {}), **(self.root.get("$defs") or {})}
            found = known.get(path[-1]) if path else None
        if found is None:
            there = f"its `$defs` are {', '.join(known)}" if known else "it has no `$defs`"
            raise BadReference(f"`$ref`: {ref!r} in its input schema names nothing that is in it; {there}")
        return found
