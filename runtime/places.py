"""Where in the user's own code something happened."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Sequence

_NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    sysconfig.get_paths()["stdlib"] + os.sep,
)


def user_line(frames: Sequence[traceback.FrameSummary]) -> str:
    """`file:line` of the innermost frame of the user's own, "" if there is none."""
    for f in reversed(frames):
        name = os.path.abspath(f.filename)
        if not name.startswith(_NOT_THE_USERS) and "site-packages" not in name and not f.filename.startswith("<"):
            return f"{f.filename}:{f.lineno}"
    return ""


def user_line_here() -> str:
    """The same for the code that is running, without reading any source."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        name = os.path.abspath(path)
        if not name.startswith(_NOT_THE_USERS) and "site-packages" not in name and not path.startswith("<"):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
