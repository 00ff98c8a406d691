"""Asynchronous calls: what waits at the same time goes out together; threads, cancelling, errors."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import lampc
from lampc.ir import Draw, Key, Sampling
from lampc.ir.runner import gather, set_default_runner
from lampc.runtime.budget import BudgetSpent
from lampc.runtime.client import Client
from lampc.runtime.events import EventBus
from lampc.runtime.scripted import DummyLM
from lampc.runtime.session import Session


def upper(messages: list[dict[str, str]]) -> str:
    """The question in capitals."""
    text = messages[-1]["content"]
    if "fail" in text:
        raise ValueError("no answer to that")
    return "answer: " + text.partition("question: ")[2].split("\n")[0].upper()


@pytest.fixture
def lm() -> Iterator[DummyLM]:
    model = DummyLM(upper, adapter="compact")
    lampc.configure(lm=model)
    yield model
    runner = set_default_runner(None)
    assert runner is not None
    runner.close()  # type: ignore[attr-defined]


class Hops(lampc.Module):
    """Has `forward` only."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        first = self.ask(question=question)
        return self.ask(question=first.answer + " again")


class Awaits(Hops):
    """Has an `aforward` of its own, in DSPy's style."""

    async def aforward(self, question: str) -> Any:
        first, second = await asyncio.gather(self.ask.acall(question=question), self.ask.acall(question="b" + question))
        return lampc.Prediction(answer=first.answer + second.answer)


async def many(module: Any, n: int) -> list[Any]:
    return await asyncio.gather(*(module.acall(question=f"q{i}") for i in range(n)))


def test_sixty_four_tasks_become_two_batches(lm: DummyLM) -> None:
    found = asyncio.run(many(Hops(), 64))
    assert [p.answer for p in found] == [f"Q{i} AGAIN" for i in range(64)]
    assert Counter(lm.batches) == {64: 2}


def test_coroutines_of_the_user_are_batched_too(lm: DummyLM) -> None:
    found = asyncio.run(many(Awaits(), 64))
    assert found[3].answer == "Q3BQ3"
    assert Counter(lm.batches) == {128: 1}


def test_a_task_gives_what_a_plain_call_gives(lm: DummyLM) -> None:
    hops = Hops()
    assert asyncio.run(hops.acall(question="x")).answer == hops(question="x").answer == "X AGAIN"
    assert [len(hops.history), len(hops.ask.history)] == [4, 4]


def test_one_failing_task_leaves_the_others_alone(lm: DummyLM) -> None:
    async def run() -> list[Any]:
        asks = [Hops().acall(question=q) for q in ("a", "fail", "c")]
        return await asyncio.gather(*asks, return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert (first.answer, third.answer) == ("A AGAIN", "C AGAIN")
    assert "no answer to that" in str(second)


def test_a_cancelled_task_ends_its_code(lm: DummyLM) -> None:
    ended = []

    class Careful(Hops):
        def forward(self, question: str) -> Any:
            try:
                return super().forward(question)
            finally:
                ended.append(question)

    async def run() -> Any:
        task = asyncio.create_task(Careful().acall(question="x"))
        other = asyncio.create_task(Careful().acall(question="y"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await other

    assert asyncio.run(run()).answer == "Y AGAIN"
    assert sorted(ended) == ["x", "y"]


def test_pieces_of_plain_code_run_together(lm: DummyLM) -> None:
    hops = Hops()
    found = gather([lambda i=i: hops(question=f"p{i}").answer for i in range(8)])
    assert found == [f"P{i} AGAIN" for i in range(8)]
    assert lm.batches == [8, 8]
    nested = gather([lambda: gather([lambda: hops(question="in").answer] * 2), lambda: hops(question="out").answer])
    assert nested == [["IN AGAIN", "IN AGAIN"], "OUT AGAIN"]


def test_threads_may_all_call_at_once(lm: DummyLM) -> None:
    hops, found = Hops(), {}

    def work(i: int) -> None:
        found[i] = hops(question=f"t{i}").answer

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert found == {i: f"T{i} AGAIN" for i in range(16)}


def test_the_loop_stays_free_while_a_model_works(lm: DummyLM) -> None:
    slow = DummyLM(lambda messages: time.sleep(0.2) or "answer: slow")  # type: ignore[func-returns-value]

    async def run() -> int:
        with lampc.context(lm=slow):
            task = asyncio.create_task(Hops().acall(question="x"))
            ticks = 0
            while not task.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert (await task).answer == "slow"
        return ticks

    assert asyncio.run(run()) > 5


def test_the_bundled_model_computes_tasks_together() -> None:
    running: Counter[int] = Counter()
    bus = EventBus()
    bus.subscribe(lambda e: running.update([e.data["running"]]) if e.kind == "step" else None)
    lampc.configure(model="firefly", bus=bus)
    ask = lampc.Predict("text -> label: Literal['good', 'bad']", max_tokens=4)

    async def run() -> list[Any]:
        asks = [ask.acall(text=f"word {i}") for i in range(64)]
        return await asyncio.gather(*asks, return_exceptions=True)

    try:
        assert len(asyncio.run(run())) == 64
        assert max(running) == 64
    finally:
        lampc.configure(lm=DummyLM([]))
        set_default_runner(None)


class Slow(lampc.BaseLM):
    async def aforward(self, prompt: Any = None, messages: Any = None, **options: Any) -> str:
        await asyncio.sleep(0.3)
        return "late"


async def one_dropped(session: Session) -> asyncio.Task[Any]:
    """Of two calls that are under way the first is dropped; gives the other."""

    def ask(text: str) -> asyncio.Task[Any]:
        return asyncio.create_task(
            session.achat([{"role": "user", "content": text}], Sampling(), [Draw(0, Key((text,)))])
        )

    dropped, wanted = ask("one"), ask("two")
    await asyncio.sleep(0.05)
    dropped.cancel()
    await asyncio.sleep(0.05)
    return wanted


@pytest.mark.timeout(30)
def test_a_dropped_call_is_not_waited_for_in_the_loop_that_awaits_it() -> None:
    async def main() -> None:
        with Session(model=Slow("slow")) as session:
            wanted = await one_dropped(session)
            with pytest.raises(RuntimeError, match=r"await asyncio\.to_thread\(session\.settle\)"):
                session.settle()
            await asyncio.to_thread(session.settle)
            await wanted
            assert session.usage.calls == 2, "the dropped one was paid for, too"

    asyncio.run(main())


@pytest.mark.timeout(30)
def test_a_spent_budget_does_not_wait_for_a_call_that_is_awaited_in_the_loop_of_its_thread() -> None:
    async def main() -> None:
        with Session(model=Slow("slow")) as session:
            wanted = await one_dropped(session)
            with pytest.raises(BudgetSpent), Client(session.desk):
                raise BudgetSpent("calls")
            await asyncio.to_thread(session.settle)
            await wanted
            assert session.usage.calls == 2, "the dropped one was paid for, too"

    asyncio.run(main())
