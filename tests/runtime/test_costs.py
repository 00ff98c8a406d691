"""Costs of steps: fitted to what was measured, kept, and near what an engine then takes."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from lampc.backend import FakeEngine, Request, Sampling, Unsupported, load_engine
from lampc.backend.steps import StepShape, StepTaken, watch_steps
from lampc.runtime import calibrate
from lampc.runtime.costs import KNOTS, StepCost, fit
from lampc.runtime.pool import firefly_folder

TRUE = StepCost(1e-3, (0.0, 1e-4, 1e-4, *[5e-5] * (len(KNOTS) - 4)), 1e-7, 8e-7, 5e-8, 2e-6, 6e-5, 1e-5)


def shapes() -> list[StepShape]:
    draw = random.Random(0)
    out = []
    for _ in range(300):
        decoding, prefilled = draw.randrange(64), draw.choice((0, 0, 16, 100, 448))
        reads = decoding * draw.randrange(1, 2000)
        chunks = draw.randrange(1, 4) if prefilled else 0
        logits, distinct, read = decoding + chunks, draw.randrange(reads + 1), prefilled * draw.randrange(200, 1500)
        sampled = draw.choice((0, logits))
        out.append(StepShape(decoding, reads, distinct, prefilled, chunks, read, logits, sampled))
    return [s for s in out if s.rows]


def test_a_fit_finds_the_costs_that_steps_were_made_with() -> None:
    found = fit([(shape, TRUE(shape)) for shape in shapes()])
    assert found.error < 0.02
    for shape in shapes():
        assert found(shape) == pytest.approx(TRUE(shape), rel=0.1)
    assert found.decode(16, 1000) == pytest.approx(TRUE.decode(16, 1000), rel=0.1)
    assert found.prefill(1000, 500) == pytest.approx(TRUE.prefill(1000, 500), rel=0.1)


def test_no_cost_is_below_zero_whatever_was_measured() -> None:
    draw = random.Random(1)
    found = fit([(shape, TRUE(shape) * draw.lognormvariate(0, 1)) for shape in shapes()])
    assert min(found.base, *found.slopes, found.decode_read, found.distinct_read, found.prefill_read) >= 0
    rows = [found(StepShape(n, n * 100, n * 100, logits=n)) for n in (1, 2, 8, 64, 500, 5000)]
    assert rows == sorted(rows)
    with pytest.raises(ValueError, match="no measured step"):
        fit([])


def test_a_prompt_costs_what_its_chunks_cost() -> None:
    whole = TRUE.prefill(700, 100, step=512)
    first = StepShape(0, 0, 0, 512, 1, (2 * 100 + 513) * 512 // 2, 0)
    second = StepShape(0, 0, 0, 188, 1, (2 * 612 + 189) * 188 // 2, 1)
    assert whole == pytest.approx(TRUE(first) + TRUE(second))


def test_calibration_is_kept_and_predicts_what_steps_take(tmp_path: Path) -> None:
    engine = load_engine(firefly_folder(), kv_tokens=1 << 14, max_running=16)
    cost = calibrate.calibrate(engine, seconds=3.0, clock=time.process_time)
    assert cost.steps > 8
    assert engine.stats().used_blocks == 0
    taken: list[StepTaken] = []
    end = watch_steps(engine, taken.append, time.process_time)
    for i in range(8):
        engine.submit(Request((*range(300, 400), 500 + i), Sampling(max_tokens=24, ignore_eos=True)))
    engine.run()
    end()
    assert {handle.id for step in taken for handle, _ in step.rows} == {h.id for h, _ in taken[0].rows}
    assert taken[-1].shape.distinct < taken[-1].shape.decode_reads  # they share a prefix
    measured, estimated = sum(s.seconds for s in taken), sum(cost(s.shape) for s in taken)
    assert estimated == pytest.approx(measured, rel=0.5)  # a machine may be busy
    first = calibrate.cost_of(engine, tmp_path, seconds=0.5)
    (kept,) = (tmp_path / "costs").glob("*.json")
    assert StepCost.read(json.loads(kept.read_text())["cost"]) == first
    assert calibrate.cost_of(engine, tmp_path) == first
    kept.write_text('{"cost": {"base": 1}}')
    assert calibrate.cost_of(engine, tmp_path, seconds=0.5).steps > 0


def test_an_engine_at_work_is_not_calibrated() -> None:
    engine = FakeEngine()
    engine.submit(Request((1, 2, 3)))
    with pytest.raises(ValueError, match="at work"):
        calibrate.calibrate(engine)
    naive = load_engine(firefly_folder(), kind="naive")
    with pytest.raises(Unsupported, match="no steps to watch"):
        calibrate.calibrate(naive)


def test_distinct_tokens_are_counted_as_the_tree_has_them() -> None:
    engine = FakeEngine(lambda prompt: "x" * 40)
    taken: list[StepTaken] = []
    watch_steps(engine, taken.append)
    shared = tuple(range(1, 65))
    for i in range(3):
        engine.submit(Request((*shared, 100 + i), Sampling(max_tokens=20)))
    engine.submit(Request(tuple(range(60, 90)), Sampling(max_tokens=5)))
    engine.run()
    decoding = [s.shape for s in taken if s.shape.decoding and not s.shape.prefilled]
    assert decoding[0].decode_reads == 3 * 66 + 31
    assert decoding[0].distinct == 64 + 3 * 2 + 31
    last = decoding[-1]
    assert last.decoding == 3
    assert last.decode_reads - last.distinct == 2 * 64
