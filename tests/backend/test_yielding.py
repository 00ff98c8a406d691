"""While an urgent request runs, prompts of patient ones make its steps hardly longer."""

import random

import pytest

from lampc.backend.request import Handle, State
from tests.backend.engines import TimedEngine, alone, request

LONG = "a prompt of sixty-four tokens, of which a step takes some: 01234"
BUDGET = 16


def test_prompts_below_yield_an_eighth_is_theirs_and_tokens_stay_the_same() -> None:
    engine = TimedEngine(max_batch_tokens=BUDGET)
    urgent = engine.submit(request("urgent", 100, priority=1))
    engine.step()
    low = engine.submit(request(LONG, 4))
    assert _steps_of_prompt(engine, low) == len(LONG) // (BUDGET // 8)
    assert not urgent.done
    engine.run()
    assert low.completion is not None
    assert low.completion.tokens == alone(low.request)


def test_all_that_yield_share_the_eighth_and_go_on_as_soon_as_nobody_is_above_them() -> None:
    engine = TimedEngine(max_batch_tokens=BUDGET)
    urgent = engine.submit(request("urgent", 10, priority=1))
    engine.step()
    patient = [engine.submit(request(f"{i} {LONG}", 4)) for i in range(3)]
    while not urgent.done:
        engine.step()
    computed = engine.stats().computed_tokens - len("urgent")
    assert 9 * BUDGET // 8 - 2 <= computed <= 9 * BUDGET // 8, "of all three together"
    engine.step()
    assert engine.stats().computed_tokens - len("urgent") - computed == BUDGET
    engine.run()
    assert all(handle.done for handle in patient)


@pytest.mark.parametrize(("policy", "priority"), [("priority", 1), ("fcfs", 0), ("deadline", 0), ("prefix", 0)])
def test_equals_do_not_yield_nor_does_anybody_under_another_policy(policy: str, priority: int) -> None:
    engine = TimedEngine(max_batch_tokens=BUDGET, policy=policy)
    engine.submit(request("urgent", 100, priority=1))
    engine.step()
    assert _steps_of_prompt(engine, engine.submit(request(LONG, 4, priority=priority))) == -(-len(LONG) // (BUDGET - 1))


def test_one_that_waited_long_does_not_yield() -> None:
    engine = TimedEngine(max_batch_tokens=BUDGET, max_running=2, patience=5)
    urgent = engine.submit(request("urgent", 100, priority=1))
    engine.submit(request("x", 2, priority=1))
    engine.step()
    low = engine.submit(request(LONG, 4))
    for _ in range(20):
        if low.state is not State.WAITING:
            break
        engine.submit(request("x", 1, priority=1))
        engine.step()
    assert low.state is State.PREFILLING, "it was passed as often as patience says"
    assert _steps_of_prompt(engine, low) <= -(-len(LONG) // (BUDGET - 1))
    assert not urgent.done


def test_prompts_that_yield_one_after_another_do_not_come_to_stand_before_urgent_ones() -> None:
    engine = TimedEngine(max_batch_tokens=BUDGET, kv_tokens=4096, patience=8)
    engine.submit(request("urgent", 400, priority=1))
    engine.step()
    patient = [engine.submit(request(f"{i} {LONG}", 4)) for i in range(8)]
    for _ in range(10):
        engine.step()
    assert _steps_of_prompt(engine, engine.submit(request(f"urgent {LONG}", 4, priority=1))) <= 6
    engine.run()
    assert all(handle.done for handle in patient)


def test_one_that_yields_to_others_below_waits_eight_times_as_long_as_patience_says_at_most() -> None:
    engine = TimedEngine(max_batch_tokens=BUDGET, kv_tokens=8192, patience=4, max_running=8)
    urgent = engine.submit(request("urgent", 400, priority=2))
    engine.step()
    between = engine.submit(request(LONG * 4, 4, priority=1))
    low = engine.submit(request(LONG, 4))
    assert _steps_of_prompt(engine, low) <= 8 * 4 + 6
    assert not urgent.done
    assert between.state is State.PREFILLING


@pytest.mark.parametrize("seed", [17, 18, 23, 42, *range(90, 110)])
def test_known_lengths_are_not_preempted_though_prompts_take_longer(seed: int) -> None:
    draw = random.Random(seed)
    tokens = draw.choice([96, 128, 160])
    engine = TimedEngine(max_batch_tokens=BUDGET, kv_tokens=tokens, block_size=4, max_running=16)
    for _ in range(14):
        text = "".join(draw.choice("abcdef") for _ in range(draw.randint(1, 40)))
        engine.submit(request(text, draw.randint(1, 40), priority=int(draw.random() < 0.3)))
        for _ in range(draw.randint(0, 6)):
            engine.step()
            engine.check()
    engine.run()
    assert engine.stats().preemptions == 0


def _steps_of_prompt(engine: TimedEngine, handle: Handle) -> int:
    """How many steps its prompt takes from now on."""
    for steps in range(1, 200):
        engine.step()
        if handle.state is State.RUNNING:
            return steps
    raise AssertionError("it never ends")
