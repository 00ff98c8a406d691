"""Rows are let in as the cache has room: nothing waits for ever, and nothing but the order changes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest

from lampc.backend import FakeEngine
from lampc.passes.schedule.block_tree import packed, tree_size, unpacked
from lampc.runtime import admission
from lampc.runtime.admission import Admission
from lampc.runtime.blocks import Task
from lampc.runtime.paths import Prompt
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.runtime.programs import CASES


class Numbered:
    def __init__(self, index: int) -> None:
        self.index = index


def task(index: int) -> Task:
    return cast(Task, Numbered(index))


class Rows:
    """Rows of some calls each, every one going on from the one before; an engine that ends calls in random order."""

    def __init__(self, gate: Admission, count: int, steps: int, seed: int) -> None:
        self.gate, self.random, self.steps = gate, random.Random(seed), steps
        self.tasks = {i: task(i) for i in range(count)}
        self.made: dict[int, int] = dict.fromkeys(self.tasks, 0)
        self.running: list[tuple[int, tuple[int, ...]]] = []
        self.most = 0
        for i in self.tasks:
            self.ask(i, (1, 2, 3, 100 + i, *range(20)))

    def ask(self, i: int, ids: tuple[int, ...]) -> None:
        self.gate.ask(self.tasks[i], "say", Prompt.of(ids), lambda: self.running.append((i, ids)))

    def run(self) -> None:
        while True:
            while not self.running and self.gate.force():
                pass
            if not self.running:
                return
            self.most = max(self.most, len(self.gate._inside))
            i, ids = self.running.pop(self.random.randrange(len(self.running)))
            answer = tuple(self.random.choices(range(50), k=10))
            self.made[i] += 1
            self.gate.answered(self.tasks[i], "say", packed(ids), answer)
            if self.made[i] < self.steps:
                self.ask(i, (*ids, *answer, 7, 8))
            else:
                self.gate.ended(self.tasks[i])
            inside = self.gate._inside.values()
            size = tree_size(unpacked(path) for held in inside for path in (*held.running, held.held))
            assert self.gate._used == pytest.approx(size + sum(held.answers for held in inside), abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("capacity", [1, 60, 200, 10**6])
def test_every_call_is_made_whatever_the_capacity(capacity: int, seed: int) -> None:
    rows = Rows(Admission(capacity), count=12, steps=5, seed=seed)
    rows.run()
    assert set(rows.made.values()) == {5}
    assert not rows.gate._inside
    assert not rows.gate._waiting
    assert rows.gate._used == pytest.approx(0, abs=1e-6)


def test_chains_are_held_back_once_they_are_known_to_go_on() -> None:
    """A row ends with 4 times its first prompt; the cache holds three of these."""
    few, many = (Rows(Admission(c), count=30, steps=6, seed=0) for c in (300, 10**6))
    few.run()
    many.run()
    assert few.gate.reuse > 0.8
    late = Rows(few.gate, count=30, steps=6, seed=1)
    late.run()
    assert late.most <= 10 < many.most


def test_calls_that_share_nothing_with_those_before_never_wait() -> None:
    gate = Admission(50)
    running: deque[tuple[Task, tuple[int, ...]]] = deque()
    for i in range(40):
        one, ids = task(i), tuple(range(1000 * i, 1000 * i + 30))
        go = cast(Callable[[], object], lambda one=one, ids=ids: running.append((one, ids)))
        gate.ask(one, "say", Prompt.of(ids), go)
    assert len(running) == 40
    for one, ids in list(running):
        gate.answered(one, "say", packed(ids), (1, 2))
        ids = tuple(i + 500 for i in ids)
        go = cast(Callable[[], object], lambda one=one, ids=ids: running.append((one, ids)))
        gate.ask(one, "say", Prompt.of(ids), go)
    assert len(running) == 80
    assert gate.reuse < admission.WORTH


@pytest.mark.parametrize("name", CASES)
def test_outputs_do_not_depend_on_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, inputs = CASES[name]
    rows = [Row(str(i), x) for i, x in enumerate(inputs)]
    with Session(model=FakeEngine()) as session:
        wanted = [o.value for o in session.run(program, rows)]
    monkeypatch.setattr(admission, "WORTH", -1.0)
    with Session(model=FakeEngine()) as session:
        session.models.get("main").model.kv_tokens = 16  # type: ignore[attr-defined]
        assert [o.value for o in session.run(program, rows)] == wanted
