"""Instructions that a model writes after reading calls with remarks on them: GEPA's reflection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from lampc.ir import Field, Sampling, Signature
from lampc.passes.optimize.jobs import CallJob, CallResult, Job, Result
from lampc.passes.optimize.proposers.asking import Asking, texts
from lampc.passes.optimize.proposers.protocol import Calls, Wish
from lampc.passes.optimize.protocol import OptimizeError, Problem

_GUIDE = """You improve the instruction that a language model follows for one task. You are given that instruction and \
some calls: what the model was given, what it answered, and a reviewer's remark.
Write a new instruction that is used in the place of the old one, complete in itself.
- Say what the inputs look like and what exactly has to come out.
- Whoever follows it sees neither these calls nor the remarks: put in every fact of the subject that they reveal.
- Turn what led to good answers into general rules, and rule out the mistakes that the remarks point at.
- Keep what the old instruction says and nothing speaks against."""

WRITE = Signature(
    texts(
        ("current_instruction", "the instruction that the calls followed"),
        ("calls", "calls, each with a remark"),
    ),
    texts(("new_instruction", "the whole new instruction, and nothing else")),
    _GUIDE,
    "reflect",
)
SHORTEN = Signature(
    texts(("instruction", "the instruction that is too long"), ("limit", "how long it may be")),
    texts(("shorter_instruction", "the whole instruction within the limit")),
    "Make the instruction shorter, until it is within the limit. Keep every rule and every fact; leave out what is "
    "said twice, and add nothing.",
    "shorten",
)


@dataclass(frozen=True)
class Reflect(Asking):
    """A text per wish, written by the model out of the wish's remarks.

    `guidance` is added to what the model is told, `instead` takes the place of all of that; `reference` is material to
    draw on. A text of more than `max_chars` characters (0: any number) is sent back once to be shortened, and is no
    text if it stays too long. `temperature` and `max_tokens` are the model's own if they are 0.
    """

    name: ClassVar[str] = "reflect"
    max_tokens: int = 0
    guidance: str = ""
    instead: str = ""
    reference: str = ""
    max_chars: int = 0

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Reflected:
        self.check(self.name, problem)
        return Reflected(self, [self.write(w.instruction, w.remarks, w.number) for w in wishes])

    def files(self, problem: Problem) -> object:
        return None

    def calls(self, problem: Problem, wishes: int) -> int:
        return wishes * (2 if self.max_chars else 1)

    def write(self, instruction: str, remarks: Sequence[str], number: int) -> CallJob:
        """What the model is asked, to improve an instruction."""
        values = {"current_instruction": instruction, "calls": _numbered(remarks)}
        given: list[Field] = []
        for field, text in (
            (("reference", "material to draw on"), self.reference),
            (("guidance", "what the new instruction has to heed"), self.guidance),
            (("limit", "how long it may be"), self.limit),
        ):
            if text:
                given += texts(field)
                values[field[0]] = text
        signature = replace(WRITE, inputs=(*given, *WRITE.inputs), instruction=self.instead or _GUIDE)
        return self.call(signature, values, number)

    def call(self, signature: Signature, inputs: Mapping[str, str], number: int = 0) -> CallJob:
        made = super().call(signature, inputs, number)
        said = {n: v for n in ("temperature", "max_tokens") if (v := getattr(self, n))}
        return replace(made, sampling=Sampling(**said, firm=tuple(said)))

    @property
    def limit(self) -> str:
        return f"at most {self.max_chars} characters" if self.max_chars else ""


class Reflected:
    """Texts being written: one round of calls, and one more for those that came out too long."""

    def __init__(self, options: Reflect, jobs: list[CallJob]) -> None:
        self._options = options
        self._calls = Calls(jobs)
        self._second: Calls | None = None
        self._long: list[int] = []
        self.texts: list[str | None] = [None] * len(jobs)
        if not jobs:
            self._second = Calls([])

    @property
    def done(self) -> bool:
        return self._second is not None and self._second.done

    def ask(self, n: int) -> list[Job]:
        return (self._second or self._calls).ask(n)

    def tell(self, job: Job, result: Result) -> None:
        if self._second is not None:
            self._second.tell(job, result)
            if self._second.done:
                for place, answer in zip(self._long, self._second.answers, strict=True):
                    text = _text(answer, "shorter_instruction")
                    self.texts[place] = text if text and len(text) <= self._options.max_chars else None
            return
        self._calls.tell(job, result)
        if self._calls.done:
            self.texts = [_text(a, "new_instruction") for a in self._calls.answers]
            most = self._options.max_chars
            self._long = [i for i, t in enumerate(self.texts) if most and t and len(t) > most]
            self._second = Calls([self._shorten(i) for i in self._long])

    def _shorten(self, place: int) -> CallJob:
        values = {"instruction": self.texts[place] or "", "limit": self._options.limit}
        return self._options.call(SHORTEN, values, self._calls.jobs[place].number)

    def calls(self) -> int:
        if self._second is not None:
            return self._second.left()
        return self._calls.left() + (len(self.texts) if self._options.max_chars else 0)


def _text(answer: CallResult, name: str) -> str | None:
    if answer.error is not None:
        return None
    value = answer.outputs.get(name)
    if value is not None and not isinstance(value, str):
        raise OptimizeError(f"reflect: `{name}` is no text: {value!r:.80}")
    return (value or "").strip() or None


def _numbered(remarks: Sequence[str]) -> str:
    return "\n\n".join(f"[{i}]\n{text}" for i, text in enumerate(remarks, 1))
