"""Runs of optimizers killed with SIGKILL go on: the same end as if left alone, and no finished program run made again.

At twenty moments for each optimizer: `pytest -m slow tests/optimize/test_killed.py`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lampc.runtime.journal import history_record, read_assignment, read_history
from lampc.runtime.store import Store
from tests.optimize.behaviour import Planted
from tests.optimize.registered import names, run, strategy

ROOT = Path(__file__).resolve().parents[2]


class Killed:
    """A run in a folder, in processes that are killed one after another."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        paths = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        self.env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self.command = [sys.executable, "-m", "tests.optimize.killed_run", name, str(folder)]

    def asked(self) -> list[str]:
        """Keys of the calls that models were asked for so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def finished(self) -> set[str]:
        """Keys of the program runs that are in the store."""
        with Store(self.folder / "store") as store:
            return set(store._index.get("job", {}))

    def kill_after(self, calls: int, delay: float) -> bool:
        """Start, and kill `delay` seconds after so many calls in all; False if the run was over before."""
        child = subprocess.Popen(self.command, cwd=ROOT, env=self.env)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None and len(self.asked()) < calls:
            time.sleep(0.002)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        code = child.wait(10)
        assert code in (-signal.SIGKILL, 0)
        return code != 0

    def finish(self) -> dict[str, int]:
        """Run to the end; how many program runs this process made, and how many there are."""
        assert subprocess.run(self.command, cwd=ROOT, env=self.env, timeout=240).returncode == 0
        found: dict[str, int] = json.loads((self.folder / "end.json").read_text())
        return found


def check(name: str, folder: Path, kills: int) -> None:
    """Kill a run at random moments, then let it end, and hold it against one left alone."""
    task = Planted(1)
    whole = Store(None)
    wanted = run(task, strategy(name, task), store=whole).result
    total = whole.count("call")
    rng = random.Random()  # other moments every time: the end must not depend on them
    moments = sorted(rng.randrange(total) for _ in range(kills))
    killed = Killed(name, folder)
    kept: set[str] = set()
    died = 0
    for moment in moments:
        died += killed.kill_after(moment, rng.uniform(0, 0.004))
        now = killed.finished()
        assert kept <= now, moments  # nothing finished is lost
        kept = now
    assert 2 * died >= kills, moments
    end = killed.finish()
    assert end["fresh"] == wanted.runs - len(kept), moments  # no finished program run is made again
    assert killed.finished() == set(whole._index["job"]), moments
    times = Counter(killed.asked())
    assert sum(times.values()) - len(times) <= died, moments  # in each kill at most the call under way
    assert set(times) == set(whole._index["call"]), moments
    record = json.loads((folder / "run.json").read_text())
    assert record["state"] == "finished"
    assert read_assignment(record["assignment"]) == wanted.assignment, moments
    assert (record["score_before"], record["score_after"]) == (wanted.score_before, wanted.score_after), moments
    assert read_history(record["history"]) == read_history(history_record(wanted.history)), moments
    assert (record["runs"], record["errors"]) == (wanted.runs, wanted.errors), moments
    assert record["usage"]["calls"] == wanted.usage.calls, moments
    assert record["usage"]["prompt_tokens"] == wanted.usage.prompt_tokens, moments


def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    check("instructions", tmp_path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_run_killed_at_twenty_moments_goes_on_to_the_same_end(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, 20)
