"""A runner in a process of its own: started with pinned threads and without a network, asked, measured, ended.

The runner's side is `peers/_harness.py`. While another engine is measured a runner is stopped (SIGSTOP), so that
nothing it may spin on takes processor time.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parent / "peers"
_LOOPBACK_ONLY = (
    "import fcntl,os,socket,struct,sys\n"
    "s=socket.socket()\n"
    "r=struct.pack('16sh14x',b'lo',0x1)\n"  # SIOCSIFFLAGS: lo up
    "fcntl.ioctl(s,0x8914,r)\n"
    "s.close()\n"
    "os.execv(sys.argv[1],sys.argv[1:])\n"
)


class Failed(Exception):
    """A runner did not do what it was asked; the message says why, for people."""


class OursFailed(Exception):
    """Our own engine did not: there is nothing to compare with."""


class Stopped(Exception):
    """The time that was given is over; what was measured is kept."""


@dataclass
class Usage:
    """Of a process and its children: `pss_mb` now, `peak_mb` the sum of their largest resident sets."""

    pss_mb: float
    peak_mb: float


class Runner:
    """A started runner. Raises Failed if it does not get ready within `timeout` seconds."""

    def __init__(
        self, python: Path | str, script: str, spec: dict[str, Any], log: Path, timeout: float, extra: dict[str, str]
    ) -> None:
        self._log = log.open("a", encoding="utf-8")
        command = [*isolation(), str(python), str(PEERS / script), json.dumps(spec)]
        begun = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(spec["threads"]) | extra,
            text=True,
            start_new_session=True,
            cwd=log.parent,
        )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            ready = self._answer(timeout)
        except BaseException:  # an interrupt too: nobody else knows of the process
            self.close(grace=0)
            raise
        self.start_s = time.monotonic() - begun
        self.versions: dict[str, str] = ready["versions"]
        self.about: dict[str, Any] = ready["about"]

    def ask(self, do: str, items: list[dict[str, Any]], timeout: float, **more: Any) -> dict[str, Any]:
        """What the runner answers. Raises Failed; after a timeout the runner is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, "items": items, **more}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"the runner has ended ({error})") from error
        return self._answer(timeout)

    def pause(self) -> None:
        """Stops the process and its children until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def usage(self) -> Usage:
        """Memory; zeros where /proc does not tell."""
        return tree_usage(self._process.pid)

    def cpu_seconds(self) -> float:
        """Processor time of the process and its living children."""
        return sum(_cpu(f"/proc/{pid}/stat") for pid in tree(self._process.pid))

    def close(self, grace: float = 20) -> None:
        """Ends the process and its children; it has `grace` seconds to do so itself."""
        if self._process.stdin is not None and self.alive:
            self.go_on()
            with suppress(OSError, subprocess.TimeoutExpired):
                self._process.stdin.close()
                self._process.wait(grace)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def _answer(self, timeout: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            self._signal(signal.SIGKILL)
            raise Failed(f"no answer within {timeout:.0f} s") from None
        if line is None:
            raise Failed(f"the runner ended with {self._process.wait()}; its log is {self._log.name}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise Failed(str(answer["failed"])[:300])
        return answer


def environment(threads: int) -> dict[str, str]:
    """So many threads in every library; nothing is fetched and nothing is reported."""
    count = str(threads)
    pools = ("OMP", "MKL", "OPENBLAS", "RAYON", "NUMEXPR", "VECLIB", "TBB")
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    return (
        kept
        | {f"{name}_NUM_THREADS": count for name in pools}
        | {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "DO_NOT_TRACK": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "TP_SOCKET_IFNAME": "lo",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_DO_NOT_TRACK": "1",
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
        }
    )


@cache
def isolation() -> tuple[str, ...]:
    """A command that runs another one with a loopback interface and no other; empty where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None or not sys.platform.startswith("linux"):
        return ()
    command = (unshare, "--user", "--map-root-user", "--net", "--", sys.executable, "-c", _LOOPBACK_ONLY)
    tried = subprocess.run([*command, sys.executable, "-c", "pass"], capture_output=True, timeout=60)
    return command if tried.returncode == 0 else ()


def tree_usage(root: int) -> Usage:
    """Memory of a process and all below it; zeros where /proc does not tell."""
    pss = peak = 0.0
    for pid in tree(root):
        pss += _kilobytes(f"/proc/{pid}/smaps_rollup", "Pss:")
        peak += _kilobytes(f"/proc/{pid}/status", "VmHWM:")
    return Usage(round(pss / 1024, 1), round(peak / 1024, 1))


def tree(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def _kilobytes(path: str, name: str) -> float:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(name)), 0.0)


def _cpu(path: str) -> float:
    try:
        fields = Path(path).read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds() -> float:
    """Processor time that anybody on this machine has used; 0 where /proc does not tell."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, fields[:8])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
