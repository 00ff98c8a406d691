"""Models that are Python code which waits: calls beside each other, in threads or in the loop of who awaits them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import lampc
from lampc.runtime.making import CALLS

ROWS = [lampc.Example(question=str(i), answer="A").with_inputs("question") for i in range(20)]
QA = "question -> answer"


class Peak:
    """How many were inside at once, at most, and in which threads."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.threads: set[int] = set()
        self._mutex = threading.Lock()

    def __enter__(self) -> None:
        with self._mutex:
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self.now -= 1


class Blocks(lampc.BaseLM):
    """A client that blocks its thread."""

    seconds = 0.02

    def __init__(self) -> None:
        super().__init__("blocks")
        self.peak = Peak()

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        with self.peak:
            time.sleep(self.seconds)
        return "[[ ## answer ## ]]\nA"


class Computes(Blocks):
    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        with self.peak:
            sum(range(1000))
        return "[[ ## answer ## ]]\nA"


class Awaits(lampc.BaseLM):
    def __init__(self) -> None:
        super().__init__("awaits")
        self.peak = Peak()
        self.loops: set[Any] = set()

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.loops.add(asyncio.get_running_loop())
        with self.peak:
            await asyncio.sleep(0.1)
        return "[[ ## answer ## ]]\nA"


class Both(Awaits):
    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return "[[ ## answer ## ]]\nforward"


def test_code_that_waits_is_called_by_as_many_threads_as_are_allowed() -> None:
    for threads, most in ((6, 6), (1, 1)):
        lm = Blocks()
        with lampc.context(lm=lm):
            assert [p.answer for p in lampc.Predict(QA).batch(ROWS, num_threads=threads)] == ["A"] * len(ROWS)
            assert most - 1 <= lm.peak.most <= most
            measure = lampc.Evaluate(devset=ROWS, metric=lampc.evaluate.answer_exact_match, num_threads=threads)
            assert measure(lampc.ChainOfThought(QA)).score == 0.0, "it writes no reasoning"
            assert most - 1 <= lm.peak.most <= most


def test_code_that_computes_is_called_by_who_asks() -> None:
    lm = Computes()
    with lampc.context(lm=lm):
        lampc.Predict(QA).batch(ROWS, num_threads=6)
    assert lm.peak.threads == {threading.get_ident()}


def test_the_first_calls_show_whether_it_waits() -> None:
    lm = Blocks()
    with lampc.context(lm=lm):
        for i in range(CALLS):
            lampc.Predict(QA)(question=f"x{i}")
        assert lm.peak.most == 1
        lampc.Predict(QA).batch(ROWS, num_threads=4)
    assert 2 <= lm.peak.most <= 4


def test_what_it_raises_fails_its_row_also_in_other_threads() -> None:
    class Fails(Blocks):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            if "13" in messages[-1]["content"]:
                raise ValueError("thirteen")
            return super().forward(prompt, messages, **kwargs)

    with lampc.context(lm=Fails()):
        made, _, errors = lampc.Predict(QA).batch(ROWS, num_threads=5, return_failed_examples=True)
    assert [p and p.answer for p in made] == ["A"] * 13 + [None] + ["A"] * 6
    assert [type(e) for e in errors] == [ValueError]


@pytest.mark.parametrize("kind", [Awaits, Both])
def test_coroutines_are_awaited_together_in_the_loop_of_who_awaits_them(kind: type[Awaits]) -> None:
    lm = kind()

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        made = await asyncio.gather(*(lampc.Predict(QA).acall(question=e.question) for e in ROWS))
        return [p.answer for p in made], await lm.acall("direct"), lm.loops == {loop}

    with lampc.context(lm=lm):
        assert asyncio.run(main()) == (["A"] * 20, ["[[ ## answer ## ]]\nA"], True)
    assert lm.peak.most > 10


def test_plain_code_gets_them_from_a_loop_of_their_own() -> None:
    lm = Awaits()
    with lampc.context(lm=lm):
        assert [p.answer for p in lampc.Predict(QA).batch(ROWS)] == ["A"] * 20
        assert lm.peak.most > 10
        assert lampc.Predict(QA)(question="z").answer == "A"
    with lampc.context(lm=Both()):
        assert lampc.Predict(QA)(question="z").answer == "forward"


def test_a_loop_that_ends_fails_what_is_awaited_in_it() -> None:
    class Endless(Awaits):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            await asyncio.sleep(60)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lampc.Predict(QA).acall(question="x"), 0.1)

    with lampc.context(lm=Endless()):
        started = time.monotonic()
        asyncio.run(main())
    assert time.monotonic() - started < 20


def test_threads_are_answered_while_another_one_makes_new_sessions() -> None:
    def answers(messages: Any) -> str:
        time.sleep(0.002)
        return "[[ ## answer ## ]]\nA"

    lampc.configure(lm=answers, seed=-1)
    found: list[Any] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                found.append(lampc.Predict(QA)(question="x").answer)
            except Exception as e:
                found.append(e)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for seed in range(20):
        lampc.configure(seed=seed)
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not any(t.is_alive() for t in threads)
    assert set(map(str, found)) == {"A"}


@pytest.mark.parametrize("awaited", [False, True])
def test_code_that_waits_may_ask_other_models_in_its_turn(awaited: bool) -> None:
    inner = Blocks()

    class Asks(lampc.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return asyncio.run(self.ask())

        async def ask(self) -> str:
            await asyncio.sleep(0.01)
            return "[[ ## answer ## ]]\n" + (await lampc.Predict(QA).acall(question="z", lm=inner)).answer

    class Later(Asks):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return await self.ask()

    async def main() -> list[str]:
        made = await asyncio.gather(*(lampc.Predict(QA).acall(question=e.question) for e in ROWS[:8]))
        return [p.answer for p in made]

    with lampc.context(lm=(Later if awaited else Asks)("asks")):
        for _ in range(2):
            assert asyncio.run(main()) == ["A"] * 8
        assert [p.answer for p in lampc.Predict(QA).batch(ROWS[:8])] == ["A"] * 8
