"""Finished measurements, kept as they come: a run that was stopped goes on where it was.

A run is identified by machine, settings and code (of the engine and of what measures it); all its figures are of that
code on that machine. Another commit, another machine or other settings are another run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Rows:
    """Units of work by name, each a list of rows, in a file with a line per unit; broken last lines are dropped."""

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self._path = path
        self._units: dict[str, list[dict[str, Any]]] = {}
        if fresh:
            path.unlink(missing_ok=True)
        if path.exists():
            good = []
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    unit = json.loads(line)
                except ValueError:
                    continue
                self._units[unit["unit"]] = unit["rows"]
                good.append(line)
            path.write_text("".join(line + "\n" for line in good), encoding="utf-8")

    def __contains__(self, unit: str) -> bool:
        return unit in self._units

    def __getitem__(self, unit: str) -> list[dict[str, Any]]:
        return self._units[unit]

    def add(self, unit: str, rows: list[dict[str, Any]]) -> None:
        """Keeps a finished unit."""
        self._units[unit] = rows
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"unit": unit, "rows": rows}) + "\n")

    def all(self) -> list[dict[str, Any]]:
        """Every row, in the order of measurement."""
        return [row for rows in self._units.values() for row in rows]


def key(settings: Mapping[str, Any], code: str) -> str:
    """Names a run."""
    text = json.dumps(settings, sort_keys=True, default=str) + code
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest(paths: Iterable[Path]) -> str:
    """Of names and contents of files, and of all sources below folders with their places there."""
    total = hashlib.sha256()
    for path in paths:
        if path.is_dir():
            named = [(p.relative_to(path).as_posix(), p) for p in path.rglob("*") if p.suffix in (".py", ".cpp", ".h")]
        else:
            named = [(path.name, path)]
        for name, file in sorted(named):
            content = file.read_bytes()
            total.update(f"{name}\0{len(content)}\0".encode() + content)
    return total.hexdigest()[:16]
