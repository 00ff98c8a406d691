"""Locations: where in the user's sources an op comes from. They travel through all passes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Loc:
    """Base of all locations; by itself, an unknown one."""

    def __str__(self) -> str:
        return "unknown"

    def origin(self) -> Span | None:
        """The first place in a file that this location goes back to."""
        return None


@dataclass(frozen=True, slots=True)
class Span(Loc):
    """A range in a source file: 1-based lines and columns, the end column exclusive.

    `function` is set for Python frames.
    """

    path: str
    line: int
    column: int = 1
    end_line: int = 0
    end_column: int = 0
    function: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"

    def origin(self) -> Span | None:
        return self


@dataclass(frozen=True, slots=True)
class Derived(Loc):
    """Made by a pass out of ops at other locations."""

    by: str
    sources: tuple[Loc, ...]

    def __str__(self) -> str:
        return f"{self.by}({', '.join(map(str, self.sources))})"

    def origin(self) -> Span | None:
        return next((o for s in self.sources if (o := s.origin())), None)


UNKNOWN = Loc()
