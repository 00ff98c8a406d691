"""The process of a rank that an engine has started: its ties to that engine, before anything large is imported."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time

from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.launch import BEAT_S

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """The process of a rank: its settings come by stdin, what it has to say goes to stdout."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # gone before it could be asked for
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    voice = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print is no message
    order = json.loads(sys.stdin.buffer.readline() or b"null")
    if order is None:
        os._exit(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_beat, args=(voice,), daemon=True).start()
    code = 0
    try:
        from lampc.backend.parallel.worker import serve_launched

        serve_launched(order["rank"], order["store"], order["settings"])
    except BaseException as error:  # whatever it is, this process has to tell, and then to end
        kind = "lost" if isinstance(error, RankFailed) else "own"
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _say(voice, json.dumps({"kind": kind, "error": text}))
        code = 1
    os._exit(code)  # threads of libraries may wait for what will never come


def _end_with_parent() -> None:
    while sys.stdin.buffer.read(1 << 10):
        pass
    os._exit(0)


def _beat(voice: int) -> None:
    while True:
        _say(voice, "")
        time.sleep(BEAT_S)


def _say(voice: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(voice, line.encode() + b"\n")
