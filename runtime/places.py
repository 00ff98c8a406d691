"""Where in the user's own code something happened."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from typing import TypeVar

_NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    sysconfig.get_paths()["stdlib"] + os.sep,
)

Error = TypeVar("Error", bound=BaseException)


def of_the_user(error: Error) -> Error:
    """The same, and what led to it, without our frames above those of others. They hold what holds the error: a kept
    one would stay until the garbage collector comes, with all of its run."""
    seen: set[int] = set()
    open_: list[BaseException | None] = [error]
    while open_:
        one = open_.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        at = one.__traceback__
        while at is not None and at.tb_frame.f_code.co_filename.startswith(_NOT_THE_USERS[0]):
            at = at.tb_next
        one.__traceback__ = at
        open_ += [one.__cause__, one.__context__]
    return error


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
