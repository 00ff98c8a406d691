"""Collecting diagnostics, so that one compilation reports everything it found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from lampc.ir import CompileError, Diagnostic, Label, Source, Span


class Reporter:
    """Gathers findings; the same finding at the same place is kept once."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []
        self.sources: dict[str, Source] = {}
        self._seen: set[tuple[str, Span | None, str]] = set()

    def add_source(self, path: str, text: str) -> None:
        self.sources[path] = Source(path, text)

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        *,
        help: str = "",
        also: Iterable[tuple[Span, str]] = (),
        notes: Iterable[str] = (),
    ) -> None:
        """Note an error at `span`; `also` are further places with what to say about them."""
        self._add("error", code, message, span, label, help, also, notes)

    def warn(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        *,
        help: str = "",
        also: Iterable[tuple[Span, str]] = (),
        notes: Iterable[str] = (),
    ) -> None:
        """Note a warning at `span`."""
        self._add("warning", code, message, span, label, help, also, notes)

    def too_deep(self, path: str, text: str) -> None:
        """Note that a file is nested beyond what can be followed; its longest line is the most likely place."""
        lines = text.split("\n")
        at = max(range(len(lines)), key=lambda i: len(lines[i]))
        self.error("L0108", "this file is nested too deeply", Span(path, at + 1, 1), help="name parts by `let`")

    def _add(
        self,
        severity: str,
        code: str,
        message: str,
        span: Span,
        label: str,
        help: str,
        also: Iterable[tuple[Span, str]],
        notes: Iterable[str],
    ) -> None:
        message, label = readable(message), readable(label)
        key = (code, span, message)
        if key in self._seen:
            return
        self._seen.add(key)
        labels = tuple(Label(s, t) for s, t in also)
        self.found.append(Diagnostic(code, message, Label(span, label), labels, tuple(notes), help, severity))

    @property
    def failed(self) -> bool:
        return any(d.severity == "error" for d in self.found)

    def ordered(self, severity: str = "") -> list[Diagnostic]:
        """Findings by place: the main file first, then the others in the order in which they were read."""
        rank = {path: i for i, path in enumerate(self.sources)}

        def place(d: Diagnostic) -> tuple[int, int, int]:
            span = d.primary.span if d.primary else Span("", 0)
            return rank.get(span.path, len(rank)), span.line, span.column

        return sorted((d for d in self.found if severity in ("", d.severity)), key=place)

    def raise_if_failed(self) -> None:
        """Raise CompileError with all errors if there is one. Warnings wait: some are echoes of errors."""
        if self.failed:
            raise CompileError(self.ordered("error"), self.sources.values())


_CHOICE = re.compile(r'choice\[((?:"(?:[^"\\]|\\.)*"(?:, )?)*)\]')
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_MAYBE = re.compile(r"opt\[([^\[\]]*)\]")


def readable(message: str) -> str:
    """A message with types as the language writes them: `"a" | "b"` for `choice["a", "b"]`, `T?` for `opt[T]`."""
    out = _CHOICE.sub(lambda m: " | ".join(_TEXT.findall(m.group(1))), message)
    while _MAYBE.search(out):
        out = _MAYBE.sub(lambda m: f"({m.group(1)})?" if " | " in m.group(1) else f"{m.group(1)}?", out)
    return re.sub(r"got '([^'\"]*)'$", r'got "\1"', out)


def suggest(name: str, known: Iterable[str]) -> str:
    """A help text naming the known name most like `name`, or "" if none is."""
    pool = sorted(set(known))
    close = difflib.get_close_matches(name, pool, n=1, cutoff=0.6)
    if not close:
        close = [k for k in pool if k.lower() == name.lower()][:1]
    return f"did you mean `{close[0]}`?" if close else ""


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in backticks with commas, cut after `most`."""
    shown = list(names)
    text = ", ".join(f"`{n}`" for n in shown[:most])
    return text + (", ..." if len(shown) > most else "")
