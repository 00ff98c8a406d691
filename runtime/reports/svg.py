"""Small parts of charts: scales with round ticks, numbers as people read them, elements with classes.

Charts take their colours from the page's style sheet (light and dark) and need no script: what a mark stands for is
in its `<title>`, and marks that matter are links to their rows in the table, so that the keyboard reaches them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from lampc.runtime.pictures.svg import printable


@dataclass(frozen=True, slots=True)
class Scale:
    """From values in [low, high] to pixels in [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        return self.start + (value - self.low) / span * (self.end - self.start) if span else self.start


TENS = tuple(m * 10.0**e for e in range(-6, 15) for m in (1, 2, 2.5, 5))
WHOLE = tuple(s for s in TENS if s >= 1 and s != 2.5)
_MINUTES, _HOURS = (1, 2, 5, 10, 20, 30), (1, 2, 4, 8, 12, 24, 48, 96, 192)
TIMES = (
    *(s for s in TENS if s < 10 and s not in (0.25, 2.5)), 10.0, 20.0, 30.0,
    *(60.0 * m for m in _MINUTES), *(3600.0 * h for h in _HOURS),
)  # fmt: skip
"""Steps between ticks: of numbers, of counts, of seconds."""


def ticks(low: float, high: float, count: int = 5, steps: Sequence[float] = TENS) -> list[float]:
    """About `count` round numbers in [low, high], one of `steps` apart."""
    if high <= low:
        return [low]
    raw = (high - low) / max(count, 1)
    step = next((s for s in steps if s >= raw * 0.999), raw)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """`950`, `1.2k`, `34k`, `5.6M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.3g}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3.5 min`, `2.1 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds else "0 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def text(value: object) -> str:
    """Text that may stand in the page."""
    return escape(printable(str(value)))


def attribute(value: object) -> str:
    """A quoted attribute value."""
    return quoteattr(printable(str(value)))


def svg(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """A picture of that size that shrinks with the page; `label` is what it shows, in words."""
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="group" aria-label={attribute(label)}>'
    return "\n".join([head, *parts, "</svg>"])


def axes(
    x: Scale, y: Scale, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], name: str
) -> list[str]:
    """Grid lines, tick labels, and the name of the horizontal axis below."""
    out = []
    for value, label in y_ticks:
        at = y(value)
        out.append(f'<path class="grid" d="M{x.start:.1f} {at:.1f}H{x.end:.1f}"/>')
        out.append(
            f'<text class="tick" x="{x.start - 6:.1f}" y="{at + 3.5:.1f}" text-anchor="end">{text(label)}</text>'
        )
    bottom = max(y.start, y.end)
    out.append(f'<path class="axis" d="M{x.start:.1f} {bottom:.1f}H{x.end:.1f}"/>')
    for value, label in x_ticks:
        at = x(value)
        out.append(f'<path class="axis" d="M{at:.1f} {bottom:.1f}v4"/>')
        out.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{text(label)}</text>')
    middle = (x.start + x.end) / 2
    out.append(f'<text class="name" x="{middle:.1f}" y="{bottom + 33:.1f}" text-anchor="middle">{text(name)}</text>')
    return out


def mark(inner: str, title: str, href: str = "") -> str:
    """A mark with what it stands for; one with `href` is a link that the keyboard reaches."""
    body = f"<title>{text(title)}</title>{inner}"
    return f"<a href={attribute(href)} aria-label={attribute(title)}>{body}</a>" if href else f"<g>{body}</g>"
