"""The whole sentence at once: `lampc run examples/NN --backend triton --tensor-parallel 2`, as `.lmp` and as Python,
tuned by `lampc optimize` and lowered by the scheduling passes, gives the ids that torch gives on one rank."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import tests.backend.kernels.conftest  # noqa: F401  # asks for Triton's interpreter where there is no GPU
from lampc.frontend.lmp import compile_lmp
from lampc.passes.table import STANDARD
from lampc.runtime.cli import main
from lampc.runtime.store import Store

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(p.stem for p in EXAMPLES.glob("[0-9]*.lmp"))
FORMS = ("lmp", "py", "tuned lmp", "tuned py", "lowered")
Ids = dict[str, list[int]]
"""Token ids of every call by its key."""
Lampc = Callable[..., tuple[str, Ids]]
Rows = list[dict[str, Any]]

pytestmark = [
    pytest.mark.kernels,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two ranks need two GPUs, or none"),
]


def read(file: str, split: str, count: int) -> Rows:
    with (EXAMPLES / "data" / file).open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["split"] == split][:count]


def tables(name: str) -> tuple[Rows, Rows]:
    """A few rows to run, and a few more to optimise on."""
    file = {
        "01_classify": "01_tickets.csv",
        "02_reason": "02_stories.csv",
        "03_two_hop": "questions.csv",
        "04_table": "04_rows.csv",
        "05_branch_loop": "05_requests.csv",
        "06_trade": "01_tickets.csv",
        "07_continue": "01_tickets.csv",
    }[name]
    train, dev = read(file, "train", 9), read(file, "dev", 9)
    if name == "02_reason":
        train, dev = ([row | {"answer": int(row["answer"])} for row in rows] for rows in (train, dev))
    if name == "04_table":
        row = [{"rows": [r["row"] for r in train[i : i + 3]], "common": train[i]["group"]} for i in (0, 3, 6)]
        return row[:1], [one | {"split": "train" if i < 2 else "dev"} for i, one in enumerate(row)]
    kept = "text" if name in ("01_classify", "05_branch_loop", "06_trade", "07_continue") else "question"
    return [{kept: r[kept]} for r in train[:2]], train[:8] + dev[:4]


@pytest.fixture
def lampc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lampc:
    """The command line, in a copy of the examples; gives its output and what was journaled."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "examples")
    found: Ids = {}
    put = Store.put

    def noted(self: Store, kind: str, key: str, record: dict[str, Any]) -> None:
        if kind == "call":
            found[key] = record["ids"]
        put(self, kind, key, record)

    monkeypatch.setattr(Store, "put", noted)

    def run(*args: str) -> tuple[str, Ids]:
        found.clear()
        capsys.readouterr()
        code = main(list(args))
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out, dict(found)

    return run


def write(path: str, rows: Rows) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def made(name: str, form: str, lampc: Lampc) -> list[str]:
    """What `lampc run` is given for a form of an example."""
    if form in ("lmp", "py"):
        return [f"{name}.{form}"]
    if form == "lowered":
        text, _ = lampc("opt", f"{name}.lmp", "-p", STANDARD)
        assert "kv.generate" in text
        Path("lowered.lir").write_text(text, encoding="utf-8")
        source = Path(f"{name}.lmp").read_text(encoding="utf-8")
        return ["lowered.lir", "--program", compile_lmp(source, name).entry]
    ending = form.removeprefix("tuned ")
    saved = f"tuned_{ending}.lampc"
    lampc("optimize", f"{name}.{ending}", "--data", "own.jsonl", "--save", saved, "--resume", f"run_{ending}")
    return [saved]


def held(name: str, forms: Sequence[str], lampc: Lampc, ranks: int = 2) -> None:
    rows, own = tables(name)
    write("rows.jsonl", rows)
    write("own.jsonl", own)
    seen: dict[str, tuple[str, list[list[int]]]] = {}
    for form in forms:
        given = made(name, form, lampc)
        runs = {}
        for backend, count in (("torch", 1), ("triton", ranks)):
            way = ("--backend", backend, "--tensor-parallel", str(count))
            runs[backend] = lampc("run", *given, "--data", "rows.jsonl", *way)
        (out, ids), (wanted_out, wanted) = runs["triton"], runs["torch"]
        assert out == wanted_out, form
        assert wanted, form
        assert sorted(ids.values()) == sorted(wanted.values()), form
        assert ids.keys().isdisjoint(wanted), form  # not one call would be taken for another backend's
        seen[form] = out, sorted(wanted.values())
    for a, b in (("lmp", "py"), ("lmp", "lowered"), ("tuned lmp", "tuned py")):
        if a in seen and b in seen:
            assert seen[a] == seen[b]


@pytest.mark.timeout(600)  # ranks wait for each other where processors are few
def test_every_form_of_one_example(lampc: Lampc) -> None:
    held("01_classify", FORMS, lampc)


def test_a_program_of_several_calls(lampc: Lampc) -> None:
    held("04_table", ("lmp",), lampc)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_every_form_of_every_example(name: str, lampc: Lampc) -> None:
    held(name, FORMS, lampc)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_four_ranks(name: str, lampc: Lampc) -> None:
    held(name, ("tuned lmp",), lampc, ranks=4)
