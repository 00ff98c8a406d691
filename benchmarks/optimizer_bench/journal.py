"""What was measured, a line each: an interrupted benchmark goes on with what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """Records by key in a file. Those of other `settings` (sizes, versions, this commit) are left alone."""

    def __init__(self, path: Path, settings: dict[str, Any], *, fresh: bool = False) -> None:
        self._path, self._settings = path, json.dumps(settings, sort_keys=True)
        self._known: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            found = json.loads(line)
        except ValueError:  # cut where the benchmark was killed
            return
        if found["settings"] == self._settings:
            self._known[found["key"]] = found["value"]

    def once(self, key: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        """The value of a key, measured by `work` if it is not known."""
        name = json.dumps(key)
        if name not in self._known:
            value = work()
            line = json.dumps({"settings": self._settings, "key": name, "value": value})
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            self._known[name] = value
        return self._known[name]
