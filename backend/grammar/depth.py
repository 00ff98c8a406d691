"""How deep the names of a grammar refer to each other.

llguidance follows them by recursion, on a stack that a chain of some thousand names overflows: that ends the process.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

DEEPEST = 400
_DEFINED = re.compile(r"^[ \t]*[!?]*([A-Za-z_]\w*)[^\n:\"/]*:", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w*")
_SCHEMA = re.compile(r"%json\s*(?=\{)")
_FIRST = ""  # where a chain may begin, beside all names


def depth(grammar: str) -> int:
    """Names in the longest chain of rules, terminals or `$ref`s of JSON schemas; names in texts count, too."""
    return max(_longest(_rules(grammar)), *(_longest(_references(schema)) for schema in _schemas(grammar)), 0)


def _rules(grammar: str) -> dict[str, set[str]]:
    found = list(_DEFINED.finditer(grammar))
    names = {match.group(1) for match in found}
    uses: dict[str, set[str]] = {name: set() for name in names}
    ends = [*(match.start() for match in found), len(grammar)][1:]
    for match, end in zip(found, ends, strict=True):
        body = grammar[match.end() : end]
        uses[match.group(1)] |= names.intersection(_WORD.findall(body))
    return uses


def _schemas(grammar: str) -> Iterator[Any]:
    for match in _SCHEMA.finditer(grammar):
        try:
            yield json.JSONDecoder().raw_decode(grammar, match.end())[0]
        except (ValueError, RecursionError):  # llguidance says what is wrong, and bounds what is nested
            continue


def _references(schema: Any) -> dict[str, set[str]]:
    """By JSON pointer, `$ref`s within what it points to."""
    uses = {_FIRST: set(_refs(schema))}
    todo = [*uses[_FIRST]]
    while todo:
        name = todo.pop()
        if name not in uses:
            uses[name] = set(_refs(_at(schema, name)))
            todo += uses[name]
    return uses


def _at(schema: Any, pointer: str) -> Any:
    if pointer != "#" and not pointer.startswith("#/"):
        return None
    for part in pointer.removeprefix("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, Mapping):
            schema = schema.get(part)
        elif isinstance(schema, list) and part.isdecimal() and int(part) < len(schema):
            schema = schema[int(part)]
        else:
            return None
    return schema


def _refs(part: Any) -> Iterator[str]:
    todo = [part]
    while todo:
        part = todo.pop()
        if isinstance(part, Mapping):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            todo += [value for name, value in part.items() if name not in ("$defs", "definitions")]
        elif isinstance(part, list):
            todo += part


def _longest(uses: Mapping[str, Iterable[str]]) -> int:
    """The longest path; what leads back to where it came from ends one."""
    depths: dict[str, int] = {}
    for first in uses:
        path = [(first, iter(uses[first]))] if first not in depths else []
        under = {first}
        while path:
            name, rest = path[-1]
            following = next((n for n in rest if n in uses and n not in depths and n not in under), None)
            if following is not None:
                path.append((following, iter(uses[following])))
                under.add(following)
                continue
            depths[name] = 1 + max((depths[n] for n in uses[name] if n in depths), default=0)
            under.discard(name)
            path.pop()
    return max(depths.values(), default=0)
