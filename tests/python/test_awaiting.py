"""`asyncify` and `syncify`."""

import asyncio
import time
from typing import Any

import pytest

import lampc
from lampc.utils import DummyLM


class Twice(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    async def aforward(self, question: str) -> Any:
        first = await self.ask.acall(question=question)
        return await self.ask.acall(question=first.answer)


def answers(*texts: str) -> DummyLM:
    return DummyLM([{"answer": text} for text in texts])


def test_a_module_can_be_awaited() -> None:
    with lampc.context(lm=answers("one", "two")):
        ask = lampc.asyncify(lampc.Predict("question -> answer"))

        async def both() -> list[Any]:
            return list(await asyncio.gather(ask(question="a"), ask(question="b")))

        assert {one.answer for one in asyncio.run(both())} == {"one", "two"}


def test_a_function_is_awaited_in_a_thread_that_sees_the_settings() -> None:
    model = answers("yes")

    def slow(x: int) -> tuple[int, bool]:
        time.sleep(0.01)
        return x + 1, lampc.settings.lm is model

    async def under() -> Any:
        with lampc.context(lm=model):
            return await lampc.asyncify(slow)(1)

    assert asyncio.run(under()) == (2, True)


@pytest.mark.parametrize("within", [False, True])
def test_what_must_be_awaited_can_be_called(within: bool) -> None:
    with lampc.context(lm=answers("one", "two")):
        program = lampc.syncify(Twice(), in_place=False)

        async def inside() -> Any:
            return program(question="a")

        found = asyncio.run(inside()) if within else program(question="a")
    assert found.answer == "two"


def test_what_cannot_be_awaited_is_refused() -> None:
    with pytest.raises(TypeError, match="has no aforward"):
        lampc.syncify(len)  # type: ignore[type-var]
