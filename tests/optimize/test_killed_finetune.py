"""BootstrapFinetune killed with SIGKILL at twenty moments of its runs and its training: the same adapter in the end.

`pytest -m slow tests/optimize/test_killed_finetune.py`
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lampc.passes.optimize import optimizer
from lampc.runtime.driver import optimize
from lampc.runtime.metrics import build_metric
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.runtime.test_training import LEARN
from tests.runtime.tuning import unit

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


def tuned(folder: Path) -> dict[str, object]:
    """The optimisation in a folder: what it came to, and how many program runs this process made."""
    options = {"train_kwargs": {"learning_rate": 3e-3, "max_steps": 30, "save_steps": 2}}
    metric = build_metric(lambda example, prediction, trace=None: 1.0)
    with Session(model="firefly", store=Store(folder / "a.store")) as session:
        session.bus.subscribe(lambda event: event.kind == "progress" and print("at work", flush=True))
        found = optimize(
            unit(), session, steps=[optimizer("finetune", options)], train=LEARN, select=[], metric=metric
        )  # fmt: skip
        model = str(found.assignment.get("p.model", ""))
        weights = (Path(model) / "adapter_model.safetensors").read_bytes()
        kept = len(session.store._index.get("job", {}))
        return {"weights": hashlib.blake2b(weights).hexdigest(), "fresh": found.fresh, "kept": kept}


def child(folder: Path) -> subprocess.Popen[str]:
    code = "import json, sys; from pathlib import Path; from tests.optimize.test_killed_finetune import tuned; "
    code += "print(json.dumps(tuned(Path(sys.argv[1]))), flush=True)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the end; the exit status."""
    assert process.stdout is not None
    code = process.wait(60)
    process.stdout.close()
    return code


def at_work(process: subprocess.Popen[str]) -> str:
    """Wait until a run does something; the line that it said."""
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
def test_a_killed_finetuning_ends_with_the_same_adapter(tmp_path: Path) -> None:
    whole = child(tmp_path / "whole")
    at_work(whole)
    begun = time.monotonic()
    said, _ = whole.communicate(timeout=240)
    seconds = time.monotonic() - begun
    wanted = json.loads(said.splitlines()[-1])
    assert wanted["fresh"] == len(LEARN)
    rng, died, folder = random.Random(), 0, tmp_path / "killed"
    for _ in range(KILLS):
        process = child(folder)
        if at_work(process).startswith("{"):
            ended(process)
            continue  # it was over
        time.sleep(rng.uniform(0.0, seconds / 4))
        process.kill()
        died += ended(process) != 0
    with Store(folder / "a.store") as store:
        kept = len(store._index.get("job", {}))
    last = child(folder)
    said, _ = last.communicate(timeout=240)
    found = json.loads(said.splitlines()[-1])
    assert died >= KILLS // 4
    assert found["weights"] == wanted["weights"]
    assert found["fresh"] == len(LEARN) - kept
