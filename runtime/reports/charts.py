"""Charts of an optimisation: score as it was spent for, and score against tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lampc.runtime.reports.data import Report, Trial
from lampc.runtime.reports.svg import TIMES, WHOLE, Scale, axes, duration, mark, short, svg, ticks

WIDTH, HEIGHT = 400.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 14.0, 22.0, 42.0
MOST = 400
"""Most trials drawn one by one; of more the better ones and an even choice of the rest."""


def score_charts(report: Report) -> list[tuple[str, str]]:
    """(caption, SVG) for each thing that a run spends and that was noted; by number of trial if none was."""
    scored = [t for t in report.trials if t.score is not None]
    if not scored:
        return []
    ways: list[tuple[str, Callable[[Trial], float | None], Callable[[float], str]]] = [
        ("runs of the program", lambda t: t.spent.runs if t.spent else None, short),
        ("tokens", lambda t: t.spent.tokens if t.spent else None, short),
        ("time", lambda t: t.spent.seconds if t.spent else None, duration),
    ]
    out = []
    for name, spent, written in ways:
        known = [(v, t) for t in scored if (v := spent(t)) is not None]
        if len(known) == len(scored) and known[-1][0] > 0:
            out.append((f"Score over {name}", _score_chart(report, known, name, written)))
    if not out:
        numbered = [(float(t.number), t) for t in scored]
        out.append(("Score by trial", _score_chart(report, numbered, "trial", short)))
    return out


def _score_chart(
    report: Report, points: Sequence[tuple[float, Trial]], name: str, written: Callable[[float], str]
) -> str:
    low, high = _range([t for _, t in points])
    most = max(v for v, _ in points) or 1.0
    x, y = Scale(0, most, _LEFT, WIDTH - _RIGHT), Scale(low, high, HEIGHT - _BOTTOM, _TOP)
    round_ = ticks(0, most, 4, TIMES if written is duration else WHOLE)
    parts = axes(x, y, [(v, written(v)) for v in round_], [(v, f"{v:g}") for v in ticks(low, high)], name)
    if report.before is not None:
        at = y(report.before)
        parts.append(f'<path class="baseline" d="M{x.start:.1f} {at:.1f}H{x.end:.1f}"/>')
    parts.append(f'<path class="best" d="{_steps(points, x, y)}"/>')
    best = float("-inf")
    for value, t in _chosen(points):
        assert t.score is not None
        better = t.whole and t.score > best
        best = max(best, t.score) if t.whole else best
        parts.append(_dot(t, x(value), y(t.score), better))
    top = max((t.score or 0 for _, t in points if t.whole), default=None)
    if top is not None:
        parts.append(f'<text class="said" x="{x.end:.1f}" y="{y(top) - 8:.1f}" text-anchor="end">best {top:.1f}</text>')
    if report.before is not None and (top is None or abs(y(report.before) - y(top)) > 14):
        below = y(report.before) + (13 if y(report.before) + 13 < y.start else -5)
        parts.append(
            f'<text class="said" x="{x.end:.1f}" y="{below:.1f}" text-anchor="end">start {report.before:.1f}</text>'
        )
    label = f"Score of {len(points)} trials over {name}, from {low:g} to {high:g}"
    return svg(WIDTH, HEIGHT, label, parts)


def _steps(points: Sequence[tuple[float, Trial]], x: Scale, y: Scale) -> str:
    """The best score so far, of trials on all rows."""
    out, best = "", None
    for value, t in points:
        if not t.whole or t.score is None or (best is not None and t.score <= best):
            continue
        out += f"M{x(value):.1f} {y(t.score):.1f}" if best is None else f"H{x(value):.1f}V{y(t.score):.1f}"
        best = t.score
    return f"{out}H{x.end:.1f}" if out else ""


def _chosen(points: Sequence[tuple[float, Trial]]) -> list[tuple[float, Trial]]:
    if len(points) <= MOST:
        return list(points)
    best, keep = float("-inf"), set()
    for i, (_, t) in enumerate(points):
        if t.whole and t.score is not None and t.score > best:
            best = t.score
            keep.add(i)
    keep |= set(range(0, len(points), -(-len(points) // MOST)))
    return [points[i] for i in sorted(keep)]


def _dot(t: Trial, x: float, y: float, link: bool) -> str:
    kind = t.role or ("whole" if t.whole else "part")
    size = 5.5 if t.role else 4 if t.whole else 2.8
    circle = f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    return mark(circle, described(t), f"#t{t.number}" if link or t.role else "")


def described(t: Trial) -> str:
    """A trial in one line."""
    parts = [f"trial {t.number}", t.step]
    if t.score is not None:
        interval = f" [{t.interval.low:.1f}, {t.interval.high:.1f}]" if t.interval else ""
        parts.append(f"score {t.score:.1f}{interval}" + ("" if t.whole else f" on {t.rows} rows"))
    if t.tokens is not None:
        parts.append(f"{t.tokens:,.0f} tokens a row")
    if t.spent is not None:
        parts.append(f"after {t.spent.runs:,} runs")
    note = " ".join(t.note.split())
    return ", ".join(parts) + (f": {note[:90]}" if note else "")


def _range(trials: Sequence[Trial]) -> tuple[float, float]:
    """From below the least to above the greatest score, in round numbers within 0 to 100."""
    scores = [t.score for t in trials if t.score is not None]
    low, high = min(scores), max(scores)
    margin = max((high - low) * 0.12, 2.0)
    step = 5.0 if high - low < 40 else 10.0
    low, high = (low - margin) // step * step, -(-(high + margin) // step) * step
    return (max(low, 0.0) if min(scores) >= 0 else low), (min(high, 100.0) if max(scores) <= 100 else high)


def front_chart(report: Report) -> str:
    """Score against tokens of a row, the front as a line; empty if fewer than two trials have both."""
    points = [(t.tokens, t) for t in report.trials if t.tokens is not None and t.score is not None]
    if len(points) < 2:
        return ""
    width, height = 860.0, 300.0
    low, high = _range([t for _, t in points])
    least, most = min(v for v, _ in points), max(v for v, _ in points)
    margin = (most - least) * 0.06 or max(most * 0.05, 1.0)
    x = Scale(max(0.0, least - margin), most + margin, _LEFT, width - _RIGHT)
    y = Scale(low, high, height - _BOTTOM, _TOP)
    marks = [(v, short(v)) for v in ticks(x.low, x.high, 6)]
    parts = axes(x, y, marks, [(v, f"{v:g}") for v in ticks(low, high)], "tokens a row (prompt and generated)")
    by_number = {t.number: t for t in report.trials}
    line = ""
    for number in report.front:
        t = by_number[number]
        assert t.tokens is not None
        assert t.score is not None
        line += f"M{x(t.tokens):.1f} {y(t.score):.1f}" if not line else f"H{x(t.tokens):.1f}V{y(t.score):.1f}"
    parts.append(f'<path class="front" d="{line}{f"H{x.end:.1f}" if line else ""}"/>')
    chosen = _chosen(points)
    parts += [_dot(t, x(v), y(t.score or 0), t.number in report.front) for v, t in chosen if not t.role]
    for value, t in points:
        if not t.role:
            continue
        parts.append(_dot(t, x(value), y(t.score or 0), True))
        anchor = "start" if x(value) < width * 0.15 else "end" if x(value) > width * 0.85 else "middle"
        parts.append(
            f'<text class="said" x="{x(value):.1f}" y="{y(t.score or 0) - 10:.1f}" text-anchor="{anchor}">'
            f"{t.role} {t.score:.1f}</text>"
        )
    label = f"Score against tokens a row of {len(points)} trials; {len(report.front)} of them are on the front"
    return svg(width, height, label, parts)
