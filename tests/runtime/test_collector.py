"""What the garbage collector leaves alone, and in whose process."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from lampc.runtime import collector
from lampc.runtime.cli import main


class Knot:
    """Something that only the collector can give back."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(collector, "_ours", True)
    monkeypatch.setattr(collector, "_settled", False)
    yield
    gc.unfreeze()


def test_what_ended_is_given_back_when_the_next_model_is_loaded(ours: None) -> None:
    kept, knots = Knot(), []
    for _ in range(3):
        knot = Knot()
        collector.settle()
        knots.append(weakref.ref(knot))
        del knot
    gc.collect()
    assert [ref() is not None for ref in knots] == [False, False, True], "sessions of models in turns would pile up"
    assert gc.get_freeze_count()
    assert kept.me is kept


def test_somebody_elses_process_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = gc.get_freeze_count()
    assert main(["--version"]) == 0
    collector.settle()
    assert gc.get_freeze_count() == before
