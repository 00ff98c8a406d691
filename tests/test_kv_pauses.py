"""Rows that wait for a tool: their contexts are held for as long as that is worth it, on a simulated clock."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from program_bench.measure import _Ours, _Watched, simulated_tools  # noqa: E402
from program_bench.script import Rule  # noqa: E402
from program_bench.text import Words  # noqa: E402
from program_bench.workload import Workload  # noqa: E402

from lampc.backend import EngineInfo  # noqa: E402
from lampc.backend.host_tier import HostTier  # noqa: E402
from lampc.backend.simulated import SimulatedEngine  # noqa: E402
from lampc.backend.steps import StepShape  # noqa: E402
from lampc.backend.swap_rule import SwapRule  # noqa: E402
from tests.test_bench_programs import tokenizer  # noqa: E402

BLOCK, KV = 16, 640
ROW_S = 0.001
"""Seconds of a row of a step: a token of a prompt is worth as much as it takes to compute it."""
LIMIT = ROW_S * KV
"""So long is a context worth its blocks, whatever its length."""

SOURCE = """tool wait(seconds: str, text: str) -> str @pure = python("tests.kv_tools:wait");
signature Act(question: str, seen: str) -> (thought: str) { \"\"\"Think about the question.\"\"\" }
module Main(question: str, seconds: str) -> (first: str, second: str) {
  use act = Predict(Act);
  let a = act(question: question, seen: "");
  let seen = wait(seconds, a.thought);
  let b = act(question: question, seen: seen);
  return (first: a.thought, second: b.thought);
}
"""


@dataclass(frozen=True)
class Ran:
    """`again` are the prompt tokens that the second call of the first row computed, `length` those of its question."""

    again: int
    length: int
    outputs: list[Any]
    engine: SimulatedEngine


def cost(shape: StepShape) -> float:
    return ROW_S * shape.rows


def ran(pause: float, rows: int = 12, kv: int = KV, host: int = 0) -> Ran:
    """The first row waits so long for its tool, the others do not: theirs fill the cache meanwhile."""
    words = Words.bundled()
    asked = [words.text(190, "question", i) for i in range(rows)]
    inputs = tuple({"question": q, "seconds": str(pause if not i else 0.0)} for i, q in enumerate(asked))
    work = Workload("pauses", "mixed", SOURCE, inputs, {"act": Rule({"": 8})}, 0, 1.0)
    info = EngineInfo("simulated", tokenizer().vocab_size, 1 << 14, 6144, BLOCK, True, "simulated")
    tier = HostTier(host // BLOCK, BLOCK, SwapRule(ROW_S / 100)) if host else None
    core = SimulatedEngine(tokenizer(), info, cost, kv_tokens=kv, policy="warm", host=tier)
    model = _Watched(core, "main", work.script(core.tokenizer))
    model.watch()
    with simulated_tools(work, core, False) as desk:
        ours = _Ours(work, model, "", desk)
        outcomes = ours.run([cell for batch in work.cells() for cell in batch])
        assert not [o.error for o in outcomes if o.error is not None]
        calls = [c for c in ours.session.desk.books.computed if c.row == "0"]
        core.check()
        assert not core._pins.cursors(), "what a run held is let go"
        ours.session.close()
    assert len(calls) == 2
    return Ran(calls[1].computed, len(tokenizer().encode(asked[0])), [o.value for o in outcomes], core)


def test_a_short_pause_costs_nothing() -> None:
    found = ran(LIMIT / 2)
    assert found.engine._tree.evicted  # others were in want of blocks
    assert found.again < found.length / 4


def test_after_a_long_pause_it_is_computed_again() -> None:
    found = ran(20 * LIMIT)
    short = ran(LIMIT / 2)
    assert found.again > short.again + 3 * BLOCK
    assert found.outputs == short.outputs


def test_after_a_long_pause_without_want_it_is_still_there() -> None:
    assert ran(20 * LIMIT, kv=1 << 14).again < 40


def test_host_memory_gives_it_back() -> None:
    found = ran(20 * LIMIT, host=1 << 13)
    assert found.engine.stats().swapped_in_tokens > 0
    assert found.again < found.length / 4
    assert found.outputs == ran(20 * LIMIT).outputs
