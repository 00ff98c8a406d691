"""Diagnostics: what is wrong, where, and how to mend it. Shared by all frontends, the verifier and the runtime.

A diagnostic is plain data; rendering it is separate. Every code has an explanation in `CODES`, printed by
`lampc explain CODE`; each package registers its own with `explain`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lampc.ir.loc import Span

CODES: dict[str, str] = {}
"""Explanation (title line, then a paragraph) of every diagnostic code."""


def there_are(names: Iterable[str], none: str = "none") -> str:
    """What there is, for a message that says what there is not: `there is a`, `there are a, b`."""
    found = list(names)
    return f"there {'is' if len(found) == 1 else 'are'} {', '.join(found) or none}"


def explain(codes: Mapping[str, str]) -> None:
    """Register explanations. Raises ValueError if a code is taken."""
    for code, text in codes.items():
        if CODES.get(code, text) != text:
            raise ValueError(f"diagnostic code {code} is taken")
        CODES[code] = text


@dataclass(frozen=True, slots=True)
class Source:
    """A source text by its path, so that lines can be shown."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A span and what to say about it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `severity` is `error`, `warning` or `note`."""

    code: str
    message: str
    primary: Label | None = None
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""
    severity: str = "error"

    def line(self) -> str:
        """One line: place, severity, code and message."""
        at = f"{self.primary.span}: " if self.primary else ""
        return f"{at}{self.severity}[{self.code}]: {self.message}"


class CompileError(Exception):
    """One or more diagnostics of severity `error`. `str()` renders them all."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Iterable[Source] = ()) -> None:
        self.diagnostics = tuple(diagnostics)
        self.sources = tuple(sources)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        return "\n\n".join(render(d, self.sources) for d in self.diagnostics)


def render(diagnostic: Diagnostic, sources: Iterable[Source] = (), *, color: bool = False) -> str:
    """Text of a diagnostic with the source lines it is about, a caret under each label.

    Raises nothing: a file that cannot be read is shown as its place only.
    """
    paint = _Paint(color)
    texts = {s.path: s.text for s in sources}
    out = [f"{paint.severity(diagnostic.severity, f'{diagnostic.severity}[{diagnostic.code}]')}: {diagnostic.message}"]
    labels = ([diagnostic.primary] if diagnostic.primary else []) + list(diagnostic.labels)
    if diagnostic.primary:
        out.append(f"  {paint.dim('-->')} {diagnostic.primary.span}")
    shown = sorted((x for x in labels if _line(texts, x.span) is not None), key=lambda x: (x.span.path, x.span.line))
    width = max((len(str(x.span.line)) for x in shown), default=1)
    if shown:
        out.append(f"{' ' * width} {paint.dim('|')}")
    previous: Span | None = None
    first = 0  # of the line that is shown: a very long one in part
    for label in shown:
        if previous and previous.path == label.span.path and label.span.line > previous.line + 1:
            out.append("...")
        line = _line(texts, label.span) or ""
        if not previous or (previous.path, previous.line) != (label.span.path, label.span.line):
            first = _first_shown(line, label.span.column)
            part = _CONTROL.sub("\ufffd", line[first : first + _SHOWN])
            out.append(f"{label.span.line:>{width}} {paint.dim('|')} {part.expandtabs(4)}")
        mark = "^" if label is diagnostic.primary else "-"
        start = _width(line[first : max(label.span.column - 1, first)])
        end_column = label.span.end_column if label.span.end_line in (0, label.span.line) else len(line) + 1
        length = max(1, _width(line[label.span.column - 1 : min(end_column - 1, first + _SHOWN)]))
        caret = paint.severity(diagnostic.severity, mark * length)
        out.append(f"{' ' * width} {paint.dim('|')} {' ' * start}{caret} {label.text}".rstrip())
        previous = label.span
    out += [f"note: {n}" for n in diagnostic.notes]
    if diagnostic.help:
        out.append(f"{paint.help('help')}: {diagnostic.help}")
    return "\n".join(out)


_SHOWN = 300
"""Most characters of a line that are shown."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What a terminal would obey instead of showing it, or cannot write."""


def _first_shown(line: str, column: int) -> int:
    """Where the shown part of a line starts, 0 unless the line is too long and `column` lies far behind."""
    return max(0, column - 1 - _SHOWN // 2) if len(line) > _SHOWN and column > _SHOWN // 2 else 0


def _line(texts: Mapping[str, str], span: Span) -> str | None:
    text = texts.get(span.path)
    if text is None:
        import linecache

        return linecache.getline(span.path, span.line).rstrip("\n") or None
    lines = text.split("\n")  # as spans count them: U+2028 or a form feed ends no line
    return lines[span.line - 1] if 0 < span.line <= len(lines) else "" if span.line == len(lines) + 1 else None


def _width(text: str) -> int:
    """Columns that `text` takes in a terminal: wide characters two, marks none, tabs to every fourth."""
    columns = 0
    for char in text:
        if char == "\t":
            columns += 4 - columns % 4
        elif not unicodedata.combining(char):
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return columns


class _Paint:
    def __init__(self, on: bool) -> None:
        self.on = on

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text

    def severity(self, kind: str, text: str) -> str:
        return self._wrap({"error": "1;31", "warning": "1;33"}.get(kind, "1;36"), text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def help(self, text: str) -> str:
        return self._wrap("1;32", text)


explain(
    {
        "L0901": "IR text does not parse\nThe text is not in the form that `lampc print --as lir` writes. The caret "
        "stands at the first token that does not fit; docs/ir.md gives the grammar.",
        "L0902": "IR text names something unknown\nA value is used before it is defined, or an attribute or type does "
        "not exist. Values are visible in the region that defines them and in regions nested in it.",
        "L0910": "IR breaks a rule\nThe verifier found an op that does not keep its declaration: wrong operand "
        "types, a missing terminator, an unknown symbol, a value used where it is not visible. After a pass this "
        "is a bug of the pass: a reproducer is written beside the message.",
    }
)
