"""Where a command writes: tried before any work is done, so that no result is lost for want of a place."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lampc.runtime.cli.failure import CommandError


def writable(path: Path, option: str) -> None:
    """Make the folder of `path` and see that a file can be written there. Raises CommandError naming `option`."""
    if path.is_dir():
        raise CommandError(f"{option} {path}: this is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as e:
        raise CommandError(f"{option} {path}: nothing can be written there: {e.strerror or e}") from None
    if path.exists() and not os.access(path, os.W_OK):
        raise CommandError(f"{option} {path}: this file is write-protected; give another name")
