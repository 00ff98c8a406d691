"""What a proposer of instructions is: it is told what is wanted and gives texts, asking a model or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from lampc.ir import Demo, Signature
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.jobs import CallJob, CallResult, Job, Result
from lampc.passes.optimize.protocol import OptimizeError, Problem


@dataclass(frozen=True, slots=True)
class Wish:
    """One instruction that is wanted for a predictor, and what may help to write it.

    `instruction` is what the predictor is told now; `demos` are calls of it that went well; `attempts` are
    instructions that were tried with their scores, the worst first; `remarks` is what was said of its calls, one text
    each. What was `tried` is not to be proposed again. `tip` is a hint on style. Wishes that are equal but for `number`
    are to get different texts.
    """

    predictor: DefPredictor
    instruction: str
    demos: tuple[Demo, ...] = ()
    attempts: tuple[tuple[str, float], ...] = ()
    remarks: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    tip: str = ""
    number: int = 0

    @property
    def signature(self) -> Signature:
        return self.predictor.signature

    def known(self) -> set[str]:
        """Texts that would be nothing new."""
        return {self.instruction, *self.tried, *(text for text, _ in self.attempts)}


class Drafting(Protocol):
    """Proposals under way: a fold like an optimizer's. `texts` has one entry per wish, None for one without a text; it
    is complete once `done`."""

    @property
    def done(self) -> bool: ...

    @property
    def texts(self) -> Sequence[str | None]: ...

    def ask(self, n: int) -> list[Job]: ...

    def tell(self, job: Job, result: Result) -> None: ...

    def calls(self) -> int:
        """Most calls of a model that are still to come."""
        ...


class Proposer(Protocol):
    """Options of a proposer; `name` is what source files call it."""

    name: ClassVar[str]

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Drafting:
        """Start. Raises OptimizeError if the proposer does not suit the problem."""
        ...

    def files(self, problem: Problem) -> object:
        """What the proposals depend on besides options and problem: texts that are read from files. None if nothing."""
        ...

    def calls(self, problem: Problem, wishes: int) -> int:
        """Most calls of a model for so many wishes."""
        ...


@dataclass(slots=True)
class Drafted:
    """Proposals that need no model."""

    texts: list[str | None]
    done: bool = True

    def ask(self, n: int) -> list[Job]:
        return []

    def tell(self, job: Job, result: Result) -> None:
        raise OptimizeError("no job was asked for")

    def calls(self) -> int:
        return 0


def dealt(wishes: Sequence[Wish], choices: dict[str, list[str]]) -> Drafted:
    """Wishes in their order get the texts of their predictor in their order, each once and none that is known."""
    left = {name: iter(dict.fromkeys(texts)) for name, texts in choices.items()}
    return Drafted([next((t for t in left[w.predictor.symbol] if t not in w.known()), None) for w in wishes])


@dataclass(slots=True)
class Calls:
    """Calls of a model that may all be made together: asked for in order, answers kept in order."""

    jobs: list[CallJob]
    answers: list[CallResult] = field(default_factory=list)
    _asked: int = 0

    @property
    def done(self) -> bool:
        return len(self.answers) == len(self.jobs)

    def ask(self, n: int) -> list[Job]:
        first, self._asked = self._asked, min(len(self.jobs), self._asked + n)
        return list(self.jobs[first : self._asked])

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, CallJob) or not isinstance(result, CallResult):
            raise OptimizeError(f"a proposer asked for calls, not for a {type(job).__name__}")
        self.answers.append(result)

    def left(self) -> int:
        return len(self.jobs) - len(self.answers)
