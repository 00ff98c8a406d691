"""Where a command writes: tried before any work is done, so that no result is lost for want of a place."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lampc.runtime.cli.failure import CommandError

if TYPE_CHECKING:
    from lampc.runtime.cli.sources import Loaded


def keep(out: Path, option: str, loaded: Loaded, *others: Path | None) -> None:
    """See that `out` is none of the files that the program is made of or reads. Raises CommandError naming `option`."""
    from lampc.ir.prog import DefRetriever

    read = [op.source for op in loaded.module.body.ops if isinstance(op, DefRetriever)]
    read += [data.path for data in loaded.unit.datasets.values()]
    for path in (loaded.path, *others, *(loaded.base / name for name in read)):
        if path is not None and out.exists() and path.exists() and out.samefile(path):
            raise CommandError(f"{option} {out} is the program or its data: give another file")


def replaced(path: Path, option: str, text: str) -> None:
    """See that what stands at `path`, if anything, is of the kind of `text`: begins alike, up to a comma or the end of
    a line. Raises CommandError."""
    begin = re.split(r"[\n,]", text, maxsplit=1)[0].encode()
    if path.is_file() and path.stat().st_size and not path.read_bytes().startswith(begin):
        raise CommandError(f"{option} {path} is another file, which would be lost: give another name")


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
