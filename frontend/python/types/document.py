"""`Document` and `Citations`: texts that answers cite, and the places that they cite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pydantic

from lampc.frontend.python.types.base import Type
from lampc.ir.types import MEDIA
from lampc.ir.types import Type as IRType


class Document(Type):
    """A text (or a PDF as base64) that an answer may cite, for endpoints with citations."""

    __ir_type__: ClassVar[IRType] = MEDIA
    data: str
    title: str | None = None
    media_type: Literal["text/plain", "application/pdf"] = "text/plain"
    context: str | None = None

    def format(self) -> list[dict[str, Any]]:
        kind = "base64" if self.media_type == "application/pdf" else "text"
        block: dict[str, Any] = {
            "type": "document",
            "source": {"type": kind, "media_type": self.media_type, "data": self.data},
            "citations": {"enabled": True},
        }
        block |= {n: v for n in ("title", "context") if (v := getattr(self, n))}
        return [block]

    @classmethod
    def description(cls) -> str:
        return (
            "A document containing text content that can be referenced and cited. "
            "Include the full text content and optionally a title for proper referencing."
        )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        return {"data": data} if isinstance(data, str) else data

    def __str__(self) -> str:
        title = f"{self.title!r}: " if self.title else ""
        return f"Document({title}{len(self.data)} chars)"


class Citation(Type):
    """One place of one document; characters are counted from 0, the end is not part of it."""

    type: str = "char_location"
    cited_text: str
    document_index: int
    document_title: str | None = None
    start_char_index: int
    end_char_index: int
    supported_text: str | None = None

    def format(self) -> dict[str, Any]:
        needed = ("type", "cited_text", "document_index", "start_char_index", "end_char_index")
        found = {n: getattr(self, n) for n in needed}
        return found | {n: v for n in ("document_title", "supported_text") if (v := getattr(self, n))}


_Place = Citation


class Citations(Type):
    """The places that an answer cites, as an output: a list of `Citations.Citation`."""

    Citation: ClassVar[type[Citation]] = Citation
    citations: list[_Place]

    @classmethod
    def from_dict_list(cls, citations_dicts: Sequence[Mapping[str, Any]]) -> Citations:
        return cls(citations=[_Place(**c) for c in citations_dicts])

    @classmethod
    def description(cls) -> str:
        return (
            "Citations with quoted text and source references. "
            "Include the exact text being cited and information about its source."
        )

    def format(self) -> list[dict[str, Any]]:
        return [c.format() for c in self.citations]

    @pydantic.model_serializer()
    def lowered(self) -> Any:
        return {"citations": self.format()}  # places in documents, no content of a message

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        if isinstance(data, list):
            return {"citations": data}
        return {"citations": [data]} if isinstance(data, dict) and "cited_text" in data else data

    @classmethod
    def is_streamable(cls) -> bool:
        return True

    @classmethod
    def parse_lm_response(cls, response: Any) -> Citations | None:
        found = response.get("citations") if isinstance(response, dict) else None
        return cls.from_dict_list(found) if isinstance(found, list) else None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.citations)

    def __len__(self) -> int:
        return len(self.citations)

    def __getitem__(self, index: int) -> Any:
        return self.citations[index]
