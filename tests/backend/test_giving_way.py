"""Where no more requests may run, an urgent one takes the place of a patient one, within bounds."""

import pytest

from lampc.backend.hooks import RequestEvent
from lampc.backend.request import State
from tests.backend.engines import Log, TimedEngine, alone, request


def test_where_no_more_may_run_the_urgent_takes_the_place_of_the_patient() -> None:
    log = Log()
    engine = TimedEngine(max_running=2, hooks=[log])
    slow = [engine.submit(request(f"slow number {i}", 50)) for i in range(3)]
    engine.step()
    engine.step()
    urgent = engine.submit(request("urgent", 2, priority=1))
    engine.step()
    assert urgent.state is State.RUNNING, "at the next step"
    assert [h.state for h in slow] == [State.RUNNING, State.PREEMPTED, State.WAITING]
    engine.run()
    engine.check()
    for handle in slow:
        assert handle.completion is not None
        assert handle.completion.tokens == alone(handle.request)
    given = slow[1].completion
    assert given is not None
    assert given.metrics is not None
    assert given.metrics.preemptions == 1
    assert given.computed_tokens + given.cached_tokens == given.prompt_tokens, "what it had computed was still there"


@pytest.mark.parametrize("policy", ["fcfs", "deadline", "prefix"])
def test_no_other_policy_takes_places_away(policy: str) -> None:
    engine = TimedEngine(max_running=1, policy=policy)
    slow = engine.submit(request("slow", 10))
    engine.step()
    engine.submit(request("urgent", 2, priority=5, deadline=engine.now + 4))
    engine.run()
    assert engine.stats().preemptions == 0
    assert slow.completion is not None


def test_equals_do_not_take_places_and_nobody_gives_way_for_ever() -> None:
    engine = TimedEngine(max_running=1, patience=5)
    first = engine.submit(request("a", 5))
    engine.step()
    engine.submit(request("b", 5))
    engine.run()
    assert engine.stats().preemptions == 0
    slow = engine.submit(request("slow", 30))
    for step in range(100):
        engine.submit(request(f"urgent {step}", 1, priority=step))
        engine.step()
        engine.check()
        if slow.done:
            break
    assert slow.done, "it gives way three times at most and is passed as often as patience says"
    assert slow.completion is not None
    assert slow.completion.metrics is not None
    assert 1 <= slow.completion.metrics.preemptions <= 3
    assert first.done
    engine.run()


def test_who_gives_way_is_told_before_who_comes() -> None:
    log = Log()
    engine = TimedEngine(max_running=1, hooks=[log])
    slow = engine.submit(request("slow", 20))
    engine.step()
    urgent = engine.submit(request("urgent", 20, priority=1))
    engine.step()
    told = [(e.handle, e.kind) for e in log.events if isinstance(e, RequestEvent)]
    assert told.index((slow, "preempted")) < told.index((urgent, "admitted"))


def test_nobody_gives_way_to_one_that_would_not_fit() -> None:
    engine = TimedEngine(max_running=2, kv_tokens=64, block_size=4)
    large = engine.submit(request("a large one with a prompt", 20, priority=2))
    small = engine.submit(request("small", 8))
    engine.step()
    urgent = engine.submit(request("urgent, and as large", 20, priority=1))
    while not large.done and not small.done:
        engine.step()
        engine.check()
        assert urgent.state is State.WAITING
        assert small.state in (State.RUNNING, State.FINISHED), "its place would stay empty"
    engine.run()
    assert engine.stats().preemptions == 0
    assert urgent.completion is not None
    assert urgent.completion.finish == "length"


def test_who_gives_way_leaves_enough_for_who_comes() -> None:
    engine = TimedEngine(max_running=2, kv_tokens=64, block_size=4)
    large = engine.submit(request("a large one with a prompt", 20))
    small = engine.submit(request("small", 8))
    engine.step()
    urgent = engine.submit(request("urgent, and as large", 20, priority=1))
    engine.step()
    engine.check()
    assert [h.state for h in (large, small, urgent)] == [State.PREEMPTED, State.RUNNING, State.RUNNING]
    engine.run()
    assert engine.stats().preemptions == 1


def test_of_several_urgent_ones_only_those_come_that_fit_together() -> None:
    engine = TimedEngine(max_running=2, kv_tokens=64, block_size=4)
    slow = [engine.submit(request(f"{i} slow", 22)) for i in range(2)]
    engine.step()
    urgent = [engine.submit(request(f"{i} urgent", 29, priority=1)) for i in range(2)]
    engine.step()
    assert [h.state for h in urgent] == [State.RUNNING, State.WAITING]
    assert [h.state for h in slow] == [State.RUNNING, State.PREEMPTED]
    engine.run()
    engine.check()
    assert engine.stats().preemptions == 1


def test_a_place_is_taken_from_the_lowest_even_if_it_has_no_block_of_its_own() -> None:
    engine = TimedEngine(max_running=3, block_size=4)
    twins = [engine.submit(request("the same", 20)) for _ in range(2)]
    middle = engine.submit(request("in the middle", 20, priority=1))
    engine.step()
    engine.step()
    urgent = engine.submit(request("urgent", 2, priority=2))
    engine.step()
    assert urgent.state is State.RUNNING
    assert [h.state for h in (*twins, middle)] == [State.RUNNING, State.PREEMPTED, State.RUNNING]
    engine.run()
    engine.check()


def test_several_urgent_ones_take_several_places_at_once() -> None:
    engine = TimedEngine(max_running=3)
    slow = [engine.submit(request(f"{i} slow", 20)) for i in range(3)]
    engine.step()
    urgent = [engine.submit(request(f"{i} urgent", 2, priority=1 + i)) for i in range(2)]
    engine.step()
    assert [h.state for h in urgent] == [State.RUNNING] * 2
    assert sorted(h.state.value for h in slow) == ["preempted", "preempted", "running"]
    engine.run()
    engine.check()
    assert engine.stats().preemptions == 2
