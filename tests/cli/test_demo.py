"""The main job: it improves the program, says what it cost, and survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lampc.runtime.store import Store
from tests.cli.conftest import Result, tone
from tests.runtime.loopback import Loopback

ROOT = Path(__file__).resolve().parents[2]
SCORES = ("dev_before", "dev_after", "test_before", "test_after", "dev_random_demos", "test_random_demos")


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def calls(folder: Path) -> int:
    """Finished calls in a run's journal."""
    with Store(folder / "journal.store") as store:
        return store.count("call")


def settled(server: Loopback) -> int:
    """How many requests arrived, once those that a killed process had sent are in."""
    count = -1
    while count != len(server.requests):
        count = len(server.requests)
        time.sleep(0.5)
    return count


def test_demo_shows_the_gain_and_the_cost(lampc: Callable[..., Result], folder: Path, server: Loopback) -> None:
    result = lampc("demo", "classify.lmp", "--model", server.url)
    assert result.code == 0, result.err
    figures = report(folder / "out/demo")
    assert figures["dev_after"] > figures["dev_before"]
    assert figures["prompt_tokens_naive"] > 0
    for said in ("What was tried", "What changed, as IR", "random demos", "row by row", "answers are the same", "-> {"):
        assert said in result.out
    for name in ("tuned.lampc", "journal.store", "report.json", "graph.html"):
        assert (folder / "out/demo" / name).is_file()
        assert f"out/demo/{name}" in result.out
    asked = len(server.requests)
    again = lampc("demo", "classify.lmp", "--model", server.url)
    assert "finished before" in again.out
    assert "FRESH=1" in again.out
    assert len(server.requests) == asked


def test_fresh_starts_over(
    lampc: Callable[..., Result], folder: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    lampc("demo", "classify.lmp", "--model", server.url)
    asked = len(server.requests)
    monkeypatch.setenv("FRESH", "1")
    result = lampc("demo", "classify.lmp", "--model", server.url)
    assert "finished before" not in result.out
    assert len(server.requests) == 2 * asked


@pytest.mark.parametrize("after", [3, 41])
def test_killed_demo_ends_the_same(lampc: Callable[..., Result], folder: Path, after: int) -> None:
    """SIGKILL, then the same command: the same program, the same scores, and no finished call is asked again."""
    with Loopback(tone, seconds=0.01, limit=4) as server:
        lampc("demo", "classify.lmp", "--model", server.url, "--out", "whole")
        whole, asked = calls(folder / "whole"), len(server.requests)
        line = [sys.executable, "-m", "lampc", "demo", "classify.lmp", "--model", server.url, "--out", "killed"]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        job = subprocess.Popen(line, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(server.requests) < asked + after and time.monotonic() < deadline and job.poll() is None:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
        job.wait()
        finished = calls(folder / "killed")
        assert finished < whole, "it was killed too late to prove anything"
        before = settled(server)
        result = lampc("demo", "classify.lmp", "--model", server.url, "--out", "killed")
        assert result.code == 0, result.err
        measured = asked - whole  # the comparison row by row is made anew, outside of the journal
        assert len(server.requests) - before <= whole - finished + measured
    assert (folder / "killed/tuned.lampc").read_text() == (folder / "whole/tuned.lampc").read_text()
    one, other = report(folder / "whole"), report(folder / "killed")
    assert [one[n] for n in SCORES] == [other[n] for n in SCORES]
    assert one["calls"] == other["calls"]
    assert one["prompt_tokens"] == other["prompt_tokens"]
    assert one["prompt_tokens"] - one["prompt_tokens_stored"] == one["prompt_tokens_computed"]
    assert other["prompt_tokens"] - other["prompt_tokens_stored"] == other["prompt_tokens_computed"]
