"""What was measured so far, so that a run that was stopped goes on: a JSON line for each result, under `out/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from program_bench.measure import Result


class Journal:
    """Results by what they are of. Only lines of the same settings count; `path` None keeps nothing."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path, json.dumps(settings, sort_keys=True)
        self._known: dict[str, Any] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue  # cut off when the run was stopped
                if record["settings"] == self._settings:
                    self._known[record["what"]] = record["value"]

    def __len__(self) -> int:
        return len(self._known)

    def result(self, what: str, make: Callable[[], Result]) -> Result:
        """The result of that name, made now if it is not known."""
        return Result(**self.value(what, lambda: asdict(make())))

    def value(self, what: str, make: Callable[[], Any]) -> Any:
        """A JSON value of that name, made now if it is not known."""
        if what not in self._known:
            self._known[what] = value = make()
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"settings": self._settings, "what": what, "value": value}) + "\n")
        return self._known[what]
