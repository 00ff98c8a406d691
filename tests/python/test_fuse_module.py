"""`lampc.Fuse` on a module of Python: the compiled copy makes fewer calls, with equal outputs."""

from __future__ import annotations

from typing import Any

import pytest

import lampc
from lampc.passes.optimize import OptimizeError
from tests.optimize.test_fuse import Scripted, truth
from tests.runtime.standin import Provider


class Review(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tone = lampc.Predict("text -> tone")
        self.about = lampc.Predict("text -> topic")

    def forward(self, text: str) -> Any:
        t = self.tone(text=text)
        a = self.about(text=text)
        return lampc.Prediction(tone=t.tone, topic=a.topic)


class Told(Review):
    def forward(self, text: str) -> Any:
        with open(text) as file:  # no compiler follows this
            return super().forward(file.read())


def examples(n: int) -> list[lampc.Example]:
    texts = [f"A long text that both calls read, number {i}. {'It goes on. ' * 40}" for i in range(n)]
    return [lampc.Example(text=t, **{k: truth(t)[k] for k in ("tone", "topic")}).with_inputs("text") for t in texts]


def right(example: lampc.Example, prediction: Any, trace: Any = None) -> float:
    return float(example.tone == prediction.tone and example.topic == prediction.topic)


def test_a_compiled_module_makes_fewer_calls() -> None:
    with Provider(Scripted(mute={4})) as server:
        lm = lampc.LM("openai/m", api_base=server.url, cache=False)
        with lampc.context(lm=lm, adapter=lampc.ChatAdapter()):
            made = lampc.Fuse(right).compile(Review(), valset=examples(24))
            assert made._fused == (("tone", "about"),)
            (record,) = made.gates  # type: ignore[attr-defined]
            assert record.accepted
            server.requests.clear()
            evaluate = lampc.Evaluate(devset=examples(12), metric=right, display_progress=False)
            assert evaluate(Review()).score == 100.0
            assert len(server.requests) == 24
            server.requests.clear()
            assert evaluate(made).score == 100.0
            assert len(server.requests) == 11 + 1 + 2  # one row fell back
            assert evaluate(made.deepcopy()).score == 100.0
            with pytest.raises(OptimizeError, match="fused already"):
                lampc.Fuse(right).compile(made, valset=examples(24))
            server.requests.clear()
            refused = lampc.Fuse(right, rows=30).compile(Review(), valset=examples(24))
            assert refused._fused == ()
            with pytest.raises(OptimizeError, match="runs as plain Python"):
                lampc.Fuse(right).compile(Told(), valset=examples(24))
    with pytest.raises(TypeError, match="no option 'leest'"):
        lampc.Fuse(right, leest=0.1)
