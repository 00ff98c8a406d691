"""Habits of DSPy's users that are no method of anything: what they set, print and pass along."""

from __future__ import annotations

from typing import Any

import lampc
from tests.python.twins import Script, both, in_turn, ours


class Ask(lampc.Module):
    def __init__(self, signature: type[lampc.Signature]) -> None:
        super().__init__()
        self.ask = lampc.Predict(signature)

    def forward(self, q: str) -> lampc.Prediction:
        return self.ask(q=q)


def test_an_instruction_may_be_set_as_docstring() -> None:
    def program(d: Any) -> list[str]:
        class S(d.Signature):
            """Say it."""

            q: str = d.InputField()
            a: str = d.OutputField()

        class Narrow(S):
            pass

        said = [S.instructions]
        asked = d.Predict(S)
        asked(q="1")
        S.__doc__ = f"Say it in {'German'}.\n    Twice."
        asked(q="2")
        d.ChainOfThought(S)(q="3")
        Ask_ = type("Ask_", (d.Module,), {"forward": lambda self, q: asked(q=q)})
        Ask_().batch([d.Example(q="4").with_inputs("q")])
        return [*said, S.instructions, S.with_instructions("x").instructions, Narrow.instructions]

    def script() -> Script:
        return in_turn(*[{"reasoning": "r", "a": "b"}] * 4)

    their, our = both(program, script)
    assert our == their
    assert "in German" in our[1][3][0]["content"]


def test_a_program_that_ran_sees_the_new_docstring() -> None:
    class S(lampc.Signature):
        """One."""

        q: str = lampc.InputField()
        a: str = lampc.OutputField()

    asked, rows = Ask(S), [lampc.Example(q="1").with_inputs("q")]
    with ours(in_turn({"a": "b"}, {"a": "c"})) as side:
        asked.batch(rows)
        S.__doc__ = "Two."
        asked.batch(rows)
    assert [p[0]["content"].rsplit("\n", 1)[-1].strip() for p in side.prompts] == ["One.", "Two."]
