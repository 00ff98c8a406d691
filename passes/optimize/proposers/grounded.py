"""Instructions that a model writes, grounded in the program, the data, calls that went well, and a hint on style.

The algorithm is that of the proposer of DSPy's MIPROv2: describe the program, describe the predictor's part in it,
write an instruction; wording and prompts are our own. There, each of the three calls is made for each candidate. Here,
descriptions that would be asked for in the same words are asked for once, and calls that do not wait for each other are
made together: what is proposed is made from the same information.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.ir import Demo, Signature, thaw
from lampc.passes.optimize.jobs import CallJob, CallResult, Job, Result
from lampc.passes.optimize.proposers.asking import Asking, texts, without_label
from lampc.passes.optimize.proposers.program_text import program_text
from lampc.passes.optimize.proposers.protocol import Wish
from lampc.passes.optimize.proposers.summary import Summary, batches, text_of
from lampc.passes.optimize.protocol import OptimizeError, Problem

TIPS = {
    "none": "",
    "creative": "Be inventive: the instruction may be unlike the one that there is.",
    "simple": "Let the instruction be short and plain.",
    "description": "Let the instruction say much: describe the task and a good answer in detail.",
    "high_stakes": "Let the instruction set a scene in which much depends on a right answer.",
    "persona": "Let the instruction begin by saying who the model is, as someone who is good at this task.",
}
"""Hints on style by name, in the order in which they are drawn from."""

_CODE = ("program_code", "a program that solves a task by calls of language models")
_EXAMPLE = ("program_example", "inputs and outputs of the program's calls")
_ABOUT = ("program_description", "what the program is for and how it works")
_PART = ("module", "the call that is meant, with its inputs and outputs")

DESCRIBE_PROGRAM = Signature(
    texts(_CODE, _EXAMPLE),
    texts(_ABOUT),
    "Read this program, which solves a task by calls of language models. Say which task that seems to be, and how the "
    "program goes about it.",
    "describe_program",
)
DESCRIBE_PART = Signature(
    texts(_CODE, _EXAMPLE, _ABOUT, _PART),
    texts(("module_description", "what this call does for the program")),
    "Read this program, which solves a task by calls of language models. Say what one of these calls is there for.",
    "describe_part",
)
_DATA = ("dataset_description", "what the data are like")
_PROGRAM = (_CODE, _ABOUT, _PART, ("module_description", "what this call does for the program"))
_DEMOS = ("task_demos", "inputs and outputs of this call")
_BASIC = ("basic_instruction", "the instruction that there is")
_TIP = ("tip", "a hint for the new instruction")

NO_DEMOS = "(none)"
UNKNOWN = "(not known)"


@dataclass(frozen=True)
class Grounded(Asking):
    """Options as DSPy's: what the writer is shown (`data_aware`, `program_aware`, demos and tips as wished for), and of
    how many rows at a time the data are summed up. `program_code` is what it is shown of the program beside its
    predictors, if not our own writing of it."""

    name: ClassVar[str] = "grounded"
    data_aware: bool = True
    program_aware: bool = True
    view_data_batch_size: int = 10
    program_code: str = ""

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Writing:
        self.check(self.name, problem)
        return Writing(self, problem, wishes)

    def files(self, problem: Problem) -> object:
        return None

    def calls(self, problem: Problem, wishes: int) -> int:
        data = batches(len(problem.train), self.view_data_batch_size) if self.data_aware else 0
        return data + wishes * (3 if self.program_aware else 1)

    def writer(self, data: bool, tip: bool) -> Signature:
        """What is asked in the end."""
        given = [*([_DATA] if data else []), *(_PROGRAM if self.program_aware else ()), _DEMOS, _BASIC]
        return Signature(
            texts(*given, *([_TIP] if tip else [])),
            texts(("proposed_instruction", "the instruction that the model is to be given, and nothing else")),
            "Learn from what follows about a task that is solved by calls of a language model. Then write a new "
            "instruction for one of these calls, with which the model will do its part better.",
            "write_instruction",
        )


class Writing:
    """Proposals under way: descriptions and the summary of the data, each distinct one once, then the instructions."""

    def __init__(self, options: Grounded, problem: Problem, wishes: Sequence[Wish]) -> None:
        self.options, self.wishes = options, list(wishes)
        self.texts: list[str | None] = [None] * len(self.wishes)
        self.errors: list[str] = []
        self._code = program_text(problem, options.program_code) if options.program_aware else ""
        self._summary = Summary(problem, options, options.view_data_batch_size) if options.data_aware else None
        self._shown = [_demos_text(w) for w in self.wishes]
        self._programs: dict[str, str | None] = {}
        self._parts: dict[tuple[str, str], str | None] = {}
        self._asked: set[object] = set()
        self._due: deque[object] = deque()  # what each job that is due is for
        self._told = 0

    @property
    def done(self) -> bool:
        return self._told == len(self.wishes)

    def ask(self, n: int) -> list[Job]:
        jobs: list[Job] = []
        for what, job in self._wanted() if not self.done else ():
            if len(jobs) == n:
                break
            self._asked.add(what)
            self._due.append(what)
            jobs.append(job)
        return jobs

    def _wanted(self) -> list[tuple[object, Job]]:
        """Calls that can be made now and were not asked for."""
        out: list[tuple[object, Job]] = [("data", job) for job in (self._summary.ask(1) if self._summary else ())]
        for i, wish in enumerate(self.wishes):
            for what, job in self._steps(i, wish):
                if what not in self._asked and what not in (known for known, _ in out):
                    out.append((what, job))
        return out

    def _steps(self, i: int, wish: Wish) -> list[tuple[object, Job]]:
        """What wish `i` needs next."""
        shown, about, part = self._shown[i], "", ""
        if self.options.program_aware:
            inputs = {"program_code": self._code, "program_example": shown}
            if shown not in self._programs:
                return [(("program", shown), self.options.call(DESCRIBE_PROGRAM, inputs))]
            about = self._programs[shown] or UNKNOWN
            inputs |= {"program_description": about, "module": _part_text(wish)}
            spot = shown, inputs["module"]
            if self._programs[shown] is not None and spot not in self._parts:
                return [(("part", *spot), self.options.call(DESCRIBE_PART, inputs))]
            part = self._parts.get(spot) or UNKNOWN
        if self._summary is not None and not self._summary.done:
            return []
        data = self._summary.text if self._summary is not None else ""
        given = {
            "dataset_description": data, "program_code": self._code, "program_description": about,
            "module": _part_text(wish), "module_description": part, "task_demos": shown,
            "basic_instruction": wish.instruction, "tip": wish.tip,
        }  # fmt: skip
        return [(i, self.options.call(self.options.writer(bool(data), bool(wish.tip)), given, wish.number))]

    def tell(self, job: Job, result: Result) -> None:
        if not isinstance(job, CallJob) or not isinstance(result, CallResult):
            raise OptimizeError(f"{self.options.name} asked for calls, not for a {type(job).__name__}")
        match self._due.popleft():
            case "data":
                assert self._summary is not None
                self._summary.tell(job, result)
            case ("program", str(shown)):
                said = text_of(result, "program_description")
                self._programs[shown] = None if result.error else without_label(said)
            case ("part", str(shown), str(part)):
                self._parts[shown, part] = None if result.error else text_of(result, "module_description")
            case int(i):
                self._told += 1
                if result.error:
                    self.errors.append(result.error)
                else:  # twice, as there
                    written = text_of(result, "proposed_instruction")
                    self.texts[i] = without_label(without_label(written)).strip() or None

    def calls(self) -> int:
        if self.done:
            return 0
        made = len(self._programs) + len(self._parts) + self._told
        most = len(self.wishes) * (3 if self.options.program_aware else 1)
        return most - made + (self._summary.calls() if self._summary is not None else 0)


def _demos_text(wish: Wish) -> str:
    return "\n\n".join(_demo_text(wish.signature, d) for d in wish.demos) or NO_DEMOS


def _demo_text(signature: Signature, demo: Demo) -> str:
    fields = (*signature.inputs, *signature.outputs)
    return "\n".join(f"{f.name}: {thaw(demo.values.get(f.name))}" for f in fields)


def _part_text(wish: Wish) -> str:
    names = [[f.name for f in fields] for fields in (wish.signature.inputs, wish.signature.outputs)]
    return f"{wish.predictor.symbol}({', '.join(names[0])}) -> {', '.join(names[1])}"
