"""Where adapters lie, and how one comes there: written beside, moved to its place when it is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lampc.runtime.cache import default_folder
from lampc.runtime.locks import FileLock, LockTaken
from lampc.runtime.models import ModelError

REPORT = "training.json"
STATE = "state.safetensors"


class AdapterFolder:
    """The place of the adapter that a training of this `key` gives, which names all that decides the result."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self._work = path.with_name(path.name + ".partial")
        self._lock: FileLock | None = None

    @staticmethod
    def under(store: Path | None, output_dir: str, name: str, key: str) -> AdapterFolder:
        """`output_dir` itself, else a folder of its own beside the store, or in the cache if there is none on disk."""
        if output_dir:
            return AdapterFolder(Path(output_dir).expanduser().resolve(), key)
        home = default_folder() if store is None else store.parent
        return AdapterFolder((home / "adapters" / f"{name}-{key[:12]}").resolve(), key)

    def report(self) -> dict[str, Any] | None:
        """What was written down when the adapter was finished; None if it is not. Raises ModelError if something else
        is in its place."""
        if not self.path.exists():
            return None
        try:
            found = json.loads((self.path / REPORT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("key") != self.key:
            raise ModelError(f"{self.path}: something else is there; give another output_dir, or move it away")
        return found

    def begin(self) -> Path:
        """Take the place; gives the path of the state, which is there if a training was stopped. Raises ModelError."""
        try:
            self._work.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._work / "lock")
        except LockTaken as e:
            raise ModelError(f"{self.path}: process {e.pid or 'unknown'} is training it; wait for its end") from None
        except OSError as e:
            raise ModelError(f"{self._work}: cannot be written: {e.strerror}; give another output_dir") from None
        return self._work / f"{self.key[:12]}-{STATE}"

    def finish(self, save: Callable[[Path], None], report: Mapping[str, Any]) -> None:
        """Write the adapter by `save` and its report, and move both to their place."""
        made = self._work / "adapter"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        save(made)
        (made / REPORT).write_text(json.dumps({**report, "key": self.key}, indent=2) + "\n", encoding="utf-8")
        made.replace(self.path)
        shutil.rmtree(self._work, ignore_errors=True)

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
