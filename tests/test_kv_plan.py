"""The K/V plan on whole programs: what is held is what is needed again, block for block, and little is computed twice
where the cache is small."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from program_bench.families import workload  # noqa: E402
from program_bench.measure import run, tight, without_cost  # noqa: E402
from program_bench.script import Rule  # noqa: E402
from program_bench.workload import Size, Workload  # noqa: E402

from lampc.backend import EngineInfo, shrinking  # noqa: E402
from lampc.backend.plan import Plan  # noqa: E402
from lampc.backend.simulated import SimulatedEngine  # noqa: E402
from lampc.backend.steps import StepShape  # noqa: E402
from lampc.runtime.contexts import RowContexts  # noqa: E402
from tests.test_bench_programs import tokenizer  # noqa: E402

BLOCK = 16
Prefix = tuple[int, ...]


def engine(
    kv_tokens: int = 1 << 16, cost: Callable[[StepShape], float] = without_cost, **options: Any
) -> SimulatedEngine:
    info = EngineInfo("simulated", tokenizer().vocab_size, 1 << 14, 6144, BLOCK, True, "simulated")
    return SimulatedEngine(tokenizer(), info, cost, kv_tokens=kv_tokens, policy="warm", **options)


@dataclass
class Moment:
    """A step: the tokens of all requests in it, which requests were new, and how many blocks were held."""

    running: list[Prefix]
    fresh: list[Prefix]
    blocks: int


@dataclass
class Watched:
    """Notes every step of an engine."""

    core: SimulatedEngine
    moments: list[Moment] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._inner: Any = self.core._runner
        self.core._runner = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "launch":
            raise AttributeError(name)
        return getattr(self._inner, name)

    def execute(self, plan: Plan) -> Sequence[Any]:
        jobs = self.core._scheduler.running
        self.core._scheduler.lanes.settle()
        fresh = [tuple(j.request.ids) for j in jobs if j.handle.id not in self.seen]
        self.seen |= {j.handle.id for j in jobs}
        running = [tuple(j.ids) for j in jobs]
        self.moments.append(Moment(running, fresh, self.core._tree.locked_blocks))
        drawn: Sequence[Any] = self._inner.execute(plan)
        return drawn


def bound(moments: Sequence[Moment]) -> list[tuple[int, int]]:
    """For each step the fewest tokens that must be held, and in how many contexts: the paths of the requests in it, and
    whatever of what was there before it a later request begins with. A context is what a request is at, or what others
    grow from: live paths end or part there."""
    prompts = [{p[: i + 1] for p in m.fresh for i in range(len(p))} for m in moments]
    later: set[Prefix] = set()
    needed: list[set[Prefix]] = []
    for wanted in reversed(prompts):
        needed.append(set(later))
        later |= wanted
    needed.reverse()
    there: set[Prefix] = set()
    found = []
    for moment, again in zip(moments, needed, strict=True):
        now = {p[: i + 1] for p in moment.running for i in range(len(p))}
        there |= now
        alive = now | (there & again)
        branches = Counter(p[:-1] for p in alive)
        found.append((len(alive), sum(branches[p] != 1 for p in alive)))
    return found


FAMILIES = ("react", "chat", "judge", "debate", "trading", "tree_of_thought", "chain_summary", "map_reduce")


def small(name: str, seed: int = 0) -> Workload:
    return replace(workload(name, Size(seed, 0.05, 0.2)), latency=0.0)


def peak_is_the_bound(work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RowContexts, "_limit", lambda self: None)  # nobody is in want of blocks,
    monkeypatch.setattr(shrinking, "TIGHT", 2.0)  # and yet nothing is kept that nobody needs
    core = engine()
    watched = Watched(core)
    result = run(work, core, None)
    assert result.failed == 0
    least = bound(watched.moments)
    peak = max(range(len(least)), key=lambda i: watched.moments[i].blocks)
    tokens, contexts = least[peak]
    held = watched.moments[peak].blocks
    assert max(-(-tokens // BLOCK) for tokens, _ in least) <= held <= -(-tokens // BLOCK) + contexts


@pytest.mark.parametrize("name", FAMILIES)
def test_the_peak_is_the_bound_and_at_most_a_block_for_each_context(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peak_is_the_bound(small(name), monkeypatch)


def drawn(seed: int) -> Workload:
    """A random program: loops whose contexts grow or are new each time, maps, branches, and calls that share inputs."""
    draw = random.Random(seed)
    words = workload("chat", Size(seed, 0.05, 0.2))
    size = Size(seed, 0.05, 1.0)
    names = [f"s{i}" for i in range(draw.randint(2, 3))]
    fields = "(about: str, said: list[str], now: str) -> (out: str, yes: bool)"
    told = {n: size.text(draw.randint(40, 200), n, seed) for n in names}
    signatures = [f'signature {n.upper()}{fields} {{ """{told[n]}""" }}' for n in names]
    uses = [f"  use {n} = Predict({n.upper()});" for n in names]
    count = 0

    def fresh() -> str:
        nonlocal count
        count += 1
        return f"v{count}"

    def call(said: str, now: str) -> tuple[str, str]:
        name = fresh()
        about = draw.choice(["about", "about", now])
        return name, f"let {name} = {draw.choice(names)}(about: {about}, said: {said}, now: {now});"

    def body(depth: int, said: str, now: str) -> tuple[list[str], str]:
        """Lines, and a text that they give."""
        lines: list[str] = []
        for _ in range(draw.randint(1, 2)):
            kind = draw.choice(["call", "loop", "map", "if"]) if depth else "call"
            if kind == "call":
                name, line = call(said, now)
                lines.append(line)
                now = f"{name}.out"
                continue
            out, n = fresh(), count
            if kind == "map":
                inner, text = body(depth - 1, said, f"i{n}")
                lines += [f"let {out} = map i{n} in parts {{", *inner, f"yield {text};", "};"]
                now = f"{out}[0]"
            elif kind == "if":
                name, line = call(said, now)
                left, a = body(depth - 1, said, f"{name}.out")
                lines += [
                    line,
                    f"let {out} = if {name}.yes {{",
                    *left,
                    f"yield {a};",
                    "} else {",
                    f"yield {name}.out;",
                    "};",
                ]
                now = out
            else:
                grows = draw.random() < 0.7
                inner, text = body(depth - 1, f"l{n}", f"n{n}")
                more = f"l{n} + [{text}]" if grows else f"[{text}]"
                lines += [f"loop (l{n}: {said}, n{n}: {now}) max {draw.randint(2, 4)} as k{n} {{", *inner]
                lines += [f"next (l{n}: {more}, n{n}: {text}) until k{n} >= 2;", "}"]
                now = f"n{n}"
        return lines, now

    lines, text = body(2, "said", "now")
    source = "\n".join(
        [
            *signatures,
            "module Main(about: str, said: list[str], now: str, parts: list[str]) -> (out: str) {",
            *uses,
            *(f"  {line}" for line in lines),
            f"  return (out: {text});",
            "}",
        ]
    )
    rows = tuple(
        {
            "about": size.text(draw.randint(5, 60), "about", i % 2),
            "said": [size.text(9, "said", i)],
            "now": size.text(5, "now", i),
            "parts": [size.text(6, "part", i, j) for j in range(2)],
        }
        for i in range(3)
    )
    rules = {n: Rule({"": draw.randint(4, 12)}) for n in names}
    return replace(words, name=f"drawn {seed}", source=source, rows=rows, rules=rules, seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_the_same_for_random_programs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    peak_is_the_bound(drawn(seed), monkeypatch)


@pytest.mark.parametrize("name", ["react", "chat", "tree_of_thought"])
@pytest.mark.parametrize("share", [0.25, 0.1])
def test_where_the_cache_is_small_less_is_computed_than_without(
    name: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = replace(workload(name, Size(0, 0.1, 0.5)), latency=0.0)
    ample = run(work, engine(), None)
    kv_tokens = tight(work, ample, share)
    planned = run(work, engine(kv_tokens), None)
    monkeypatch.setattr(RowContexts, "of", staticmethod(lambda model: None))
    plain = run(work, engine(kv_tokens), None)
    assert planned.outputs == plain.outputs == ample.outputs
    assert planned.computed_tokens < plain.computed_tokens


@pytest.mark.parametrize("name", ["tree_of_thought", "coding", "debate", "reflection"])
def test_what_is_computed_hangs_on_no_clock_where_there_is_no_tool(name: str) -> None:
    work = workload(name, Size(0, 0.1, 0.5))
    kv_tokens = tight(work, run(work, engine(), None), 0.25)
    draw = random.Random(name)

    def uneven(shape: StepShape) -> float:
        return (0.004 + 0.0005 * shape.rows) * draw.uniform(0.5, 3.0)

    assert run(work, engine(kv_tokens, cost=uneven), None).reuse == run(work, engine(kv_tokens), None).reuse
