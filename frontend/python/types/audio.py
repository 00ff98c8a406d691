"""`Audio`: a recording in a prompt."""

from __future__ import annotations

import base64
import io
import warnings
import wave
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from lampc.frontend.python.types.base import Type
from lampc.frontend.python.types.encoding import content_of, fetch, read
from lampc.ir.types import MEDIA
from lampc.ir.types import Type as IRType


class Audio(Type):
    """A recording: a data URI, bytes (`audio_format=` says which), an array, or base64 as `data` with its format.

    Making one neither reads files nor fetches anything: `from_path`, `from_url` and `from_array` do.
    """

    __ir_type__: ClassVar[IRType] = MEDIA
    data: str
    audio_format: str

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    def __init__(self, source: Any = None, /, **data: Any) -> None:
        if source is not None:
            if "data" in data:
                raise TypeError("Audio takes a source or `data`, not both")
            rate, kind = data.pop("sampling_rate", None), data.pop("audio_format", None)
            if kind is not None and not isinstance(source, bytes) and not hasattr(source, "shape"):
                raise TypeError("this source of Audio has its own format: leave audio_format out")
            if rate is not None and not hasattr(source, "shape"):
                raise TypeError("sampling_rate is for arrays")
            data = {**_read(source, rate or 16000, kind or "wav"), **data}
        super().__init__(**data)

    def format(self) -> list[dict[str, Any]]:
        return [{"type": "input_audio", "input_audio": {"data": self.data, "format": self.audio_format}}]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else _read(data, 16000, "wav")

    @classmethod
    def from_url(cls, url: str, verify: bool = True, timeout: float | None = 30.0) -> Self:
        """Fetch a recording now. Raises ValueError as `encoding.fetch` does, and if it is no audio."""
        content, mime = fetch(url, verify, timeout)
        return cls._of(content, mime or "audio/wav", url)

    @classmethod
    def from_path(cls, file_path: str | Path) -> Self:
        """Read a recording from a file. Raises ValueError if there is none or its name says of no audio."""
        content, mime = read(file_path)
        return cls._of(content, mime, file_path)

    @classmethod
    def from_file(cls, file_path: str | Path) -> Self:
        """The former name of `from_path`."""
        warnings.warn("Audio.from_file is now Audio.from_path", DeprecationWarning, stacklevel=2)
        return cls.from_path(file_path)

    @classmethod
    def from_array(cls, array: Any, sampling_rate: int, format: str = "wav") -> Self:
        """Samples between -1 and 1, shape (frames,) or (frames, channels), as 16-bit WAV. Other formats need the
        package soundfile. Raises ImportError without it."""
        return cls(**_of_array(array, sampling_rate, format))

    @classmethod
    def _of(cls, content: bytes, mime: str | None, place: Any) -> Self:
        if not (mime or "").startswith("audio/"):
            raise ValueError(f"{place} is {mime or 'of no known kind'}, not audio")
        return cls(data=_base64(content), audio_format=_kind(str(mime)))

    def __repr__(self) -> str:
        return f"Audio(<{len(self.data)} characters>, audio_format={self.audio_format!r})"

    __str__ = __repr__


def _read(source: Any, rate: int, kind: str) -> dict[str, str]:
    match source:
        case {"data": str(data), "audio_format": str(kind)}:
            return {"data": data, "audio_format": kind}
        case Audio():
            return {"data": source.data, "audio_format": source.audio_format}
        case bytes():
            return {"data": _base64(source), "audio_format": kind}
        case str() as text if text.startswith("data:audio/"):
            head, comma, data = text.partition(",")
            mime = head.removeprefix("data:").split(";", 1)[0]
            if not comma or mime == "audio/":
                raise ValueError("this data URI of audio lacks its format or its data")
            return {"data": data, "audio_format": _kind(mime)}
        case str():
            raise ValueError("a text is audio only as a data URI; see Audio.from_path(...) and Audio.from_url(...)")
    if hasattr(source, "shape"):
        return _of_array(source, rate, kind)
    raise ValueError(f"audio is a data URI, bytes, an array or base64 with its format, not {content_of(source)}")


def _of_array(array: Any, rate: int, kind: str) -> dict[str, str]:
    out = io.BytesIO()
    if kind == "wav":
        import numpy as np

        samples = np.asarray(array)
        if not np.issubdtype(samples.dtype, np.integer):
            samples = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
        with wave.open(out, "wb") as file:
            file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.astype("<i2").tobytes())
    else:
        try:
            import soundfile  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            raise ImportError(f"audio as {kind} needs the package soundfile; format='wav' does not") from None
        soundfile.write(out, array, rate, format=kind.upper(), subtype="PCM_16")
    return {"data": _base64(out.getvalue()), "audio_format": kind}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _kind(mime: str) -> str:
    return mime.partition("/")[2].removeprefix("x-")
