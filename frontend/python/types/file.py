"""`File`: a document in a prompt, for endpoints that read files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from lampc.frontend.python.types.base import Type
from lampc.frontend.python.types.encoding import content_of, data_uri, read, shortened
from lampc.ir.types import MEDIA
from lampc.ir.types import Type as IRType

_PARTS = ("file_data", "file_id", "filename")
_UNKNOWN = "application/octet-stream"


class File(Type):
    """A file: its content as a data URI, or the id of one that was uploaded to the endpoint before.

    `File.from_path("paper.pdf")`, `File(data_uri)`, `File(pdf_bytes)`, `File.from_file_id("file-123")`.
    """

    __ir_type__: ClassVar[IRType] = MEDIA
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None

    model_config = pydantic.ConfigDict(frozen=True, str_strip_whitespace=True, extra="forbid")

    def __init__(self, source: Any = None, /, **data: Any) -> None:
        if source is not None:
            found = _read(source)
            if twice := sorted(set(found) & set(data)):
                raise TypeError(f"File has {' and '.join(twice)} from the source and by name")
            data = {**found, **data}
        super().__init__(**data)

    def format(self) -> list[dict[str, Any]]:
        return [{"type": "file", "file": {n: v for n in _PARTS if (v := getattr(self, n))}}]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        return _read(data)

    @classmethod
    def from_path(cls, file_path: str | Path, filename: str | None = None, mime_type: str | None = None) -> Self:
        """Read a file. Raises ValueError if there is none."""
        content, mime = read(file_path)
        return cls(
            file_data=data_uri(content, mime_type or mime or _UNKNOWN), filename=filename or Path(file_path).name
        )

    @classmethod
    def from_bytes(cls, file_bytes: bytes, filename: str | None = None, mime_type: str = _UNKNOWN) -> Self:
        return cls(file_data=data_uri(file_bytes, mime_type), filename=filename)

    @classmethod
    def from_file_id(cls, file_id: str, filename: str | None = None) -> Self:
        """A file that the endpoint has already."""
        return cls(file_id=file_id, filename=filename)

    def __repr__(self) -> str:
        data = self.file_data or ""
        shown = [f"file_data={shortened(data)}"] if data else []
        shown += [f"{n}={v!r}" for n in _PARTS[1:] if (v := getattr(self, n)) is not None]
        return f"File({', '.join(shown)})"

    __str__ = __repr__


def _read(source: Any) -> dict[str, Any]:
    match source:
        case File():
            return {n: v for n in _PARTS if (v := getattr(source, n)) is not None}
        case dict():
            if not set(source) & set(_PARTS):
                raise ValueError("a file has file_data, file_id or filename")
            return dict(source)
        case str() as text if text.startswith("data:"):
            return {"file_data": text}
        case str():
            raise ValueError("a text is a file only as a data URI; read one by File.from_path(...)")
        case bytes() as content:
            return {"file_data": data_uri(content, _UNKNOWN)}
    raise ValueError(f"a file is a data URI, bytes, or file_data, file_id and filename, not {content_of(source)}")
