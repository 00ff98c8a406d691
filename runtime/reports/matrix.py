"""The trial matrix: a line for each trial, a column for each row of the select split, coloured by what was done.

Rows that do not fit are drawn in bins: a bin is filled from below by the shares of its rows that were computed, reused
and cut, so that area is rows. Trials that do not fit are left out evenly, and the picture says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lampc.runtime.reports.charts import described
from lampc.runtime.reports.data import COMPUTED, CUT, NOT_ASKED, REUSED, Report, Trial
from lampc.runtime.reports.svg import mark, svg, text

NAMES = {COMPUTED: "computed", REUSED: "reused", CUT: "cut", NOT_ASKED: "not asked"}
COLUMNS, LINES = 160, 150
"""Most bins of rows and most trials that are drawn."""
_WIDTH, _LEFT, _SCORES = 860.0, 46.0, 102.0


def totals(report: Report) -> dict[str, int]:
    """How many cells of the table are of each kind, by name."""
    counts: Counter[str] = Counter()
    for t in report.trials:
        counts.update(t.states)
    return {name: counts[letter] for letter, name in NAMES.items()}


def matrix(report: Report) -> str:
    """The picture; empty if the run kept no states of rows."""
    kept = [t for t in report.trials if t.states.strip(NOT_ASKED)]
    if not kept:
        return ""
    step = -(-len(kept) // LINES)
    drawn = [t for i, t in enumerate(kept) if i % step == 0 or t.role]
    rows = max(len(t.states) for t in drawn)
    bins = min(rows, COLUMNS)
    high = min(14.0, max(3.0, 420.0 / len(drawn)))
    wide = _WIDTH - _LEFT - _SCORES
    parts, top = [], 18.0
    every = max(1, round(12 / high))
    for i, t in enumerate(drawn):
        y = top + i * high
        parts.append(mark("".join(_line(t, rows, bins, y, high, wide)), f"{described(t)}. {_counted(t)}"))
        if i % every == 0:
            parts.append(
                f'<text class="tick" x="{_LEFT - 6}" y="{y + high / 2 + 3.5:.1f}" text-anchor="end">{t.number}</text>'
            )
        if t.score is not None:
            bar = max(0.0, min(t.score, 100.0)) / 100 * (_SCORES - 46)
            kind = t.role or "whole"
            parts.append(
                f'<rect class="bar {kind}" x="{_WIDTH - _SCORES + 8:.1f}" y="{y + high * 0.12:.1f}" '
                f'width="{bar:.1f}" height="{high * 0.76:.1f}"/>'
            )
            if t.role or high >= 11:
                parts.append(
                    f'<text class="tick" x="{_WIDTH:.1f}" y="{y + high / 2 + 3.5:.1f}" text-anchor="end">'
                    f"{t.score:.1f}</text>"
                )
    end = top + len(drawn) * high
    parts.append(f'<text class="name" x="{_LEFT}" y="12">rows 1 to {rows:,}</text>')
    parts.append(f'<text class="name" x="{_WIDTH - _SCORES + 8}" y="12">score</text>')
    parts.append(f'<text class="name" x="0" y="12">{text("trial")}</text>')
    label = f"{len(drawn)} of {len(kept)} trials by {rows} rows: computed, reused, cut, not asked"
    return svg(_WIDTH, end + 4, label, parts)


def _counted(t: Trial) -> str:
    counts = Counter(t.states)
    return ", ".join(f"{counts[letter]} {name}" for letter, name in NAMES.items() if counts[letter])


def _line(t: Trial, rows: int, bins: int, y: float, high: float, wide: float) -> list[str]:
    """One path for each kind of cell of a trial."""
    tall = high - (0.6 if high > 4 else 0.0)
    states = t.states.ljust(rows, NOT_ASKED)
    edges = [_LEFT + rows * i // bins / rows * wide for i in range(bins + 1)]
    counts = [Counter(states[rows * i // bins : rows * (i + 1) // bins]) for i in range(bins)]
    sizes = [max(1, rows * (i + 1) // bins - rows * i // bins) for i in range(bins)]
    below = [y + tall] * bins
    out = []
    for letter in (COMPUTED, REUSED, CUT):
        if letter not in t.states:
            continue
        above = [b - c[letter] / n * tall for b, c, n in zip(below, counts, sizes, strict=True)]
        out.append(f'<path class="cell {NAMES[letter]}" d="{_area(edges, below, above)}"/>')
        below = above
    return out


def _area(edges: Sequence[float], below: Sequence[float], above: Sequence[float]) -> str:
    """Rectangles from `below` up to `above`, between `edges`; neighbours of the same size are one."""
    out, i, n = [], 0, len(below)
    while i < n:
        end = i + 1
        while end < n and (below[end], above[end]) == (below[i], above[i]):
            end += 1
        high, wide = below[i] - above[i], edges[end] - edges[i]
        if high > 0.01:
            out.append(f"M{edges[i]:.1f} {above[i]:.1f}h{wide:.1f}v{high:.1f}h-{wide:.1f}z")
        i = end
    return "".join(out)
