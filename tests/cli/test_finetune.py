"""Training from the command line: foreseen, done once, and the tuned program names its adapter."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Result

Lampc = Callable[..., Result]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_weights_are_optimized_like_anything_else(lampc: Lampc, folder: Path) -> None:
    shutil.copy(EXAMPLES / "01_classify.lmp", folder)
    with (EXAMPLES / "data/01_tickets.csv").open() as file:
        header, *rows = csv.reader(file)
    few = [r for split, n in (("train", 60), ("dev", 20), ("test", 5)) for r in [x for x in rows if x[2] == split][:n]]
    (folder / "data").mkdir()
    with (folder / "data/01_tickets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *few])
    shutil.copy(EXAMPLES / "data/01_pool.txt", folder / "data")
    options = ["--optimizer", "finetune", "-o", 'train_kwargs={"learning_rate": 0.003, "num_train_epochs": 6}']
    planned = lampc("optimize", "01_classify.lmp", *options, "--dry-run")
    assert "besides: 1 trainings" in planned.out, planned.err
    found = lampc("optimize", "01_classify.lmp", *options, "--save", "tuned.lampc")
    assert found.code == 0, found.err
    told = json.loads((folder / "out/01_classify/run.json").read_text())
    assert f"demanded: {sum(t['wanted'] for t in told['trials'])} runs" in planned.out
    assert told["score_after"] > told["score_before"] + 20
    (adapter,) = (folder / "out/01_classify/adapters").iterdir()
    assert str(adapter) in (folder / "tuned.lampc").read_text()
    written = adapter.stat().st_mtime_ns
    again = lampc("optimize", "01_classify.lmp", *options, "--save", "tuned.lampc")
    assert "this run finished before" in again.out
    run = lampc("run", "tuned.lampc", "-i", "text=the modem is broken")
    assert set(json.loads(run.out)) == {"label"}, run.err
    assert adapter.stat().st_mtime_ns == written
