"""`benchmarks/gpu.py` runs from end to end, in the interpreter at tiny shapes: on a GPU it is to run at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu.py"


def run(*arguments: str, interpret: bool = True) -> "subprocess.CompletedProcess[str]":
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    if interpret:
        env["TRITON_INTERPRET"] = "1"
    command = [sys.executable, str(BENCH), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=280, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about the CPU's interpreter")
def test_every_section_runs(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = run("--small", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert not [name for name, section in report.items() if isinstance(section, dict) and "error" in section]
    assert all(value for value in report["kernels"].values())
    assert report["same_bits"]["recorded as launched"] is True
    assert report["same_bits"]["together as alone"] is True
    assert report["firefly"]["tokens of torch on the CPU"] is True
    assert report["swap"]["comes back with the same bits"] is True
    assert report["swap"]["same tokens"] is True
    assert report["swap"]["swapped_in_tokens"] > 0
    assert report["llama_8b"]["exact"]["2"]["device_seconds"] > 0
    assert report["shared_prefix"]["together"]["bytes"] < report["shared_prefix"]["apart"]["bytes"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_no_figures_without_a_gpu() -> None:
    assert "add --small" in run().stderr
    assert "torch sees no GPU" in run("--small", interpret=False).stderr
