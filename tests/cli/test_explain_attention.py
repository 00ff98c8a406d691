"""`lampc explain --analyze` names, for each `kv.*` op, the kernel, the group and the prefix that was read once."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tests.backend.kernels.conftest  # noqa: F401  # asks for Triton's interpreter where there is no GPU
from tests.backend.conftest import kernels
from tests.cli.conftest import Result

__all__ = ["kernels"]
Lampc = Callable[..., Result]
TEXTS = ("the wifi was lost", "the invoice is wrong", "the badge is broken", "my router failed")


@pytest.fixture
def program(folder: Path) -> Path:
    """One call whose prompt begins with more than 256 tokens that all rows share."""
    (folder / "long.lmp").write_text(
        f"""signature Classify(text: str) -> (label: str) {{
  \"\"\"{"Complete the task. " * 70}\"\"\"
}}
module Label(text: str) -> (label: str) {{
  use classify = Predict(Classify) @sample(max_tokens: 4);
  let answer = classify(text: text);
  return (label: answer.label);
}}
""",
        encoding="utf-8",
    )
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return folder / "long.lmp"


def attention(result: Result) -> dict[str, dict[str, str]]:
    """The table of attention by op; its columns stand apart by two spaces or more."""
    assert result.code == 0, result.err
    lines = iter(result.out.splitlines())
    head = next(line for line in lines if line.startswith("attention "))
    names = [name for name in head.split("  ") if name]
    found = {}
    for line in lines:
        if line.startswith("group:"):
            break
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        assert len(cells) == len(names)
        found[cells[0]] = {name.strip(): cell for name, cell in zip(names[1:], cells[1:], strict=True)}
    return found


def size(text: str) -> float:
    return float(text.removesuffix(" kB").replace(",", ""))


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ("native", ["--backend", "native"]),
        ("torch", ["--backend", "torch"]),
        pytest.param(
            "triton work table",
            ["--backend", "triton", "--tensor-parallel", "2"],
            marks=[
                pytest.mark.kernels,
                pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
                pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two ranks need two GPUs, or none"),
            ],
        ),
    ],
)
def test_each_op_has_kernel_group_and_prefix(
    lampc: Lampc, program: Path, kernel: str, options: list[str], request: pytest.FixtureRequest
) -> None:
    if kernel == "native":
        request.getfixturevalue("kernels")
    result = lampc("explain", program, "--analyze", "--data", "rows.jsonl", *options)
    ops = attention(result)
    system, demos, text, wrote = (
        f"kv.{name}"
        for name in (
            "extend @classify instruction, guide",
            "extend @classify demos",
            "extend @classify text",
            "generate @classify",
        )
    )
    assert list(ops) == [system, demos, text, wrote]
    assert ops[demos] == dict.fromkeys(ops[demos], "-") | {"tokens": "0"}  # there are none
    assert {ops[name]["kernel"] for name in (system, text, wrote)} == {kernel}
    # The system turn is computed once for all rows; what is computed after it reads it together.
    assert 256 < int(ops[system]["tokens"]) < 400
    counted = re.search(r"computed (\d+) prompt tokens", result.out)
    assert counted is not None
    assert int(ops[system]["tokens"]) + int(ops[text]["tokens"]) == int(counted[1])
    assert ops[wrote]["group"] == str(len(TEXTS))
    assert int(ops[wrote]["prefix"]) >= 256
    assert size(ops[wrote]["each alone"]) > 1.5 * size(ops[wrote]["KV read"])
    assert ("bytes of the first of 2 ranks" in result.out) == ("--tensor-parallel" in options)
