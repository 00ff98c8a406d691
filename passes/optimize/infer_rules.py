"""InferRules: bootstrapped demos, and rules that a model reads off the training rows, added to the instructions.

`num_candidates` times rules are drawn for each predictor; what was drawn is scored. Neither draws nor scores depend on
each other, so all draws are asked for together. Where examples do not fit the model's context, fewer are shown: the
largest number that works is found by halving. Algorithm: DSPy 3.4, `teleprompt/infer_rules.py`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from lampc.ir import Assignment, Field, Obj, Sampling, Signature, thaw
from lampc.ir.prog import DefPredictor
from lampc.ir.types import STR
from lampc.passes.optimize.bootstrap import Bootstrap
from lampc.passes.optimize.bootstrap_options import BootstrapOptions
from lampc.passes.optimize.jobs import CallJob, CallResult, EvaluateJob, EvaluateResult, Job, Result
from lampc.passes.optimize.protocol import Candidate, Demand, Example, OptimizeError, Problem, check_count
from lampc.passes.optimize.racing import OFF

RULES = "natural_language_rules"
"""The output that holds the rules."""


@dataclass(frozen=True)
class InferRules(BootstrapOptions):
    """Options as in DSPy; `prompt_model`, by default the teacher's, writes the rules, asked in `layout`.

    Without select rows the second half of the training rows is what candidates are scored on, and only the first half
    gives demos and examples. The first candidate of the highest score (to two decimals) wins. A predictor of which the
    rows hold no output keeps its instruction, as does one whose instruction is frozen. Under `racing` (`halving` or
    `bernstein`) candidates are scored once all rules are there, and those that fall behind are cut.
    """

    name: ClassVar[str] = "infer_rules"
    num_candidates: int = 10
    num_rules: int = 10
    prompt_model: str = ""
    layout: str = "chat"
    racing: str = OFF

    def begin(self, problem: Problem) -> Induction:
        check_count(self.name, num_candidates=self.num_candidates, num_rules=self.num_rules)
        if not self.num_candidates:
            raise OptimizeError(f"{self.name}: `num_candidates` is 0; at least one is needed")
        split, rows, half = problem.select_split, problem.select_rows(), problem
        if not rows:
            size = len(problem.train) // 2
            if not size:
                raise OptimizeError(f"{self.name}: {len(problem.train)} training rows cannot be halved; give more")
            split, rows = problem.train_split, tuple(range(size, len(problem.train)))
            half = replace(problem, train=problem.train[:size])
        self.check(half)
        return Induction(self, half, split, rows)


@dataclass(slots=True)
class Draw:
    """Rules for one predictor of one candidate, from `size` examples; `low` are known to fit, `high` are too many."""

    predictor: DefPredictor
    number: int
    size: int
    low: int = 0
    high: int = 0
    rules: str | None = None
    asked: bool = False

    @property
    def done(self) -> bool:
        return self.rules is not None and (not self.high or self.high - self.low == 1)


@dataclass(slots=True)
class Ruled:
    """A candidate: its draws, and once it is scored its score (0 to 100) and rows'."""

    draws: list[Draw]
    asked: bool = False
    score: float | None = None
    subscores: tuple[float, ...] = ()
    tokens: float | None = None
    assignment: Assignment = field(default_factory=Assignment)


class Induction:
    """A search under way; `members` are its candidates in order, once demos are bootstrapped."""

    def __init__(self, options: InferRules, problem: Problem, split: str, rows: tuple[int, ...]) -> None:
        self._options, self._problem, self._split, self._rows = options, problem, split, rows
        self._texts = {p.symbol: example_texts(problem.train, p.signature) for p in problem.tunable("instruction")}
        self._bootstrap = Bootstrap(options, problem)
        self._due: deque[Draw | Ruled | None] = deque()
        self.members: list[Ruled] = []
        self._enter()

    @property
    def done(self) -> bool:
        return bool(self.members) and all(m.score is not None for m in self.members)

    @property
    def best(self) -> Assignment:
        scored = [m for m in self.members if m.score is not None]
        return max(scored, key=lambda m: m.score or 0.0).assignment if scored else self._bootstrap.best

    @property
    def history(self) -> list[Candidate]:
        name = self._options.name
        return list(self._bootstrap.history) + [
            Candidate(m.assignment, name, f"rules, draw {i}", m.score, len(m.subscores), m.tokens)
            for i, m in enumerate(self.members)
            if m.score is not None
        ]

    def ask(self, n: int) -> list[Job]:
        if not self.members:
            jobs = self._bootstrap.ask(n)
            self._due.extend([None] * len(jobs))
            return jobs
        out: list[Job] = []
        ready = self._options.racing == OFF or all(d.done for m in self.members for d in m.draws)
        for member in self.members:
            for draw in member.draws:
                if not draw.asked and len(out) < n:
                    draw.asked = True
                    self._due.append(draw)
                    out.append(self._call(draw))
            if ready and all(d.done for d in member.draws) and not member.asked and len(out) < n:
                member.asked, member.assignment = True, self._ruled(member)
                self._due.append(member)
                out.append(EvaluateJob(member.assignment, self._split, self._rows))
        return out

    def tell(self, job: Job, result: Result) -> None:
        match self._due.popleft(), result:
            case None, _:
                self._bootstrap.tell(job, result)
                self._enter()
            case Draw() as draw, CallResult():
                self._take(draw, result)
            case Ruled() as member, EvaluateResult():
                member.score, member.subscores = round(result.mean, 2), result.scores
                member.tokens = sum(result.tokens) / len(result.tokens) if result.tokens else None
            case _:
                raise OptimizeError(f"{self._options.name}: {type(result).__name__} is no result of a job asked for")

    def demand(self) -> Demand:
        calls, scored = self._options.num_candidates * sum(map(bool, self._texts.values())), len(self._rows)
        waiting = self._options.num_candidates
        if self.members:
            calls = sum(not d.done for m in self.members for d in m.draws)
            waiting = sum(m.score is None for m in self.members)
        return self._bootstrap.demand() + Demand(waiting * scored, waiting * scored, calls)

    # -- the fold -----------------------------------------------------------------------------------

    def _enter(self) -> None:
        """Once demos are known, and no run is due, go on to rules."""
        if self.members or not self._bootstrap.done or self._due:
            return
        free = [p for p in self._problem.tunable("instruction") if self._texts[p.symbol]]
        self.members = [
            Ruled([Draw(p, i, len(self._texts[p.symbol])) for p in free]) for i in range(self._options.num_candidates)
        ]

    def _call(self, draw: Draw) -> CallJob:
        text = "\n\n".join(self._texts[draw.predictor.symbol][: draw.size])
        model = self._options.prompt_model or self._options.teacher_model or "main"
        warm = Sampling(temperature=1.0, max_tokens=0)
        inputs = Obj({"examples_text": text})
        signature = induction_signature(self._options.num_rules)
        return CallJob(signature, inputs, warm, model, self._options.layout, draw.number)

    def _take(self, draw: Draw, result: CallResult) -> None:
        """Keep the rules of the most examples that worked; try more if some are left between that and too many."""
        if result.error is None:
            draw.low, draw.rules = draw.size, str(thaw(result.outputs).get(RULES, "")).strip()
        else:
            draw.high = draw.size
            if draw.size == 1:
                raise OptimizeError(f"{self._options.name}: no rules, not even from one example: {result.error}")
        if not draw.done:
            draw.size, draw.asked = max(1, (draw.low + draw.high) // 2), False

    def _ruled(self, member: Ruled) -> Assignment:
        made = self._bootstrap.best
        for draw in member.draws:
            p = draw.predictor
            text = with_rules(self._problem.instruction(self._problem.start, p), draw.rules or "")
            made = made.updated(**{f"{p.symbol}.instruction": text})
        return made


def with_rules(instruction: str, rules: str) -> str:
    """An instruction with rules after it."""
    return f"{instruction}\n\nKeep to these rules:\n{rules}" if rules else instruction


def induction_signature(num_rules: int) -> Signature:
    """What a model is asked that writes rules."""
    return Signature(
        inputs=(Field("examples_text", STR, "solved examples of the task"),),
        outputs=(
            Field("reasoning", STR, "what the examples have in common, and where they differ"),
            Field(RULES, STR, "the rules, one on a line"),
        ),
        instruction=(
            f"Work out how the answers in these examples follow from what is given, and write it down as {num_rules} "
            "rules for somebody who has to solve further examples of the same kind without seeing these. Each rule is "
            "short, says when it holds and what to do then, and repeats no other."
        ),
        name="RulesOfExamples",
    )


def example_texts(examples: Sequence[Example], signature: Signature) -> list[str]:
    """Each example as text, with the fields of a signature that it holds; those without any output are left out."""
    out = []
    for example in examples:
        values = {**example.inputs, **example.labels}
        made = _lines(values, [f.name for f in signature.outputs])
        if made:
            given = _lines(values, [f.name for f in signature.inputs])
            out.append("\n".join(["Given:", *given, "Answer:", *made]))
    return out


def _lines(values: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    shown = {n: values[n] for n in names if n in values}
    return [f"{n}: {v if isinstance(v, str) else json.dumps(thaw(v), ensure_ascii=False)}" for n, v in shown.items()]
