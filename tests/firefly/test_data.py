"""The data of the examples is what the tool writes, and its splits do not overlap."""

from __future__ import annotations

import csv
from pathlib import Path

from firefly.example_data import write_all

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"


def test_committed_files_are_what_the_tool_writes(tmp_path: Path) -> None:
    write_all(tmp_path)
    for file in tmp_path.iterdir():
        assert (DATA / file.name).read_text() == file.read_text(), file.name


def test_splits_do_not_overlap() -> None:
    for name, key in (("01_tickets.csv", "text"), ("02_stories.csv", "question")):
        with (DATA / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len({row[key] for row in rows}) == len(rows)
