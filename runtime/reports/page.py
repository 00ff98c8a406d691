"""The report as one page: it opens from a disk, asks nothing of any server, and runs no script.

Charts are SVG in the page, in light and in dark; what a mark stands for is its title, and marks that matter lead to
their rows in the table of trials. A page keeps about 1.5 MB: longer tables and texts are cut, and it says so.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from pathlib import Path

from lampc.runtime.report import Interval
from lampc.runtime.reports.charts import front_chart, score_charts
from lampc.runtime.reports.data import SCHEMA, Report, Trial
from lampc.runtime.reports.differences import changes_html
from lampc.runtime.reports.matrix import NAMES, matrix, totals
from lampc.runtime.reports.svg import attribute, duration, short, text

_KINDS = {"run": "runs for traces", "teach": "runs of the teacher"}
_FOLDER = Path(__file__).parent
TRIALS, NOTE, LINKS = 600, 240, 20
"""Most trials in the table, most characters of a note, most links to trials of the front."""


def write_html(report: Report) -> str:
    """HTML text of the page."""
    parts = [("summary", "Summary", _tiles(report)), ("score", "Score", _scores(report))]
    parts.append(("front", "Score against tokens", _front(report)))
    parts.append(("matrix", "Trial matrix", _matrix(report)))
    parts.append(("changes", "What changed", changes_html(report)))
    parts.append(("gates", "Gated changes", _gates(report)))
    parts.append(("cost", "Cost", _cost(report)))
    parts.append(("trials", "Trials", _trials(report)))
    if report.errors:
        parts.append(("failures", "Failures", _failures(report)))
    body = [
        f'<section id="{name}" aria-label={attribute(title)}>'
        + (f"<h2>{text(title)}</h2>" if name != "summary" else "")
        + f"{inner}</section>"
        for name, title, inner in parts
        if inner
    ]
    values = {
        "title": text(f"{report.program or report.name}: optimisation"),
        "css": (_FOLDER / "report.css").read_text(encoding="utf-8").strip(),
        "about": _about(report),
        "nav": "".join(f'<a href="#{n}">{text(t)}</a>' for n, t, inner in parts if inner and n != "summary"),
        "body": "\n".join(body),
        "footer": text(
            f"{SCHEMA}; intervals are 95 %, by bootstrap over rows; the page needs no network and no script"
        ),
    }
    frame = (_FOLDER / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], frame)


def _about(report: Report) -> str:
    said = [report.name] if report.program and report.program != report.name else []
    said += [" then ".join(report.steps)] if report.steps else []
    said += [f"by {report.metric}"] if report.metric else []
    said += [f"on {report.rows:,} rows"] if report.rows else []
    said += [f"model {report.model}"] if report.model else []
    said += [f"seed {report.seed}"]
    if report.started is not None:
        day = datetime.datetime.fromtimestamp(report.started, datetime.UTC)
        said.append(day.strftime("%Y-%m-%d %H:%M UTC"))
    states = {"unfinished": "Not finished: the same command goes on.", "stopped": ""}
    state = states.get(report.state, "")
    if report.stopped:
        state = f"Stopped early: the budget of {report.stopped} was spent."
    return f'<p class="soft">{text("; ".join(said))}</p>' + (f"<p><strong>{text(state)}</strong></p>" if state else "")


def _tile(value: str, label: str, more: str = "", kind: str = "") -> str:
    extra = f"<span>{text(more)}</span>" if more else ""
    return f'<div class="tile {kind}"><b>{text(value)}</b><span>{text(label)}</span>{extra}</div>'


def _within(interval: Interval | None) -> str:
    return f"{interval.low:.1f} to {interval.high:.1f}" if interval else ""


def _gain(gain: Interval, label: str) -> str:
    sure = "good" if gain.low > 0 else "bad" if gain.high < 0 else ""
    return _tile(f"{gain.mean:+.1f}", label, _signed(gain), sure)


def _tiles(report: Report) -> str:
    out = []
    if report.before is not None:
        out.append(_tile(f"{report.before:.1f}", "score before", _within(report.before_interval)))
    if report.after is not None:
        out.append(_tile(f"{report.after:.1f}", "score after", _within(report.after_interval)))
    if report.gain is not None:
        out.append(_gain(report.gain, "gain on the rows it was chosen by"))
    elif report.before is not None and report.after is not None:
        out.append(_tile(f"{report.after - report.before:+.1f}", "gain"))
    if report.unseen is not None:
        out.append(_gain(report.unseen.gain, f"gain on {len(report.unseen.before):,} unseen rows"))
    c = report.cost
    out.append(_tile(short(len(report.trials)), "trials", f"{c.runs:,} runs of the program"))
    if c.calls:
        out.append(_tile(short(c.calls), "calls"))
    if c.prompt or c.generated:
        spent = f"{short(c.computed)} computed, {short(c.generated)} written"
        out.append(_tile(short(c.prompt + c.generated), "tokens", spent))
    if c.seconds:
        out.append(_tile(duration(c.seconds), "time"))
    if c.money is not None:
        out.append(_tile(f"{c.money:.4g}", "money"))
    return f'<div class="tiles">{"".join(out)}</div>'


def _gates(report: Report) -> str:
    rows = "".join(
        f"<tr><td><code>{text(r.change)}</code></td><td>{text(str(r))}</td><td>{text(r.why)}</td></tr>"
        for r in report.gates
    )
    heads = "<tr><th>change</th><th>mean difference [95 %]</th><th>what decided</th></tr>"
    return f'<div class="scroll"><table><thead>{heads}</thead><tbody>{rows}</tbody></table></div>' if rows else ""


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{text(caption)}</figcaption></figure>"


def _scores(report: Report) -> str:
    charts = [_figure(picture, caption) for caption, picture in score_charts(report)]
    if not charts:
        return "<p>No trial was scored.</p>"
    partly = any(t.score is not None and not t.whole for t in report.trials)
    legend = (
        '<ul class="legend">'
        + _key("dot start", "the program as found", True)
        + _key("dot whole", "a trial on all rows", True)
        + (_key("dot part", "a trial on some rows", True) if partly else "")
        + _key("dot result", "the result", True)
        + "</ul><p class='soft'>The line is the best score so far.</p>"
    )
    return f'{legend}<div class="charts">{"".join(charts)}</div>'


def _key(kind: str, label: str, round_: bool = False) -> str:
    shape = (
        f'<circle class="{kind}" cx="6" cy="6" r="5"/>' if round_ else f'<rect class="{kind}" width="12" height="12"/>'
    )
    return f'<li><svg viewBox="0 0 12 12" aria-hidden="true">{shape}</svg>{text(label)}</li>'


def _front(report: Report) -> str:
    picture = front_chart(report)
    if not picture:
        return ""
    said = "Up is better, left is cheaper. No trial beats one on the line in score and tokens at once: "
    links = ", ".join(f'<a href="#t{n}">trial {n}</a>' for n in report.front[:LINKS])
    more = f" and {len(report.front) - LINKS} more" if len(report.front) > LINKS else ""
    return f"<p>{said}{links}{more}.</p><figure>{picture}</figure>"


def _matrix(report: Report) -> str:
    picture = matrix(report)
    if not picture:
        return ""
    counts = totals(report)
    wanted = sum(n for name, n in counts.items() if name != "not asked") or 1
    keys = "".join(
        _key(f"cell {name}", f"{name}: {counts[name]:,} ({100 * counts[name] / wanted:.0f} %)")
        for name in NAMES.values()
        if name != "not asked" and counts[name]
    )
    return f'<ul class="legend">{keys}</ul><figure>{picture}</figure>'


def _cost(report: Report) -> str:
    c = report.cost
    heads = ("", "calls", "prompt tokens", "computed", "reused", "from the journal", "generated")
    rows: list[tuple[str | int, ...]] = [("all", c.calls, c.prompt, c.computed, c.cached, c.stored, c.generated)]
    for name, n in sorted(c.nodes.items()):
        counts = ("calls", "prompt_tokens", "computed_tokens", "cached_tokens", "stored_tokens", "generated_tokens")
        rows.append((name, *(int(n.get(key, 0)) for key in counts)))
    out = [[str(r[0]), *(f"{v:,}" for v in r[1:])] for r in rows]
    said = f"{c.runs:,} runs of the program in {duration(c.seconds)}"
    said += f", {c.money:.4g} of money" if c.money is not None else ""
    note = "<p class='soft'>Counts of predictors are those of the process that ran last.</p>" if len(rows) > 1 else ""
    return f'<p>{text(said)}.</p><div class="scroll">{_table(heads, out)}</div>{note}'


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th class="{"number" if i else ""}">{text(h)}</th>' for i, h in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f'<td class="{"number" if i else ""}">{text(v)}</td>' for i, v in enumerate(r)) + "</tr>"
        for r in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _trials(report: Report) -> str:
    shown = report.trials[:TRIALS]
    kept = {t.number for t in shown}
    shown += [t for t in report.trials[TRIALS:] if t.role or t.number in report.front]
    heads = ["trial", "step", "score", "interval", "gain", "rows", "tokens a row", "from", "what"]
    numbers = {"trial", "score", "rows", "tokens a row"}
    head = "".join(f'<th class="{"number" if h in numbers else ""}">{h}</th>' for h in heads)
    body = "".join(_trial_row(t, kept) for t in shown)
    left = len(report.trials) - len(shown)
    note = f"<p>{left:,} further trials are left out here; the JSON has them all.</p>" if left > 0 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="tall" tabindex="0" role="region" aria-label="Table of trials">{table}</div>{note}'


def _trial_row(t: Trial, kept: set[int]) -> str:
    score = "" if t.score is None else f"{t.score:.1f}"
    gain = f"{t.gain.mean:+.1f} ({_signed(t.gain)})" if t.gain else ""
    tokens = "" if t.tokens is None else f"{t.tokens:,.0f}"
    parents = ", ".join(f'<a href="#t{p}">{p}</a>' if p in kept else str(p) for p in t.parents)
    note = t.note if len(t.note) <= NOTE else t.note[: NOTE - 1] + "…"
    role = f"<strong>{t.role}</strong> " if t.role else f"<em>{_KINDS[t.kind]}</em> " if t.kind in _KINDS else ""
    rows = f"{t.rows:,}" if t.rows else ""
    return (
        f'<tr id="t{t.number}" class="{t.role}"><td class="number">{t.number}</td><td>{text(t.step)}</td>'
        f'<td class="number">{score}</td><td class="number">{_within(t.interval)}</td><td class="number">{gain}</td>'
        f'<td class="number">{rows}</td><td class="number">{tokens}</td><td>{parents}</td>'
        f'<td class="note">{role}{text(note)}</td></tr>'
    )


def _signed(interval: Interval) -> str:
    return f"{interval.low:+.1f} to {interval.high:+.1f}"


def _failures(report: Report) -> str:
    items = "".join(f"<li>{text(f[:400])}</li>" for f in report.failures)
    return f"<p>{report.errors:,} runs failed and scored 0. The first of them:</p><ul>{items}</ul>"
