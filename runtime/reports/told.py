"""Changes and scores as lines for a terminal."""

from __future__ import annotations

import json
from typing import Any

from lampc.runtime.report import Interval
from lampc.runtime.reports.changes import Changes, PredictorChange
from lampc.runtime.reports.words import plain


def changes_text(changes: Changes, *, color: bool = False, prompts: bool = False) -> str:
    """What changed: instructions word by word, demos as lists, the rest by value. Empty if nothing did.

    With `prompts` the lines of the prompts that differ, too.
    """
    out = [f"only before: {name}" for name in changes.only_before]
    out += [f"only after: {name}" for name in changes.only_after]
    for p in changes.predictors:
        out += _predictor(p, color, prompts)
    out += [f"{name}: {_value(a)} -> {_value(b)}" for name, a, b in changes.parameters]
    return "\n".join(out)


def _predictor(p: PredictorChange, color: bool, prompts: bool) -> list[str]:
    out: list[str] = []
    if any(kind != "=" for kind, _ in p.instruction):
        text = plain(p.instruction, color)
        out += [f"{p.name}.instruction", *(f"  {line}" for line in text.splitlines())]
    if any(d.kind != "=" for d in p.demos):
        before, after = (sum(d.kind != sign for d in p.demos) for sign in "+-")
        out.append(f"{p.name}.demos: {before} -> {after}")
        for d in p.demos:
            if d.kind != "=":
                values = ", ".join(f"{k}: {v!r}" for k, v in d.values.items())
                out.append(_marked(f"  {d.kind} {values}{'  (from a run)' if d.augmented else ''}", d.kind, color))
    out += [f"{p.name}.{name}: {_value(a)} -> {_value(b)}" for name, a, b in p.parameters]
    if prompts and any(kind != "=" for kind, _ in p.prompt):
        out.append(f"{p.name}: what it sends")
        for kind, text in p.prompt:
            sign = " " if kind == "=" else kind
            out += [_marked(f"  {sign} {line}", kind, color) for line in text.splitlines()]
    return out


def _marked(line: str, kind: str, color: bool) -> str:
    code = {"-": "31", "+": "32"}.get(kind, "") if color else ""
    return f"\x1b[{code}m{line}\x1b[0m" if code else line


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def gain_text(gain: Interval, rows: int) -> str:
    """A paired gain in words."""
    sure = "" if gain.low > 0 or gain.high < 0 else "; it may be chance"
    return f"{gain.mean:+.1f} on the same {rows} rows (95 %: {gain.low:+.1f} to {gain.high:+.1f}{sure})"
