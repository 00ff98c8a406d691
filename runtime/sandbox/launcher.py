"""The second wall: the interpreter's process is started with limits of the operating system, whatever it is made to do.

It may write no file, opens few, dumps no core, has an empty environment, and cannot grow past its memory limit, where
the system knows such limits (Linux and other Unix). The first wall is the interpreter itself, which has no way to ask
for any of that.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shlex
import shutil
import tempfile
import threading
from pathlib import Path

_BASE = 512 << 20
"""Address space that the interpreter needs for itself, its threads' stacks and what it sends."""
_OPEN = 64

_mutex = threading.Lock()
_folder: list[Path] = []


def launcher(binary: str, memory: int) -> str:
    """The path of a program that runs `binary` under limits, for a sandbox of `memory` bytes; where there is no
    shell of Unix, `binary` itself. What this process has open now is not inherited any more."""
    if os.name != "posix" or not Path("/bin/sh").exists():
        return binary
    _keep_open_files()
    kilobytes = (_BASE + 3 * memory) // 1024
    lines = [
        "#!/bin/sh",
        *(f"ulimit {limit} 2>/dev/null" for limit in ("-c 0", "-f 0", f"-n {_OPEN}", f"-v {kilobytes}")),
        f'exec env -i PYTHONHASHSEED=0 {shlex.quote(binary)} "$@" 2>/dev/null',
    ]
    with _mutex:
        which = hashlib.blake2b(binary.encode(), digest_size=6).hexdigest()
        path = _place() / f"sandbox-{which}-{kilobytes}"
        if not path.exists():
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            path.chmod(0o500)
    return str(path)


def _keep_open_files() -> None:
    """Python's own files are not inherited; libraries in C may open some that are."""
    for name in os.listdir("/dev/fd") if os.path.isdir("/dev/fd") else ():
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the listing's own
                os.set_inheritable(int(name), False)


def _place() -> Path:
    """A folder of this process alone, removed when it ends."""
    if not _folder or not _folder[0].is_dir():
        made = Path(tempfile.mkdtemp(prefix="lampc-sandbox-"))
        _folder[:] = [made]
        atexit.register(shutil.rmtree, made, ignore_errors=True)
    return _folder[0]
