"""The gate: what it accepts, how often it is wrong, and that no gated pass gets past it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from lampc.ir import CompileError, Module, parse_module
from lampc.passes import PASSES, Gate, GateRecord, PassContext, Pipeline, RunOptions, judge
from lampc.passes.gate import accepted, read_record
from lampc.passes.options import write_pass
from lampc.runtime.evaluation.compare import compare

BEFORE = [1.0] * 60 + [0.0] * 40


def test_a_change_that_loses_nothing_passes_and_one_that_loses_does_not() -> None:
    same = judge(BEFORE, BEFORE, change="same")
    assert (same.delta, same.low, same.high, same.bound, same.accepted) == (0, 0, 0, 0, True)
    better = judge(BEFORE, [1.0] * 75 + [0.0] * 25, change="better")
    assert better.accepted
    assert better.bound > 0
    assert better.delta == pytest.approx(0.15)
    worse = judge(BEFORE, [1.0] * 58 + [0.0] * 42, change="worse")
    assert not worse.accepted
    assert worse.bound < -0.01
    assert worse.why == f"the one-sided 95 % lower bound {100 * worse.bound:+.2f} pp < -1.00 pp"
    assert judge(BEFORE, [1.0] * 58 + [0.0] * 42, change="worse", gate=Gate(least=-0.06)).accepted


def test_the_interval_is_that_of_a_comparison_of_the_same_rows() -> None:
    after = [1.0] * 50 + [0.0] * 30 + [1.0] * 20
    found = judge(BEFORE, after, change="x")
    beside = compare(BEFORE, after).difference
    assert (100 * found.low, 100 * found.high) == pytest.approx((beside.low, beside.high))
    assert found.low < found.bound < found.delta < found.high, "one-sided at 95 % lies above two-sided at 95 %"
    assert found == judge(BEFORE, after, change="x"), "seeded"
    assert str(found) == f"gated: +10.0 pp [{100 * found.low:+.1f}, {100 * found.high:+.1f}], 100 rows"


def test_it_lets_a_loss_through_no_more_often_than_it_says() -> None:
    """Programs that truly lose 6 points, held against a bound of -6: at most about 5 % may pass."""
    rng, passed = random.Random(0), 0
    for trial in range(300):
        pairs = [
            (1.0, 0.0) if (u := rng.random()) < 0.12 else (0.0, 1.0) if u < 0.18 else (1.0, 1.0) for _ in range(200)
        ]
        before, after = zip(*pairs, strict=True)
        passed += judge(before, after, change="x", gate=Gate(least=-0.06, draws=1000, seed=trial)).accepted
    assert 3 <= passed <= 27


def test_few_rows_decide_nothing_whatever_they_say() -> None:
    found = judge([0.0] * 19, [1.0] * 19, change="x")
    assert not found.accepted
    assert found.why == "19 rows are too few to tell, 20 are needed"
    assert judge([0.0] * 19, [1.0] * 19, change="x", gate=Gate(rows=19)).accepted


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([1.0], [1.0, 0.0], "the same rows on both sides, at least one: 1 and 2"),
        ([], [], "at least one: 0 and 0"),
        ([1.0, 0.5], [1.0, float("nan")], "row 1 has no score: 0.5 without the change, nan with it"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(before: list[float], after: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(before, after, change="x")


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0.2}, {"draws": 5}, {"rows": 0}, {"least": float("nan")}])
def test_a_gate_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a gate takes a level"):
        Gate(**wrong)


def test_records_are_json_and_read_back() -> None:
    found = judge(BEFORE, BEFORE, change="x")
    assert read_record(json.loads(json.dumps(found.values()))) == found
    with pytest.raises(ValueError, match="needs `rows` of type int, found 'many'"):
        read_record({**found.values(), "rows": "many"})
    with pytest.raises(ValueError, match="needs `accepted` of type bool, found 1"):
        read_record({**found.values(), "accepted": 1})


# -- passes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Risky:
    """Renames the module, which a reader may mind."""

    name: ClassVar[str] = "risky"
    label: ClassVar[str] = "G"
    to: str = "other"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        module.name = self.to
        return {}


@pytest.fixture
def risky(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setitem(PASSES, "risky", f"{__name__}:Risky")
    return Pipeline.parse("cse,risky{to=new}")


def run(pipeline: Pipeline, *records: GateRecord, on_trial: bool = False) -> str:
    module = parse_module("module @m {\n}\n")
    pipeline.run(module, PassContext(gates=records), RunOptions(crash_dir=None, on_trial=on_trial))
    return module.name


def test_no_gated_pass_runs_without_a_record_that_accepts_it(risky: Pipeline) -> None:
    change = write_pass(risky.passes[1])
    fine = judge(BEFORE, BEFORE, change=change)
    assert run(risky, fine) == "new"
    assert run(risky, on_trial=True) == "new"
    with pytest.raises(CompileError, match="it has not been tested on held-out rows") as caught:
        run(risky)
    assert caught.value.diagnostics[0].code == "L0924"
    with pytest.raises(CompileError, match="it has not been tested"):
        run(risky, replace(fine, change="risky{to=another}"))
    refused = judge(BEFORE, [0.0] * 100, change=change)
    with pytest.raises(CompileError, match=r"its gate refused it \(refused: -60.0 pp .* lower bound"):
        run(risky, fine, refused)
    assert accepted((fine, refused), change) is None, "the latest word counts"
    assert accepted((refused, fine), change) == fine
