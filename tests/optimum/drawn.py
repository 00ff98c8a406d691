"""Small random programs: calls that need answers of others, shared prefixes, branches; run on the simulated engine."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Any

from program_bench.script import Rule, Script
from program_bench.text import Words, generator

from lampc.backend import EngineInfo, Tokenizer
from lampc.backend.simulated import SimulatedEngine
from lampc.backend.steps import StepShape
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment
from lampc.ir.types import Type
from lampc.passes.table import STANDARD
from lampc.runtime.cache import CallCache
from lampc.runtime.compile import Executable, lower
from lampc.runtime.models import Answer, ModelCall
from lampc.runtime.pool import firefly_folder
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row
from tests.optimum.exact import Call, Instance

STEP, ROW = 1.0, 0.01
"""Cost of a step, and of each token in it."""
BLOCK = 4
AHEAD = ("early-prefill", "stream-lists", "speculate")
"""Passes that begin work before all that it needs is there: not so the schedules that are solved."""


@dataclass(frozen=True)
class Program:
    """`needs` are, by call site, the sites whose answers it is shown, or whose answer decides whether it is made.
    Answers have `words` words each."""

    source: str
    needs: tuple[tuple[int, ...], ...]
    rows: tuple[dict[str, str], ...]
    words: int
    seed: int


def drawn(seed: int) -> Program:
    """A program of 3 to 6 call sites over 2 or 3 rows."""
    draw = generator("drawn", seed)
    text = Words.bundled().text
    sites, kinds = draw.randint(3, 6), draw.randint(1, 3)
    needs = [()] + [tuple(sorted(draw.sample(range(n), min(n, draw.choice((0, 1, 1, 2)))))) for n in range(1, sites)]
    branch = draw.randrange(1, sites) if draw.random() < 0.5 else -1  # made only if the first answers "yes"
    if branch > 0:
        needs[branch] = tuple(sorted({0, *needs[branch]}))
    lines = []
    for kind in range(kinds):
        told = text(draw.randint(5, 60), "kind", seed, kind)
        lines.append(f"signature S{kind}(context: str, seen: list[str]) -> (flag: bool, answer: str) {{")
        lines.append(f'  """{told}"""\n}}')
    lines.append("module Main(context: str) -> (out: str) {")
    of = [draw.randrange(kinds) for _ in range(sites)]
    lines += [f"  use c{site} = Predict(S{of[site]}) @sample(max_tokens: MOST);" for site in range(sites)]
    for site in range(sites):
        seen = ", ".join([f'"{text(2, "own", seed, site)}"', *(f"v{n}" for n in needs[site])])
        call = f"let r{site} = c{site}(context: context, seen: [{seen}]);"
        if site == branch:
            lines.append(f'  let v{site} = if r0.flag {{ {call} yield r{site}.answer; }} else {{ yield "no"; }};')
        else:
            lines.append(f"  {call} let v{site} = r{site}.answer;")
    lines.append("  return (out: " + ' + " " + '.join(f"v{site}" for site in range(sites)) + ");\n}")
    same = draw.random() < 0.3
    count = draw.randint(2, 3)
    rows = [{"context": text(draw.randint(4, 60), "row", seed, 0 if same else i) + f" {i}"} for i in range(count)]
    return Program("\n".join(lines), tuple(needs), tuple(rows), draw.randint(1, 8), seed)


@functools.cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(firefly_folder())


def cost(shape: StepShape) -> float:
    return STEP + ROW * shape.rows


class _Even(Script):
    """Answers of equal length."""

    def _value(self, type_: Type, name: str, rule: Rule, draw: random.Random) -> Any:
        if name == "answer":
            return self.words.text(rule.words["answer"], draw.getrandbits(64))
        return super()._value(type_, name, rule, draw)


class _Noting(RehearsedModel):
    """Keeps every call with its answer."""

    def watch(self) -> None:
        self.calls: list[tuple[ModelCall, Answer]] = []

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        done = super().advance()
        self.calls += done
        return done


@dataclass(frozen=True, slots=True)
class Ran:
    """What our schedule took, and the instance that it was a schedule of."""

    seconds: float
    steps: int
    computed: int
    peak: int
    instance: Instance


def ran(program: Program, budget: int, kv_tokens: int, even: bool = True, most: int = 256) -> Ran:
    """A run in a session; `budget` tokens go through the model in a step. Answers are of equal length, or, if not
    `even`, of lengths that nobody knows beforehand; none has more than `most` tokens, which the engine is told."""
    info = EngineInfo("drawn", tokenizer().vocab_size, 1 << 14, 6144, BLOCK, True, "drawn")
    engine = SimulatedEngine(
        tokenizer(), info, cost, kv_tokens=kv_tokens, max_batch_tokens=budget, policy="warm", max_running=budget
    )
    unit = compile_lmp(program.source.replace("MOST", str(most)), "drawn.lmp")
    rules = {f"c{i}": Rule({"answer": program.words}, {"flag": 0.5}) for i in range(len(program.needs))}
    script = (_Even if even else Script)(program.seed, rules, unit.module, tokenizer(), Words.bundled())
    model = _Noting(engine, "main", script, structured=False)
    model.watch()
    with Session(model=model, store=Store(None), cache=CallCache()) as session:
        made = session.executable(unit.module, unit.entry, Assignment())
        spot = next(key for key, value in session._executables.items() if value is made)
        passes = ",".join(name for name in STANDARD.split(",") if name not in AHEAD)
        lowered = lower(unit.module, lambda _: model.target, None, passes)
        session._executables[spot] = Executable(lowered, unit.entry)
        outcomes = session.run(unit, [Row(str(i), dict(row)) for i, row in enumerate(program.rows)])
        stats = engine.stats()
        engine.check()
    assert not any(o.error for o in outcomes), [o.error for o in outcomes]
    numbers = {(call.row, call.node): i for i, (call, _) in enumerate(model.calls)}
    calls = []
    for call, answer in model.calls:
        after = _after(
            program, int(call.node[1:]), {n for n in range(len(program.needs)) if (call.row, f"c{n}") in numbers}
        )
        calls.append(Call(call.ids, answer.ids, tuple(numbers[call.row, f"c{n}"] for n in sorted(after))))
    instance = Instance(tuple(calls), budget, kv_tokens)
    return Ran(engine.clock.now, stats.steps, stats.computed_tokens, stats.peak_blocks, instance)


def _after(program: Program, site: int, made: set[int]) -> set[int]:
    """The sites whose calls a call waits for: where one that it needs was not made, those that decided so."""
    found: set[int] = set()
    for before in program.needs[site]:
        found |= {before} if before in made else _after(program, before, made)
    return found
