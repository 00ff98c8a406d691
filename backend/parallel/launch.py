"""Starts the other ranks as processes of this machine, and watches them until they are gone.

A rank is `python -m lampc.backend.parallel`. Its settings come through a pipe to its stdin, and it ends when that pipe
does: whatever happens to this process, none outlives it. Through another pipe it says every `BEAT_S` that it lives, and
what went wrong if something does. The first failure ends all of them at once, so that whoever waits for a rank
in an exchange hears of it.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from lampc.backend.parallel.errors import RankFailed
from lampc.backend.python_process import command, environment

BEAT_S = 0.5
_SILENCE_S = 10.0  # at most, without a beat
_LOADING_SILENCE_S = 60.0  # Python's lock is held long while torch is imported
_GRACE_S = 0.5  # after the first failure, for the one that caused it to be told
_CLOSE_S = 5.0


@dataclass(slots=True)
class _Process:
    rank: int
    popen: subprocess.Popen[bytes]
    errors: IO[bytes]
    heard: float
    rest: bytes = b""
    report: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    def fate(self) -> str:
        """How it ended, for a person."""
        code = self.popen.wait()
        if self.report:
            return f"failed: {self.report['error']}"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"ended with exit code {code}" + (f": {lines[-1]}" if lines else "")


class Ranks:
    """Processes for the ranks from 1 on. `failure` says what went wrong, once something has."""

    def __init__(self, orders: Sequence[str], timeout_s: float) -> None:
        """`orders` are the lines that each rank gets. Raises RankFailed if processes cannot be started."""
        self.failure: str | None = None
        self._orders = orders
        self._silence = _LOADING_SILENCE_S
        self._joined_silence = min(_SILENCE_S, timeout_s)
        self._processes: list[_Process] = []
        self._grace = _CLOSE_S
        self._stop = threading.Event()
        self._over = threading.Event()
        started: threading.Event = threading.Event()
        # On Linux a rank is told to die with the thread that started it, so that one has to last.
        self._thread = threading.Thread(target=self._run, args=(started,), name="lampc-ranks", daemon=True)
        self._thread.start()
        started.wait()
        self.check()

    @property
    def pids(self) -> list[int]:
        """Of the processes, in the order of ranks."""
        return [process.popen.pid for process in self._processes]

    def check(self) -> None:
        """Raises RankFailed if a rank has failed."""
        if self.failure is not None:
            raise RankFailed(self.failure)

    def joined(self) -> None:
        """All ranks have loaded: from now on none may be silent for long."""
        self._silence = self._joined_silence

    def explain(self, error: BaseException) -> str:
        """What ended the ranks, after an exchange with them failed or a step did here; they are all gone then."""
        if isinstance(error, RankFailed):
            self._over.wait(4 * _GRACE_S)
        self.close(0.0)
        return self.failure or f"rank 0 failed: {type(error).__name__}: {error}"

    def close(self, grace: float = _CLOSE_S) -> None:
        """Ends all processes, by force if they take longer than `grace` seconds. Twice is fine."""
        self._grace = grace
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # -- in the thread -----------------------------------------------------------------------------------

    def _run(self, started: threading.Event) -> None:
        selector = selectors.DefaultSelector()
        try:
            try:
                for i, order in enumerate(self._orders):
                    self._processes.append(_start(i + 1, order))
                    selector.register(self._stdout(i), selectors.EVENT_READ, self._processes[-1])
            except OSError as error:
                self.failure = f"rank {len(self._processes) + 1} could not be started: {error}"
            started.set()
            while self.failure is None and not self._stop.is_set():
                self._listen(selector, 0.1)
                self._judge(selector)
        finally:
            started.set()
            self._end(0.0 if self.failure else self._grace)
            selector.close()
            self._over.set()

    def _stdout(self, i: int) -> IO[bytes]:
        pipe = self._processes[i].popen.stdout
        assert pipe is not None
        return pipe

    def _listen(self, selector: selectors.BaseSelector, timeout: float) -> None:
        for key, _ in selector.select(timeout):
            process: _Process = key.data
            data = os.read(key.fd, 1 << 16)
            process.heard = time.monotonic()
            if not data:
                process.ended = True
                selector.unregister(key.fileobj)
            *lines, process.rest = (process.rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b"{"):
                    process.report = json.loads(line)

    def _judge(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        silent = [p for p in self._processes if not p.ended and now - p.heard > self._silence]
        if silent:
            p = silent[0]
            self.failure = f"rank {p.rank} (process {p.popen.pid}) hangs: not heard of for {now - p.heard:.0f} seconds"
        elif any(p.ended or p.report for p in self._processes):
            # Those that lost a rank say so as well, and perhaps before it is known what became of that one.
            end = now + _GRACE_S
            while time.monotonic() < end and not self._culprits():
                self._listen(selector, 0.05)
            p = (self._culprits() or [p for p in self._processes if p.ended or p.report])[0]
            if not p.ended and p.report:
                p.popen.kill()
            self.failure = f"rank {p.rank} (process {p.popen.pid}) {p.fate()}"

    def _culprits(self) -> list[_Process]:
        own = [p for p in self._processes if p.report.get("kind") == "own"]
        return own or [p for p in self._processes if p.ended and not p.report]

    def _end(self, grace: float) -> None:
        for process in self._processes:
            assert process.popen.stdin is not None
            with contextlib.suppress(OSError):
                process.popen.stdin.close()
        end = time.monotonic() + grace
        for process in self._processes:
            try:
                process.popen.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
            assert process.popen.stdout is not None
            process.popen.stdout.close()
            process.errors.close()


def _start(rank: int, order: str) -> _Process:
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
    popen = subprocess.Popen(
        command("lampc.backend.parallel"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment(),
        process_group=0,  # Ctrl-C is for this process; it ends the others
    )
    assert popen.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it will be seen that it has ended
        popen.stdin.write(order.encode() + b"\n")
        popen.stdin.flush()
    return _Process(rank, popen, errors, time.monotonic())
