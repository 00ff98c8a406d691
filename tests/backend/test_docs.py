"""The engine's page says what the engine does: every metric, option and policy that exists, and none that does not."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from lampc.backend import RequestMetrics
from lampc.backend.lifecycle import TRANSITIONS
from lampc.backend.policies import POLICIES
from lampc.backend.prometheus import METRICS, text
from tests.backend.engines import TimedEngine

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """Cells of the table whose first line starts with `header`."""
    lines = PAGE[PAGE.index(f"| {header} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]


def test_every_exported_metric_is_explained_and_no_other() -> None:
    table = rows("metric")
    described = {name: kind for name, kind, _ in table}
    assert len(described) == len(table)
    assert described == {"lampc_engine_info": "info", **{m.name: m.kind for m in METRICS}}
    assert [name for name, _, _ in table][1:] == [m.name for m in METRICS], "in one order, to be found"
    written = text(TimedEngine())
    for name in described:
        assert re.search(rf"^{name}[{{_]", written, re.MULTILINE), "it is written under this very name"


def test_every_field_of_a_requests_metrics_is_explained() -> None:
    assert [name for name, _ in rows("field")] == [f.name for f in fields(RequestMetrics)]


def test_every_policy_and_state_is_there() -> None:
    assert {row[0].split()[0] for row in rows("policy")} == set(POLICIES)
    for state in TRANSITIONS:
        assert re.search(rf"\b{state.name}\b", PAGE), state


@pytest.mark.parametrize("kind", ["files", "commands"])
def test_what_the_page_names_exists(kind: str) -> None:
    if kind == "files":
        named = set(re.findall(r"`((?:models/|tests/backend/|backend/)?[a-z_0-9]+\.py)`", PAGE))
        assert len(named) > 12
        missing = [n for n in named if not ((ROOT / n).exists() or (ROOT / "backend" / n).exists())]
    else:
        named = set(re.findall(r"`python (benchmarks/\S+\.py)`", PAGE))
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        missing = [n for n in named if not (ROOT / n).is_file()]
        missing += [t for t in re.findall(r"`make (\S+)`", PAGE) if f"\n{t}:" not in makefile]
    assert named
    assert missing == []


def test_the_example_on_the_page_runs(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code.replace("path/to/checkpoint", str(tiny)).replace("bfloat16", "float32"), {})
    assert capsys.readouterr().out
