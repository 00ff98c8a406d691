"""Tables of an evaluation for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lampc.runtime.evaluation.breakdown import Group

WORDS = 25
"""Most words of a cell that are shown."""


def print_rows(rows: Sequence[Mapping[str, Any]], metric: str, limit: int | None = None) -> None:
    """A table to standard output: the metric's column is marked, cells are cut to 25 words."""
    shown = rows if limit is None else rows[: max(limit, 0)]
    names = list(dict.fromkeys(k for r in shown for k in r))
    made = Table()
    made.add_column("", justify="right", style="dim")
    for name in names:
        made.add_column(Text(name), overflow="fold", style="bold" if name == metric else "")
    for i, r in enumerate(shown):
        style = "red" if r.get("error") else ""
        made.add_row(str(i), *(Text(_cell(r[n]) if n in r else "") for n in names), style=style)
    console = Console(file=sys.stdout)
    console.print(made)
    if len(shown) < len(rows):
        console.print(f"{len(rows) - len(shown)} more rows are not shown", highlight=False)


def print_groups(groups: Mapping[Any, Group], title: str) -> None:
    """Groups with their sizes, scores and intervals."""
    made = Table()
    made.add_column(Text(title), overflow="fold")
    for name in ("rows", "score", "95 % interval", "failed"):
        made.add_column(name, justify="right")
    for key, group in groups.items():
        found = group.interval()
        cells = (str(len(group.rows)), f"{group.score:.2f}", f"[{found.low:.1f}, {found.high:.1f}]", str(group.failed))
        made.add_row(Text(str(key)), *(Text(c) for c in cells))
    Console(file=sys.stdout).print(made)


def _cell(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    words = text.split()
    return " ".join(words[:WORDS]) + "..." if len(words) > WORDS else text
