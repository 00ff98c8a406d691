"""Places in the user's Python: frames, spans, and the names visible there."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from lampc.ir import Span

_OURS = "lampc."


def user_frames() -> Iterator[FrameType]:
    """Frames of the caller's side, innermost first: the first frame outside of lampc and all above it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not (name == "lampc" or name.startswith(_OURS)):
            yield frame
        frame = frame.f_back


def here() -> Span:
    """The line of the user's code that is running."""
    frame = next(user_frames(), None)
    if frame is None:
        return Span("<unknown>", 1)
    return Span(frame.f_code.co_filename, frame.f_lineno, function=frame.f_code.co_name)


class Visible(Mapping[str, Any]):
    """Names that the user's code can see, looked up when asked for: locals, then globals, inner frames first."""

    def __init__(self, limit: int = 100) -> None:
        self._frames = list(itertools.islice(user_frames(), limit))

    def __getitem__(self, name: str) -> Any:
        for frame in self._frames:
            for scope in (frame.f_locals, frame.f_globals):
                if name in scope:
                    return scope[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({n for f in self._frames for scope in (f.f_locals, f.f_globals) for n in scope})

    def __len__(self) -> int:
        return sum(1 for _ in self)
