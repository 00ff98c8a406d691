"""What `make demo` promises, run for real: the bundled model gains on rows that the optimizer never saw.

The model's words are free to change when it is trained again; these thresholds are what the demo is for.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lampc.runtime.cli.app import app

EXAMPLE = Path(__file__).parents[2] / "examples" / "01_classify.lmp"


@pytest.mark.timeout(600)
def test_the_demo_gains_as_promised(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", str(EXAMPLE), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["dev_after"] - report["dev_before"] >= 20
    assert report["test_after"] - report["test_before"] >= 20
    assert report["test_after"] - report["test_random_demos"] >= 5
    assert report["prompt_tokens_computed"] <= 1.02 * report["prompt_tokens_bound"]
    assert report["prompt_tokens_shared"] < report["prompt_tokens_naive"] / 5
