"""The benchmark of optimizers: it runs, goes on where it was stopped, and its figures are what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from optimizer_bench.journal import Journal  # noqa: E402
from optimizer_bench.proposer import Script  # noqa: E402
from optimizer_bench.sides import Measured  # noqa: E402
from optimizer_bench.summary import Figures  # noqa: E402
from optimizer_bench.tasks import TASKS  # noqa: E402

BASE = Measured("MIPROv2", "helpdesk", 0, "ours", 90.0, 2.0, 2.0, 100, 4000, 1000, 1, 0.1)


def compared(*rows: dict[str, Any]) -> Figures:
    return Figures(replace(BASE, **row) for row in rows)


def test_ratios_are_theirs_over_ours() -> None:
    found = compared(
        {},
        {"seed": 1, "score": 80.0},
        {"side": "engine", "wall": 3.0, "computed_tokens": 1500, "score": 92.0},
        {"side": "engine", "seed": 1, "wall": 5.0, "computed_tokens": 2500, "score": 81.0},
        {"side": "http", "wall": 16.0},
        {"side": "plain", "computed_tokens": 6000},
        {"task": "words", "wall": 1.0},
        {"task": "words", "side": "engine", "wall": 0.5},
    )
    ratios = found.ratios()
    assert ratios["MIPROv2_wall_engine"] == pytest.approx((4.0 / 2.0 * 0.5) ** 0.5)
    assert ratios["MIPROv2_wall_http"] == pytest.approx(8.0)  # of the one seed that both have
    assert ratios["MIPROv2_tokens_nocache"] == pytest.approx(6.0)
    assert ratios["MIPROv2_tokens"] == pytest.approx((2000 / 1000 * 1.0) ** 0.5, abs=1e-3)
    assert ratios["worst_score_delta"] == -1.5
    goals = {g.name: g for g in found.goals()}
    assert not goals["worst_score_delta"].reached
    assert goals["MIPROv2_tokens, two predictors"].figure == 2.0
    assert goals["MIPROv2_wall_http"].reached
    assert goals["BootstrapFewShotWithRandomSearch_tokens"].figure is None
    assert found.table()["MIPROv2"]["helpdesk"]["score_delta"][0] == -1.5


def test_a_journal_goes_on_after_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert Journal(path, {"n": 1}).once(("a", 0), lambda: 5) == 5
    with path.open("a", encoding="utf-8") as file:
        file.write('{"settings": "{\\"n\\"')
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")
    again = Journal(path, {"n": 1})
    assert again.once(("a", 0), lambda: 6) == 5
    assert again.once(("a", 1), lambda: 7) == 7
    assert Journal(path, {"n": 2}).once(("a", 0), lambda: 8) == 8


def test_the_proposer_answers_in_the_layout_that_is_asked_for() -> None:
    pools = TASKS["helpdesk"].pools
    script = Script(pools, {"find": "Complete the task.", "route": "Choose a team."})

    def asked(about: str, how: str) -> str:
        return script.answer([{"role": "user", "content": f"[[ ## basic_instruction ## ]]\n{about}\n\n{how}"}])

    json_how = "Respond with a JSON object in the following order of fields: `new_instruction`."
    assert json.loads(asked("Choose a team.", json_how)) == {"new_instruction": pools["route"][0]}
    chat_how = (
        "Respond with the corresponding output fields, starting with the field `[[ ## proposed_instruction ## ]]`, "
    )
    assert pools["find"][0] in asked("Complete the task.", chat_how)
    assert json.loads(asked(pools["route"][0], json_how)) == {"new_instruction": pools["route"][1]}


@pytest.mark.timeout(240)
def test_a_small_run_compares_both_and_goes_on(tmp_path: Path) -> None:
    def run() -> dict[str, Any]:
        out, journal = tmp_path / "optimizers.json", tmp_path / "journal.jsonl"
        command = [sys.executable, str(ROOT / "benchmarks" / "optimizers.py"), "--small"]
        command += ["--only", "BootstrapFewShot", "COPRO", "--tasks", "words"]
        command += ["--out", str(out), "--journal", str(journal)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=220, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found

    first = run()
    for name in ("BootstrapFewShot", "COPRO"):
        row = first["results"][name]["words"]
        assert row["ours"]["score"] == row["free"]["score"] == row["engine"]["score"] == row["http"]["score"]
        # an answer that cannot be read is asked for again: here at the end of its conversation, there in another layout
        assert row["free"]["requests"] == row["engine"]["requests"] <= row["plain"]["requests"]
        assert row["free"]["computed_tokens"] <= row["engine"]["computed_tokens"] < row["plain"]["computed_tokens"]
        wanted = ("wall_engine", "wall_http", "tokens", "tokens_nocache")
        assert {f"{name}_{what}" for what in wanted} < {*first["ratios"]}
    assert first["ratios"]["worst_score_delta"] == 0.0
    again = run()
    assert again["results"] == first["results"]  # nothing is measured twice
