"""What changed between two programs, as HTML: texts with what went and what came, demos as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lampc.runtime.reports.changes import Changes, DemoRow, PredictorChange
from lampc.runtime.reports.data import Report
from lampc.runtime.reports.svg import text
from lampc.runtime.reports.words import Edit

MOST = 20_000
"""About how many characters of a text, and of the demos of a predictor, are shown."""
_TAGS = {"=": ("", ""), "-": ("<del>", "</del>"), "+": ("<ins>", "</ins>")}


def changes_html(report: Report) -> str:
    """All predictors: what changed first."""
    changes = report.changes
    if changes is None:
        return "<p>The program as it was found is not kept with this run, so that nothing can be set against it.</p>"
    if not changes.changed:
        return "<p>Nothing: no candidate was better than the program as found.</p>"
    out = [_parameters(changes.parameters)]
    out += [_predictor(p) for p in changes.predictors if p.changed]
    same = [p.name for p in changes.predictors if not p.changed]
    out += [f"<p class='soft'>Unchanged: {text(', '.join(same))}.</p>"] if same else []
    out.append(_alone(changes))
    return "".join(out)


def _alone(changes: Changes) -> str:
    out = ""
    for names, where in ((changes.only_before, "before"), (changes.only_after, "after")):
        out += f"<p>Only {where}: {text(', '.join(names))}.</p>" if names else ""
    return out


def _predictor(p: PredictorChange) -> str:
    out = [f"<h3>{text(p.name)}</h3>"]
    if any(kind != "=" for kind, _ in p.instruction):
        out.append(f'<h4>Instruction</h4><div class="text">{_edits(p.instruction)}</div>')
    if any(d.kind != "=" for d in p.demos):
        counts = {kind: sum(d.kind == kind for d in p.demos) for kind in "=-+"}
        said = f"{counts['='] + counts['-']} before, {counts['='] + counts['+']} after"
        out.append(f'<h4>Demos: {said}</h4><div class="scroll">{_demos(p.demos)}</div>')
    out.append(_parameters(p.parameters))
    if any(kind != "=" for kind, _ in p.prompt):
        out.append(
            "<details><summary>The prompt, with inputs as {name}</summary>"
            f'<div class="text">{_edits(p.prompt)}</div></details>'
        )
    return "".join(out)


def _edits(edits: Sequence[Edit]) -> str:
    out, left = [], MOST
    for kind, piece in edits:
        cut = piece[:left]
        out.append(_TAGS[kind][0] + text(cut) + _TAGS[kind][1])
        left -= len(cut)
        if left <= 0:
            return "".join(out) + " … (cut)"
    return "".join(out)


def _demos(demos: Sequence[DemoRow]) -> str:
    names = list(dict.fromkeys(name for d in demos for name in d.values))
    head = "".join(f"<th>{text(n)}</th>" for n in ("", *names, ""))
    kinds = {"-": "gone", "+": "come", "=": ""}
    rows, left = [], MOST
    for d in demos:
        cells = [_value(d.values.get(n, "")) for n in names]
        left -= sum(map(len, cells))
        if left < 0:
            rows.append(f'<tr><td></td><td colspan="{len(names) + 1}">… (cut)</td></tr>')
            break
        made = "".join(f"<td>{text(c)}</td>" for c in cells)
        sign, source = d.kind if d.kind != "=" else "", "from a run" if d.augmented else ""
        rows.append(f'<tr class="{kinds[d.kind]}"><td class="sign">{sign}</td>{made}<td>{source}</td></tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _parameters(found: Sequence[tuple[str, Any, Any]]) -> str:
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{text(name)}</td><td><del>{text(_value(a))}</del></td><td><ins>{text(_value(b))}</ins></td></tr>"
        for name, a, b in found
    )
    heads = "<tr><th>parameter</th><th>before</th><th>after</th></tr>"
    return f"<table><thead>{heads}</thead><tbody>{rows}</tbody></table>"
