"""The example of a joint search, run for real on firefly: words are cheaper than demos, and the report shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lampc.runtime.cli.app import app

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_search_weighs_score_against_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["optimize", "examples/06_trade.lmp", "--resume", "run"])
    assert done.exit_code == 0, done.output
    assert "report: run/report.html" in done.output
    report = json.loads((tmp_path / "run" / "optimization.json").read_text(encoding="utf-8"))
    result = next(t for t in report["trials"] if t["role"] == "result")
    demos = [t for t in report["trials"] if t["whole"] and t["tokens"] > 1.5 * result["tokens"]]
    assert report["after"] >= report["before"] + 50
    assert report["gain"]["low"] > 0
    assert result["number"] in report["front"]
    assert demos, "candidates with demos were scored, too"
    assert all(t["score"] - t["tokens"] / 10 <= result["score"] - result["tokens"] / 10 for t in demos)
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000
