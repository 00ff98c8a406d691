"""A program with data in a folder of its own, an endpoint that answers it, and the command line in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lampc.runtime import calibrate, experience
from lampc.runtime.cli import main
from tests.runtime.loopback import Loopback, Messages

FILES = Path(__file__).parent / "files"
PLEASED = ("liked", "lovely", "great", "enjoyed", "Kind", "Fine", "Best")


def tone(messages: Messages) -> str:
    """Knows the tone once it has seen demos or a clear instruction; else says `good`."""
    text = messages[-1]["content"]
    taught = len(messages) > 2 or "good or bad" in messages[0]["content"]
    return f"tone: {'good' if not taught or any(w in text for w in PLEASED) else 'bad'}"


@dataclass
class Result:
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests keep what engines cost, measured once, and what predictors answered."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path: Path, costs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a copy of the test program and its data."""
    for module in (calibrate, experience):
        monkeypatch.setattr(module, "default_folder", lambda: costs)
    monkeypatch.setattr(calibrate, "SECONDS", 1.0)
    for name in ("classify.lmp", "notes.csv"):
        shutil.copy(FILES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("LAMPC_DEBUG", "FRESH", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(tone) as made:
        yield made


@pytest.fixture
def lampc(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command line here."""

    def run(*args: str | os.PathLike[str]) -> Result:
        capsys.readouterr()
        code = main([os.fspath(a) for a in args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
