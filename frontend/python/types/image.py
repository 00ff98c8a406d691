"""`Image`: a picture in a prompt."""

from __future__ import annotations

import io
import mimetypes
import warnings
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from lampc.frontend.python.types.base import Type
from lampc.frontend.python.types.encoding import content_of, data_uri, fetch, is_url, read, shortened
from lampc.ir.types import MEDIA
from lampc.ir.types import Type as IRType

_STARTS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_UNSET: Any = object()


class Image(Type):
    """A picture: a URL that the endpoint fetches, a data URI, bytes, or an image of Pillow.

    `Image("https://...")`, `Image(png_bytes)`, `Image.from_path("cat.png")`. Making one neither reads files nor
    fetches anything: that is what `from_path` and `from_url` are for. `download=True` fetches, as `from_url` does.
    """

    __ir_type__: ClassVar[IRType] = MEDIA
    url: str

    model_config = pydantic.ConfigDict(frozen=True, str_strip_whitespace=True, extra="forbid")

    def __init__(self, source: Any = None, /, *, download: Any = _UNSET, verify: Any = _UNSET, **data: Any) -> None:
        asked = download is not _UNSET or verify is not _UNSET
        if asked and source is None:
            raise TypeError("`download` and `verify` go with a source: Image(url, download=True)")
        if source is not None and "url" in data:
            raise TypeError("Image takes a source or `url`, not both")
        if asked:
            warnings.warn("write Image.from_url(url) to fetch an image", DeprecationWarning, stacklevel=2)
            if download is True and isinstance(source, str) and is_url(source):
                source = _fetched(source, verify is not False, 30.0)
        if source is not None:
            data["url"] = source["url"] if isinstance(source, dict) and set(source) == {"url"} else source
        if "url" in data:
            data["url"] = _uri(data["url"])
        super().__init__(**data)

    def format(self) -> list[dict[str, Any]]:
        return [{"type": "image_url", "image_url": {"url": self.url}}]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        if isinstance(data, dict | cls):
            return data
        return {"url": _uri(data)}

    @classmethod
    def from_url(cls, url: str, verify: bool = True, timeout: float | None = 30.0) -> Self:
        """Fetch an image now. Raises ValueError as `encoding.fetch` does."""
        return cls(_fetched(url, verify, timeout))

    @classmethod
    def from_path(cls, file_path: str | Path) -> Self:
        """Read an image from a file. Raises ValueError if there is none, or of no known kind."""
        content, mime = read(file_path)
        mime = mime or _mime(content)
        if mime is None:
            raise ValueError(f"the kind of image of {file_path} is not known: end its name in .png, .jpg, ...")
        return cls(data_uri(content, mime))

    @classmethod
    def from_file(cls, file_path: str | Path) -> Self:
        """The former name of `from_path`."""
        warnings.warn("Image.from_file is now Image.from_path", DeprecationWarning, stacklevel=2)
        return cls.from_path(file_path)

    @classmethod
    def from_PIL(cls, pil_image: Any) -> Self:
        """An image of Pillow; `Image(pil_image)` does the same."""
        return cls(pil_image)

    def __repr__(self) -> str:
        return f"Image({shortened(self.url) if self.url.startswith('data:') else repr(self.url)})"

    __str__ = __repr__


def _uri(source: Any) -> str:
    match source:
        case Image():
            return source.url
        case {"url": inner}:
            return _uri(inner)
        case str() as text:
            text = text.strip()
            if text.startswith("data:") or is_url(text, ("http", "https", "gs")):
                return text
            raise ValueError(f"{text[:80]!r} is neither a URL nor a data URI; read a file by Image.from_path(...)")
        case bytes() as content:
            mime = _mime(content)
            if mime is None:
                raise ValueError("these bytes are no PNG, JPEG, GIF, WebP or BMP image")
            return data_uri(content, mime)
    if hasattr(source, "save") and hasattr(source, "format"):  # Pillow's
        kind = source.format or "PNG"
        out = io.BytesIO()
        source.save(out, format=kind)
        mime = mimetypes.guess_type(f"x.{kind.lower()}")[0]
        if mime is None:
            raise ValueError(f"the image format {kind} has no media type")
        return data_uri(out.getvalue(), mime)
    raise ValueError(f"an image is a URL, a data URI, bytes or an image of Pillow, not {content_of(source)}")


def _mime(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[:2] == b"BM" and len(content) > 14:
        return "image/bmp"
    return next((mime for start, mime in _STARTS if content.startswith(start)), None)


def _fetched(url: str, verify: bool, timeout: float | None) -> str:
    content, mime = fetch(url, verify, timeout)
    mime = mime or _mime(content)
    if mime is None:
        raise ValueError(f"{url} does not say what kind of image it is")
    return data_uri(content, mime)
