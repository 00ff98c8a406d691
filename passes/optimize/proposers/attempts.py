"""Instructions that a model writes, seeing those that were tried and how they scored: what COPRO does.

The algorithm is that of DSPy's COPRO; wording and prompts are our own. No prefix of an output field is asked for: no
layout prints one, there or here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir import Signature
from lampc.passes.optimize.jobs import CallJob, Job, Result
from lampc.passes.optimize.proposers.asking import Asking, texts
from lampc.passes.optimize.proposers.protocol import Calls, Wish
from lampc.passes.optimize.proposers.summary import text_of
from lampc.passes.optimize.protocol import Problem

_PROPOSED = texts(("proposed_instruction", "the instruction that the model is to be given, and nothing else"))
FIRST = Signature(
    texts(("basic_instruction", "the instruction that there is")),
    _PROPOSED,
    "Rewrite this instruction, which a language model is given, so that a good model does the task better. You are "
    "free to depart from its words.",
    "improve_instruction",
)
FURTHER = Signature(
    texts(("attempted_instructions", "instructions with their scores, the worst first")),
    _PROPOSED,
    "These instructions were given to a language model, and scored by how well it then did the task: a higher score is "
    "better. Write another one, with which a good model does better still. You are free to depart from their words.",
    "improve_on_attempts",
)


@dataclass(frozen=True)
class Attempts(Asking):
    """One call for each wish, all together; one whose answer cannot be read gives no text."""

    name: ClassVar[str] = "attempts"
    temperature: float = 1.4

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Improving:
        self.check(self.name, problem)
        return Improving([self._call(w) for w in wishes])

    def files(self, problem: Problem) -> object:
        return None

    def calls(self, problem: Problem, wishes: int) -> int:
        return wishes

    def _call(self, wish: Wish) -> CallJob:
        if not wish.attempts:
            return self.call(FIRST, {"basic_instruction": wish.instruction}, wish.number)
        return self.call(FURTHER, {"attempted_instructions": attempts_text(wish)}, wish.number)


def attempts_text(wish: Wish) -> str:
    return "\n\n".join(
        f"Instruction {i}: {text}\nScore {i}: {score:g}" for i, (text, score) in enumerate(wish.attempts, 1)
    )


class Improving:
    """Proposals under way."""

    def __init__(self, jobs: list[CallJob]) -> None:
        self._calls = Calls(jobs)

    @property
    def done(self) -> bool:
        return self._calls.done

    @property
    def texts(self) -> list[str | None]:
        return [None if a.error else text_of(a, "proposed_instruction") for a in self._calls.answers]

    @property
    def errors(self) -> list[str]:
        return [a.error for a in self._calls.answers if a.error]

    def ask(self, n: int) -> list[Job]:
        return self._calls.ask(n)

    def tell(self, job: Job, result: Result) -> None:
        self._calls.tell(job, result)

    def calls(self) -> int:
        return self._calls.left()
