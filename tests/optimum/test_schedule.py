"""Our schedule of small programs costs at most 5 % more than the best one that any schedule could be."""

from __future__ import annotations

import statistics

import pytest

from tests.optimum.drawn import BLOCK, ROW, STEP, drawn, ran
from tests.optimum.exact import Call, Instance, least_cost

AMPLE = 1 << 14
WITHIN = 1.05


def over_best(seed: int, budget: int, seconds: float = 10.0) -> float:
    """Cost of ours over that of the optimum, or over what was proved of it; K/V is ample."""
    found = ran(drawn(seed), budget, AMPLE)
    best = least_cost(found.instance, found.steps, STEP, ROW, seconds, ample=True)
    assert best.least <= found.seconds + 1e-6, "a schedule that there is costs less than the optimum"
    return found.seconds / best.least


@pytest.mark.parametrize("seed", [1, 7, 28, 40, 42, 54])
def test_a_schedule_is_near_the_optimum(seed: int) -> None:
    assert over_best(seed, budget=64) <= WITHIN


def over_best_of_small(seed: int, seconds: float = 20.0) -> float | None:
    """The same with K/V for 60 % of the blocks that an ample run fills; None if a call alone does not fit into that,
    or if nothing was proved in `seconds`. The engine is told how long answers are at most, since the optimum knows it.
    """
    program = drawn(seed)
    ample = ran(program, 64, AMPLE, most=24)
    calls = ample.instance.calls
    blocks, most = int(0.6 * ample.peak), 1 + max(len(c.answer) for c in calls)
    if max(len(c.prompt) + len(c.answer) for c in calls) > blocks * BLOCK:
        return None
    found = ran(program, 64, blocks * BLOCK, most=most)
    try:
        best = least_cost(found.instance, found.steps, STEP, ROW, seconds, ample=False)
    except RuntimeError:
        return None
    assert best.least <= found.seconds + 1e-6, "a schedule that there is costs less than the optimum"
    return found.seconds / best.least


@pytest.mark.parametrize("seed", [2, 12, 13, 14, 36, 42])
def test_a_schedule_is_near_the_optimum_where_the_cache_is_small(seed: int) -> None:
    found = over_best_of_small(seed)
    assert found is not None
    assert found <= WITHIN


@pytest.mark.slow
def test_small_schedules_where_the_cache_is_small() -> None:
    """Chosen: seeds with at most nine calls that the solver ended early, which says that they are the easier ones. See
    `test_small_schedules_where_the_cache_is_small_unchosen`."""
    seeds = (2, 9, 12, 13, 14, 17, 26, 27, 28, 30, 32, 36, 41, 42, 54)
    found = [ratio for seed in seeds if (ratio := over_best_of_small(seed)) is not None]
    assert len(found) == len(seeds)
    assert statistics.median(found) <= WITHIN
    # In 30 it is blocks that are not full, which the optimum has none of: with blocks of one token it is 1.00. In 28
    # and 32 it is order: a call that nothing hangs on asked for its room a step before one that the longest path needs,
    # and the optimum knew that.
    assert max(found) <= 1.35


@pytest.mark.slow
@pytest.mark.timeout(900)  # the solver has 20 seconds for each
def test_small_schedules_where_the_cache_is_small_unchosen() -> None:
    """The first 30, whatever they are, against what the solver has proved of the optimum by the end of its time."""
    found = [ratio for seed in range(30) if (ratio := over_best_of_small(seed)) is not None]
    assert len(found) >= 25, "the solver had too little time"
    assert statistics.median(found) <= WITHIN
    assert max(found) <= 1.5  # 1.38 for 18 after 90 seconds; what is proved grows with the time there is


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_every_small_schedule_is_near_the_optimum(seed: int) -> None:
    assert over_best(seed, budget=64) <= WITHIN


@pytest.mark.slow
def test_small_schedules_are_near_the_optimum_where_prompts_take_many_steps() -> None:
    """Four cost more than 5 %, a step to four of some forty. In 28 and 40 the optimum knows whose branch is taken, and
    begins those rows first: an engine that is told so is within 5 %. In 39 the optimum begins all answers last, beside
    each other, which loses where answers are not of equal length; in 5 it keeps rows idle for prompts to come."""
    found = [over_best(seed, budget=24, seconds=20) for seed in range(60)]
    assert statistics.mean(found) <= 1.02
    assert sum(ratio > WITHIN for ratio in found) <= 4
    assert max(found) <= 1.08


def test_the_solver_finds_the_optimum_of_what_can_be_counted() -> None:
    """Two prompts of 10 tokens that share 6, 4 tokens a step; three tokens each; a third that needs the first."""
    first, second = tuple(range(10)), (*range(6), *range(20, 24))
    calls = (Call(first, (1, 1, 1), ()), Call(second, (1, 1, 1), ()), Call((50, 51), (1,), (0,)))
    best = least_cost(Instance(calls, 4, 100), 20, 1.0, 0.0, 10, ample=True)
    # the first ends its prompt in step 2 and draws in steps 2 to 5, the third draws in steps 6 and 7
    assert (best.least, best.proved) == (pytest.approx(8.0), True)
    alone = least_cost(Instance(calls[:2], 4, 17), 20, 1.0, 0.01, 10, ample=False)
    # 6 + 4 + 4 tokens, and 3 of the first answer, stay below 17 only as long as the second has no answer
    both = least_cost(Instance(calls[:2], 4, 20), 20, 1.0, 0.01, 10, ample=False)
    assert alone.least > both.least
    assert both.least == pytest.approx(7 + 0.01 * 20)
    with pytest.raises(RuntimeError, match="no schedule of 3 calls ends within 7 steps"):
        least_cost(Instance(calls, 4, 100), 7, 1.0, 0.0, 10, ample=True)
