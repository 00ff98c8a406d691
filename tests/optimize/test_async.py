"""Optimizers awaited: the same results, a loop that goes on, an end without loss when the task is cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import lampc
from lampc.passes.optimize import InstructionSearch, OptimizeError
from lampc.runtime.budget import CANCELLED
from lampc.runtime.driver import optimize
from lampc.runtime.events import Event, EventBus
from lampc.runtime.halting import aoptimize, awaited
from lampc.runtime.metrics import build_metric
from lampc.runtime.models import Answer, ModelCall
from lampc.runtime.progress import remark
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.optimize.behaviour import BehaviourLM, Planted
from tests.optimize.registered import run, strategy

TASK = Planted(1)


def arguments(name: str = "instructions") -> dict[str, Any]:
    return {
        "steps": [strategy(name, TASK)],
        "train": TASK.train,
        "select": TASK.dev,
        "metric": build_metric("exact_match"),
        "program": TASK.unit.entry,
    }


class Slow(BehaviourLM):
    def make(self, call: ModelCall) -> Answer:
        time.sleep(0.001)
        return super().make(call)


def test_what_is_awaited_gives_what_is_not_and_the_loop_goes_on() -> None:
    wanted = run(TASK, strategy("instructions", TASK)).result
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main() -> Any:
        clock = asyncio.create_task(tick())
        with Session(model=Slow(TASK)) as session:
            found = await aoptimize(TASK.unit, session, **arguments())
        clock.cancel()
        return found

    found = asyncio.run(main())
    assert (found.assignment, found.history, found.score_after) == (
        wanted.assignment,
        wanted.history,
        wanted.score_after,
    )
    assert ticks > 5


def test_a_cancelled_run_ends_and_loses_nothing(tmp_path: Any) -> None:
    model = Slow(TASK)

    async def main() -> float:
        with Store(tmp_path / "store") as store, Session(model=model, store=store) as session:
            task = asyncio.create_task(aoptimize(TASK.unit, session, **arguments(), record=tmp_path / "run.json"))
            while len(model.calls) < 60:
                await asyncio.sleep(0.005)
            task.cancel()
            begun = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - begun

    assert asyncio.run(main()) < 30
    calls = len(model.calls)
    wanted = run(TASK, strategy("instructions", TASK)).result
    assert 60 <= calls < 200 < wanted.runs  # what the rest of the batch wanted was not asked for
    assert '"state": "stopped"' in (tmp_path / "run.json").read_text()
    with Store(tmp_path / "store") as store:
        again = BehaviourLM(TASK)
        found = run(TASK, strategy("instructions", TASK), store=store, model=again).result
    assert (found.assignment, found.history) == (wanted.assignment, wanted.history)
    assert len(again.calls) + calls <= wanted.runs + 1  # what was under way may have been given up
    assert CANCELLED == "cancelled"


def test_errors_come_out_of_the_await() -> None:
    async def main() -> None:
        with Session(model=BehaviourLM(TASK)) as session:
            await aoptimize(TASK.unit, session, **{**arguments(), "steps": [InstructionSearch()]})

    with pytest.raises(OptimizeError, match="the pool is empty"):
        asyncio.run(main())

    def leave() -> None:
        raise KeyboardInterrupt("stop")

    with pytest.raises(RuntimeError, match="KeyboardInterrupt: stop"):
        asyncio.run(awaited(leave))


class Place(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.place = lampc.Predict("item -> label")

    def forward(self, item: str) -> Any:
        return self.place(item=item)


def test_several_compile_at_a_time_as_they_do_alone() -> None:
    rows = [lampc.Example(**r.inputs, **r.labels).with_inputs("item") for r in TASK.train]

    def right(example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(example.label == prediction.label)

    def optimizer(n: int) -> Any:
        return lampc.BootstrapFewShot(metric=right, max_bootstrapped_demos=n, max_labeled_demos=n + 1)

    async def main() -> list[Any]:
        return await asyncio.gather(*(optimizer(n).acompile(Place(), trainset=rows) for n in (1, 2, 3)))

    with lampc.context(lm=BehaviourLM(TASK)):
        together = asyncio.run(main())
        alone = [optimizer(n).compile(Place(), trainset=rows) for n in (1, 2, 3)]
    assert [m.place.demos for m in together] == [m.place.demos for m in alone]
    assert [len(m.place.demos) for m in alone] == [2, 3, 4]


def test_the_same_run_may_be_under_way_twice() -> None:
    async def main() -> list[Any]:
        with Session(model=Slow(TASK), store=Store(None)) as session:
            runs = (aoptimize(TASK.unit, session, **arguments("copro")) for _ in range(3))
            return await asyncio.gather(*runs)

    found = asyncio.run(main())
    wanted = run(TASK, strategy("copro", TASK)).result
    assert all((f.assignment, f.history) == (wanted.assignment, wanted.history) for f in found)


@pytest.mark.parametrize("name", ["instructions", "bootstrap", "copro"])
def test_progress_tells_best_tokens_and_how_long_it_will_take(name: str) -> None:
    events: list[Event] = []
    bus = EventBus()
    bus.checked = True  # type: ignore[misc]
    bus.subscribe(events.append)
    with Session(model=Slow(TASK), bus=bus) as session:
        begun = time.time()
        found = optimize(TASK.unit, session, **arguments(name))
        whole = time.time() - begun
    told = [e for e in events if e.kind == "progress"]
    assert max(e.data.get("best", 0.0) for e in told) >= (found.score_before or 0.0)
    assert 0.9 * found.usage.tokens < told[-1].data["tokens"] <= found.usage.tokens
    left = [(e.data["left"], whole - (e.time - begun)) for e in told if "left" in e.data]
    assert left
    for (least, most), _ in left:
        assert 0 <= least <= most
    middle, rest = left[len(left) // 2]
    assert middle[1] >= rest / 4  # the pace varies with the machine


def test_the_time_that_is_left_is_said() -> None:
    assert remark({"best": 40.0, "tokens": 1200, "left": [62.0, 3700.4]}) == (
        "best 40.0  1,200 tokens  in all 1:02 to 1:01:40 left"
    )
    assert remark({"left": [9.0, 9.0]}) == "in all 0:09 left"
    assert remark({"left": [0.0, 0.2]}) == ""
