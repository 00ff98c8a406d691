"""The main job on the bundled model: its figures, and the same end after being killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment
from lampc.runtime.evaluate import evaluate
from lampc.runtime.saved import load_saved
from lampc.runtime.session import Session
from lampc.runtime.setup import task_of
from lampc.runtime.store import Store

PROGRAM = '''
signature Sort(text: str) -> (label: str @max(6)) {
  """Look at this."""
}
module Triage(text: str) -> (label: str) {
  use sort = Predict(Sort);
  let r = sort(text: text);
  return (label: r.label);
}
dataset rows: (text: str, label: str) = csv("rows.csv", train: 12, dev: 8, test: 8, seed: 1);
metric em(gold: str, pred: str) -> float = { exact_match(gold, pred) };
optimize Triage with bootstrap(max_bootstrapped_demos: 2, max_labeled_demos: 4), instructions(pool: "pool.txt")
  on rows.train select rows.dev by em;
'''

SCRIPT = """
import sys
from pathlib import Path
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment
from lampc.runtime.demo import run_demo
from lampc.runtime.setup import task_of
from lampc.runtime.store import Store

base, out = Path(sys.argv[1]), Path(sys.argv[2])
put = Store.put

def logged(self, kind, key, record):
    put(self, kind, key, record)
    if kind == "call" and self.path is not None:
        with open(out / "computed", "a") as log:
            log.write(key + chr(10))

Store.put = logged
unit = compile_lmp((base / "p.lmp").read_text(), str(base / "p.lmp"))
run_demo(task_of(unit, Assignment(), base), base, out)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    rng = random.Random(0)
    words = {"red": ["apple", "cherry", "rose"], "blue": ["sea", "sky", "jeans"]}
    lines = [f"the {rng.choice(words[c])} is here {i},{c}" for i in range(15) for c in words]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    (folder / "pool.txt").write_text("Choose the right label.\nAnswer red or blue.\n")
    (folder / "p.lmp").write_text(PROGRAM)
    return folder


def command(base: Path, out: Path) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, "-c", SCRIPT, str(base), str(out)], "env": env, "cwd": root}


def scores(out: Path) -> dict[str, float]:
    report = json.loads((out / "report.json").read_text())
    return {k: v for k, v in report.items() if k.startswith(("dev", "test"))}


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole")
    assert subprocess.run(**command(base, out), timeout=240).returncode == 0
    return out


def test_the_report_has_every_figure(whole: Path) -> None:
    report = json.loads((whole / "report.json").read_text())
    for name in ("dev", "test"):
        assert all(0 <= report[f"{name}_{side}"] <= 100 for side in ("before", "after", "random_demos"))
    assert report["prompt_tokens_computed"] <= 1.02 * report["prompt_tokens_bound"] < report["prompt_tokens"]
    assert report["prompt_tokens_naive"] > report["prompt_tokens_shared"]
    assert report["calls"] > 0
    assert report["seconds_naive"] > 0
    record = json.loads((whole / "run.json").read_text())
    assert (record["state"], record["score_before"]) == ("finished", report["dev_before"])
    assert report["dev_after"] == record["score_after"] == max(c["score"] for c in record["history"])
    computed = (whole / "computed").read_text().split()
    assert len(computed) == len(set(computed))


def test_every_score_is_found_again_by_who_runs_the_saved_program(base: Path, whole: Path) -> None:
    """The program as found and the file that was written, by a session that knows no answer of the demo's."""
    report = json.loads((whole / "report.json").read_text())
    task = task_of(compile_lmp((base / "p.lmp").read_text(), str(base / "p.lmp")), Assignment(), base)
    saved = load_saved(whole / "tuned.lampc")
    assert saved.info == {"dev": report["dev_after"], "test": report["test_after"]}
    with Session(base=base) as session:
        for split, rows in (("dev", task.select), ("test", task.splits["test"])):
            found = evaluate(session, task.unit, rows, task.metric, entry=task.program)
            tuned = evaluate(session, saved.module, rows, task.metric, saved.assignment, entry=saved.entry)
            assert (found.score, tuned.score) == (report[f"{split}_before"], report[f"{split}_after"])


def test_a_demo_killed_at_random_moments_ends_like_one_left_alone(base: Path, whole: Path, tmp_path: Path) -> None:
    total = len((whole / "computed").read_text().split())
    rng = random.Random()  # other moments every time: the end must not depend on them
    log, moments = tmp_path / "computed", sorted(rng.sample(range(1, total - 1), 3))
    for moment in moments:
        child = subprocess.Popen(**command(base, tmp_path))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and child.poll() is None:
            if log.exists() and log.read_text().count("\n") >= moment:
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    assert subprocess.run(**command(base, tmp_path), timeout=240).returncode == 0
    assert (tmp_path / "tuned.lampc").read_text() == (whole / "tuned.lampc").read_text(), moments
    assert scores(tmp_path) == scores(whole), moments
    computed = log.read_text().split()
    assert len(computed) == len(set(computed)), moments  # no finished call was computed twice
    with Store(tmp_path / "journal.store") as store:
        assert store.count("call") == total
