"""Ranks as threads of the test's own process: the same exchanges over loopback, without the seconds that processes
take to import torch."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lampc.backend.load import load_engine
from lampc.backend.parallel import join, team, worker
from lampc.backend.parallel.engine import ParallelEngine
from lampc.backend.parallel.errors import RankFailed
from lampc.backend.parallel.outline import Pass
from lampc.backend.parallel.settings import Settings
from lampc.backend.parallel.share import Share
from lampc.backend.parallel.step import Step


class ThreadRanks:
    """Stands in for `lampc.backend.parallel.launch.Ranks`."""

    shares: list[Share]

    def __init__(self, orders: Sequence[str], timeout_s: float) -> None:
        self.failure: str | None = None
        self._threads = [
            threading.Thread(target=self._serve, args=(json.loads(o),), name=f"rank{i}", daemon=True)
            for i, o in enumerate(orders, 1)
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, order: dict[str, Any]) -> None:
        try:
            worker.serve_launched(order["rank"], order["store"], order["settings"])
        except BaseException as error:
            self.failure = f"{type(error).__name__}: {error}"

    def check(self) -> None:
        if self.failure is not None:
            raise RankFailed(self.failure)

    def joined(self) -> None:
        pass

    def explain(self, error: BaseException) -> str:
        return f"{error}; {self.failure}"

    def close(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


class Noted(Share):
    """Remembers its rank and the steps, or halves of steps, that it ran."""

    def __init__(self, settings: Settings, rank: int) -> None:
        super().__init__(settings, rank)
        self.rank = rank
        self.steps: list[Step] = []

    def begin(self, step: Step, place: int = 0) -> Pass:
        self.steps.append(step)
        return super().begin(step, place)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list["Noted"]:
    """Ranks are threads; the shares of weights that they load, in any order."""
    shares: list[Noted] = []

    class Kept(Noted):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            shares.append(self)

    monkeypatch.setattr(team, "Ranks", ThreadRanks)
    monkeypatch.setattr(team, "Share", Kept)
    monkeypatch.setattr(worker, "Share", Kept)
    return shares


def two_nodes(monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    """Every rank says that it runs on one of two machines, half of them on each."""

    def name() -> str:
        number = threading.current_thread().name.removeprefix("rank")
        return "b" if number.isdigit() and int(number) >= ranks // 2 else "a"

    monkeypatch.setattr(join, "node_name", name)


def load(folder: Path, ranks: int, **options: Any) -> ParallelEngine:
    engine = load_engine(folder, tensor_parallel=ranks, **options)
    assert isinstance(engine, ParallelEngine)
    return engine
