"""Benchmarks of layouts and of fast mode: what is counted is what the engine computes, and differences are found."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import flips  # noqa: E402
import layouts  # noqa: E402
from program_bench.families import workload  # noqa: E402
from program_bench.workload import Size  # noqa: E402

SMALL = Size(scale=0.05, rows=0.2)


def test_a_table_is_computed_as_the_solver_says_and_does_the_same() -> None:
    work = workload("table_filter", SMALL)
    row = layouts.measured(work, layouts.AMPLE)
    best = layouts.found(work, layouts.engine())
    assert row["computed"] == best.as_is
    assert row["computed_arranged"] == row["bound_arranged"] == best.tokens
    assert row["same_outputs"] is True
    assert row["saving"] > 0.3
    order = best.layouts["keep"]
    assert order.index("product") < order.index("review"), "what differs in each row stands last"


def test_trials_on_long_rows_put_the_rows_in_front() -> None:
    work = layouts.under_trials(workload("rag", SMALL), 6)
    assert len({str(t) for t in work.trials}) == 6
    row = layouts.measured(work, layouts.AMPLE)
    assert row["layouts"] == {"read": "compact[demos,passages,question,instruction]"}
    assert row["saving"] > 0.5


def test_differences_count_from_the_first_one_on() -> None:
    found = flips.differing([(1, 2, 3), (1, 9, 3), (1, 2), ()], [(1, 2, 3), (1, 2, 3), (1, 2, 3), ()])
    assert (found["calls_differing"], found["tokens"], found["tokens_differing"]) == (2, 9, 2 + 1)
    assert found["share_of_calls"] == 0.5
