"""Optimizers that set demos on modules themselves leave frozen predictors as they are."""

from __future__ import annotations

from typing import Any

import lampc

ROWS = [lampc.Example(q=f"q{i}", a=f"a{i}", b=f"b{i}").with_inputs("q") for i in range(6)]


class Two(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = lampc.Predict("q -> a")
        self.b = lampc.Predict("q, a -> b")

    def forward(self, q: str) -> Any:
        return self.b(q=q, a=self.a(q=q).a)


def frozen() -> Two:
    program = Two()
    program.b.demos = [lampc.Example(q="x", a="y", b="z")]
    lampc.freeze(program.b)
    return program


def test_labelled_demos_leave_frozen_ones() -> None:
    made = lampc.LabeledFewShot(3).compile(frozen(), trainset=ROWS)
    plain = lampc.LabeledFewShot(3).compile(Two(), trainset=ROWS)
    assert [d.a for d in made.a.demos] == [d.a for d in plain.a.demos]
    assert [d.b for d in made.b.demos] == ["z"]


def test_neighbours_leave_frozen_ones() -> None:
    shown: list[str] = []

    def model(messages: list[dict[str, str]]) -> str:
        shown.append("".join(m["content"] for m in messages))
        return "[[ ## a ## ]]\na\n\n[[ ## b ## ]]\nb\n\n[[ ## completed ## ]]"

    def vectors(texts: list[str]) -> Any:
        import numpy as np

        return np.array([[float(len(t)), 1.0] for t in texts], dtype=np.float32)

    with lampc.context(lm=lampc.LM("m", engine=model, cache=False)):
        made = lampc.KNNFewShot(2, ROWS, lampc.Embedder(vectors)).compile(frozen())
        made(q="new")
    of_b = [text for text in shown if "`b`" in text and "new" in text]
    assert of_b
    assert all("z" in text for text in of_b)
