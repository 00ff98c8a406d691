"""Beginnings of prompts are computed while tools and other calls are waited for: the same answers, earlier, nothing
twice, and no block left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from program_bench.families import workload  # noqa: E402
from program_bench.measure import Result, run  # noqa: E402
from program_bench.script import Rule  # noqa: E402
from program_bench.workload import Size, Workload  # noqa: E402

from lampc.backend import EngineInfo, Tokenizer, load_engine  # noqa: E402
from lampc.backend.simulated import SimulatedEngine  # noqa: E402
from lampc.backend.steps import StepShape  # noqa: E402
from lampc.frontend.lmp import compile_lmp  # noqa: E402
from lampc.ir.adapters import bind_predictors  # noqa: E402
from lampc.ir.kv import Generate  # noqa: E402
from lampc.passes.lower import UNKNOWN, begun_text, run_text  # noqa: E402
from lampc.runtime.compile import lower  # noqa: E402
from lampc.runtime.pool import firefly_folder  # noqa: E402
from lampc.runtime.session import Session  # noqa: E402
from lampc.runtime.target import LocalTarget  # noqa: E402
from lampc.runtime.types import Row  # noqa: E402

SOURCE = """tool search(query: str) -> str @pure = python("program_bench.tools:search");
signature Brief(notes: str, found: str) -> (brief: str) {
  \"\"\"Say what the notes come to, in the light of what was found.\"\"\"
}
module Main(notes: str, about: str) -> (brief: str) {
  use brief = Predict(Brief) @sample(max_tokens: 64);
  let found = search(about);
  let made = brief(notes: notes, found: found);
  return (brief: made.brief);
}
"""


def briefing(rows: int, latency: float = 4.0) -> Workload:
    size = Size(scale=0.1)
    given = tuple({"notes": size.text(9000, "notes", i), "about": size.text(40, "about", i)} for i in range(rows))
    return Workload("briefing", "mixed", SOURCE, given, {"brief": Rule({"": 10})}, 0, size.scale, latency=latency)


def seconds(shape: StepShape) -> float:
    return 0.01 + 0.001 * shape.rows


def simulated(work: Workload, without: str = "", **options: Any) -> tuple[Result, int]:
    """A run, and how many requests there were beyond those of its calls."""
    tokenizer = Tokenizer.load(firefly_folder())
    info = EngineInfo("simulated", tokenizer.vocab_size, 1 << 14, 6144, 16, True, "simulated")
    options = {"kv_tokens": 1 << 16, "policy": "warm", **options}
    found = run(work, SimulatedEngine(tokenizer, info, seconds, **options), None, without)
    return found, found.requests - found.calls


def test_a_prompt_is_begun_while_a_tool_is_waited_for() -> None:
    mine, more = simulated(briefing(1))
    without, none = simulated(briefing(1), "early-prefill")
    assert (more, none) == (1, 0)
    assert mine.outputs == without.outputs
    assert mine.computed_tokens == without.computed_tokens > 500
    assert mine.makespan < 0.75 * without.makespan


def test_nothing_is_computed_twice_whatever_the_rows_are() -> None:
    for rows in (3, 24):
        mine, without = simulated(briefing(rows))[0], simulated(briefing(rows), "early-prefill")[0]
        assert mine.outputs == without.outputs
        assert mine.computed_tokens == without.computed_tokens
        assert mine.makespan <= 1.01 * without.makespan


def test_where_kv_is_short_nothing_is_begun() -> None:
    ample = simulated(briefing(6))[0]
    mine, more = simulated(briefing(6), kv_tokens=ample.longest + 64)
    without = simulated(briefing(6), "early-prefill", kv_tokens=ample.longest + 64)[0]
    assert more <= 1
    assert mine.outputs == without.outputs
    assert mine.computed_tokens <= 1.02 * without.computed_tokens


@pytest.mark.parametrize("family", ["judge", "react", "map_reduce", "skeleton"])
def test_families_do_the_same_and_no_later(family: str) -> None:
    work = workload(family, Size(scale=0.05, rows=0.2))
    mine, without = simulated(work)[0], simulated(work, "early-prefill")[0]
    assert (mine.outputs, mine.effects) == (without.outputs, without.effects)
    assert mine.computed_tokens <= without.computed_tokens
    assert mine.makespan <= 1.02 * without.makespan


def test_an_engine_computes_the_same() -> None:
    work = briefing(12, latency=0.6)  # after its first calls the tool is known to wait
    found = []
    for without in ("", "early-prefill"):
        engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 13, policy="warm")
        found.append(run(work, engine, None, without))  # which checks that no block is left
    assert found[0].outputs == found[1].outputs
    early = found[0].requests - found[1].requests
    assert early > 0
    # A request whose prompt is known whole by the time it comes computes the last token again.
    assert 0 <= found[0].computed_tokens - found[1].computed_tokens <= early


def test_nothing_is_held_for_rows_that_fail() -> None:
    notes = "[[ ## notes ## ]] " + " ".join(f"word{i}" for i in range(200))
    engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 13)
    source = SOURCE.replace("program_bench.tools:search", "tests.runtime.waiting_tools:fail_late")
    unit = compile_lmp(source, "briefing.lmp")
    with Session(model=engine) as session:
        rows = [Row(str(i), {"notes": f"{i} {notes}", "about": "bad"}) for i in range(6)]
        outcomes = session.run(unit, rows)
        assert all("no such page" in str(o.error) for o in outcomes)
        assert engine.stats().requests > 0  # all of them early
        engine.check()
        engine.reset_cache()
        assert engine.stats().used_blocks == 0
        assert session.run(unit, rows[:1])[0].error is not None


def test_a_beginning_is_the_beginning_of_the_text() -> None:
    tokenizer = Tokenizer.load(firefly_folder())
    info = EngineInfo("x", tokenizer.vocab_size, 1 << 14, 6144, 16, True, "x")
    target = LocalTarget(info, tokenizer)  # type: ignore[arg-type]
    module = briefing(1).unit.module
    lowered = lower(module, lambda _: target)
    (bound,) = bind_predictors(lowered).values()
    (generate,) = [op for op in lowered.walk() if isinstance(op, Generate)]
    assert generate.early
    extend: Any = generate.context.defining_op()
    values = ["some notes", "what was found"]
    whole = run_text(extend.run, bound, values, target)
    assert begun_text(extend.run, bound, values, target) == whole
    begun = begun_text(extend.run, bound, [values[0], UNKNOWN], target)
    assert "some notes" in begun
    assert "what was found" not in begun
    assert whole.startswith(begun)
    assert whole.startswith(begun_text(extend.run, bound, [UNKNOWN, UNKNOWN], target))
