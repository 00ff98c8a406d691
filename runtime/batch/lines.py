"""Lines of the input: one JSON object each, with a prompt and options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.backend.options import Wanted

PROMPTS = ("prompt", "messages", "ids")


@dataclass(frozen=True, slots=True)
class Line:
    """A request. `number` counts from 1, `at` is where it begins in the file, in bytes; `key` names all that its
    result depends on."""

    number: int
    at: int
    id: Any
    key: str
    prompt: Any
    want: Wanted


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that asks for nothing that can be done, and why."""

    number: int
    at: int
    id: Any
    key: str
    message: str


class Lines:
    """The requests of a file, in its order; empty lines are passed over.

    `defaults` are options for lines that do not say otherwise, `model` is the digest of the engine. Nothing is kept
    in memory. Raises OSError.
    """

    def __init__(self, path: Path, defaults: Mapping[str, Any], model: str) -> None:
        self.path = path
        self._defaults, self._model = dict(defaults), model

    def __iter__(self) -> Iterator[Line | BadLine]:
        return self.after((1, 0))

    def after(self, place: tuple[int, int]) -> Iterator[Line | BadLine]:
        """All from the line of a place, (number, at), on."""
        first, at = place
        with self.path.open("rb") as file:
            file.seek(at)
            for number, raw in enumerate(file, first):
                if _bare(raw):
                    yield self._read(raw, number, at)
                at += len(raw)

    def read(self, places: Iterable[tuple[int, int]]) -> Iterator[Line | BadLine]:
        """Those lines that have the given (number, at), in that order."""
        with self.path.open("rb") as file:
            for number, at in places:
                file.seek(at)
                yield self._read(file.readline(), number, at)

    def _read(self, raw: bytes, number: int, at: int) -> Line | BadLine:
        raw = _bare(raw)
        fields: Any = None
        try:
            fields = _fields(raw)
            prompt, want = _request(fields, self._defaults)
        except (TypeError, ValueError) as error:
            id = fields.get("id") if isinstance(fields, dict) else None
            return BadLine(number, at, id, self._key(raw.hex()), str(error))
        return Line(number, at, fields.get("id"), self._key(fields), prompt, want)

    def _key(self, fields: object) -> str:
        """16 hex digits over everything that a result depends on."""
        known = json.dumps([self._model, _sorted(fields), _sorted(self._defaults)])
        return blake2b(known.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _sorted(fields: object) -> object:
    """Options in one order; not what is within them, where order says something (the keys of a schema)."""
    return sorted(fields.items()) if isinstance(fields, Mapping) else fields


def _bare(raw: bytes) -> bytes:
    return raw.strip().removeprefix(b"\xef\xbb\xbf")  # editors of one system put that mark before a file's text


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start + 1} of the line)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: nested too deep") from None
    if not isinstance(fields, dict):
        raise ValueError('give a JSON object, such as {"prompt": "Hello"}')
    return fields


def _request(fields: dict[str, Any], defaults: Mapping[str, Any]) -> tuple[Any, Wanted]:
    from lampc.backend.errors import UnknownOption
    from lampc.backend.options import OPTIONS, wanted

    for name in fields:
        if name not in OPTIONS and name not in (*PROMPTS, "id"):
            raise UnknownOption(name, [*OPTIONS, *PROMPTS, "id"], "a line")
    given = [name for name in PROMPTS if name in fields]
    if len(given) != 1:
        raise ValueError(f"{' and '.join(given) or 'no prompt'}; give one of prompt, messages, ids")
    name, prompt = given[0], fields[given[0]]
    if name == "prompt" and not isinstance(prompt, str):
        raise ValueError(f"prompt is {prompt!r:.60}; give a text (or token ids as ids, a conversation as messages)")
    if name == "ids" and not (isinstance(prompt, list) and all(type(i) is int for i in prompt)):
        raise ValueError(f"ids is {prompt!r:.60}; give a list of token ids")
    if name == "messages" and not (isinstance(prompt, list) and prompt and all(isinstance(m, dict) for m in prompt)):
        raise ValueError(f"messages is {prompt!r:.60}; give a list of objects with role and content")
    if not isinstance(fields.get("id"), str | int | None):
        raise ValueError(f"id is {fields['id']!r:.60}; give a text or a whole number")
    options = {k: v for k, v in fields.items() if k in OPTIONS}
    return prompt, wanted(None, {**defaults, **options}, "a line")
