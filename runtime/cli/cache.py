"""`lampc cache`: what the call cache on disk holds, and an end of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Action(StrEnum):
    """What to do with the cache."""

    STATS = "stats"
    CLEAR = "clear"


def cache(
    action: Annotated[Action, typer.Argument(help="stats: what is in it; clear: forget all answers.")],
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="The folder (default: LAMPC_CACHE_DIR, or the user's).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What the call cache on disk holds, or an end of it. Programs may be running meanwhile.

    \b
    Examples:
      lampc cache stats
      lampc cache clear --dir out/cache
    """
    import json

    from lampc.runtime.cache import DiskCache, default_folder

    disk = DiskCache(folder if folder is not None else default_folder())
    try:
        if action is Action.CLEAR:
            found = {"path": str(disk.path), "cleared": disk.clear()}
            text = f"{found['cleared']} answers forgotten ({disk.path})"
        else:
            stats = disk.stats()
            found = {"path": str(disk.path), **stats}
            age = stats["oldest_seconds"]
            sizes = f"{stats['bytes']:,} bytes used, {stats['file_bytes']:,} on disk"
            text = f"{disk.path}\n{stats['records']} answers, {sizes}"
            if age is not None:
                text += f", the oldest last used {age / 3600:.1f} hours ago"
    finally:
        disk.close()
    typer.echo(json.dumps(found) if as_json else text)
