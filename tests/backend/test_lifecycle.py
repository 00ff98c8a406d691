"""The life of a request: which states follow which, and that every end, from every state, frees everything."""

import gc
import threading
import weakref
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lampc.backend.errors import BackendError, EngineClosed, QueueFull
from lampc.backend.fake import FakeEngine
from lampc.backend.hooks import RequestEvent
from lampc.backend.lifecycle import TRANSITIONS, Deadlines, IllegalTransition, move
from lampc.backend.load import load_engine
from lampc.backend.request import Handle, State
from tests.backend.engines import LIVE, TIGHT, Log, On, TimedEngine, bring, request, teach, vague


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_only_the_transitions_of_the_table_are_legal(before: State, after: State) -> None:
    handle = Handle(7, request("x"))
    handle.state = before
    if after in TRANSITIONS[before]:
        assert move(handle, after) is before
        assert handle.state is after
    else:
        with pytest.raises(IllegalTransition, match=f"request 7: {before.value} -> {after.value}"):
            move(handle, after)
        assert handle.state is before


def test_every_state_but_the_last_can_end_and_be_reached() -> None:
    assert not TRANSITIONS[State.FINISHED]
    assert all(State.FINISHED in TRANSITIONS[s] for s in LIVE)
    assert set().union(*TRANSITIONS.values()) == set(State) - {State.WAITING}


def test_a_calm_life() -> None:
    log = Log()
    engine = FakeEngine(hooks=[log])
    handle = engine.submit(request("abc"))
    assert handle.state is State.WAITING
    engine.run()
    assert log.life(handle) == ["submitted", "admitted", "running", "first_token", "finished"]


def test_prefilling_lasts_until_the_whole_prompt_is_computed() -> None:
    engine = FakeEngine(chunk=3)
    handle = engine.submit(request("eight ch"))
    states = []
    while not handle.done:
        engine.step()
        engine.check()
        states.append((handle.state, len(handle.new_tokens())))
    prefilling, running = (State.PREFILLING, 0), (State.RUNNING, 1)
    assert states == [prefilling] * 2 + [running] * 3 + [(State.FINISHED, 1)]


def test_a_preempted_request_prefills_again_and_loses_nothing() -> None:
    log = Log()
    engine = FakeEngine(hooks=[log], **TIGHT)
    handle = bring(engine, State.PREEMPTED)
    had = len(handle.new_tokens())
    engine.run()
    life = log.life(handle)
    again = life.index("preempted")
    assert life[again : again + 2] == ["preempted", "admitted"]
    assert "running" in life[again:]
    assert life.count("first_token") == life.count("submitted") == life.count("finished") == 1
    assert had + len(handle.new_tokens()) == 20
    resumed = [e for e in log.events if isinstance(e, RequestEvent) and e.before is State.PREEMPTED]
    assert resumed[0].after is State.PREFILLING


def ended(engine: FakeEngine, handle: Handle, finish: str) -> None:
    """The request is over, and once the others are too, no block is held: none leaked, none held twice."""
    assert handle.state is State.FINISHED
    assert handle.completion is not None
    assert handle.completion.finish == finish
    engine.check()
    engine.run()
    engine.check()
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    assert engine.idle


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("prefix_cache", [True, False])
def test_abort_from_every_state(state: State, prefix_cache: bool) -> None:
    engine = TimedEngine(prefix_cache=prefix_cache, **TIGHT)
    handle = bring(engine, state)
    before = engine.stats().used_blocks
    engine.abort(handle)
    if not prefix_cache and state in (State.PREFILLING, State.RUNNING):
        assert engine.stats().used_blocks < before  # at once, not at the next step
    engine.abort(handle)  # twice is fine
    ended(engine, handle, "abort")


@pytest.mark.parametrize("state", LIVE)
def test_deadline_in_every_state(state: State) -> None:
    engine = TimedEngine(**TIGHT)
    handle = bring(engine, state, deadline=1e6)
    engine.now = 1e6
    assert handle in engine.step()
    ended(engine, handle, "timeout")


@pytest.mark.parametrize("state", [State.PREFILLING, State.RUNNING])
def test_failure_in_every_state_that_computes(state: State) -> None:
    engine = TimedEngine(**TIGHT)
    handle = bring(engine, state)
    engine.failing[9] = RuntimeError("boom")
    assert handle in engine.step()
    ended(engine, handle, "error")
    assert handle.completion is not None
    assert handle.completion.error == "RuntimeError: boom"


@pytest.mark.parametrize("state", [State.WAITING, State.PREEMPTED])
def test_failure_of_one_that_waits_comes_when_it_is_its_turn(state: State) -> None:
    engine = TimedEngine(**TIGHT)
    handle = bring(engine, state)
    engine.failing[9] = RuntimeError("boom")
    others = engine.run()
    assert [h.completion.finish for h in others if h is not handle and h.completion] == ["length"] * 2
    ended(engine, handle, "error")


@pytest.mark.parametrize("state", LIVE)
def test_close_in_every_state(state: State) -> None:
    engine = TimedEngine(**TIGHT)
    handle = bring(engine, state)
    engine.close()
    assert engine.stats().used_blocks == 0
    ended(engine, handle, "abort")
    engine.close()
    assert engine.step() == []


@pytest.mark.parametrize("state", LIVE)
def test_a_callback_aborts_another_in_every_state(state: State) -> None:
    engine = TimedEngine(**TIGHT)
    handle = bring(engine, state)
    helper = engine.submit(request("h", 2, priority=9), lambda _, __: engine.abort(handle))
    for _ in range(100):
        engine.step()
        engine.check()
        if helper.new_tokens():
            break
    ended(engine, handle, "abort")
    assert helper.completion is not None
    assert helper.completion.finish == "length"


@pytest.mark.parametrize("kind", ["submitted", "admitted", "running", "first_token", "preempted", "finished"])
@pytest.mark.parametrize("whom", ["itself", "others", "all, by close"])
def test_a_hook_aborts_at_every_event(kind: str, whom: str) -> None:
    handles: list[Handle] = []

    def act(event: RequestEvent) -> None:
        if whom == "all, by close":
            engine.close()
        for handle in [event.handle] if whom == "itself" else handles:
            if whom == "itself" or handle is not event.handle:
                engine.abort(handle)
        engine.check()

    engine = TimedEngine(hooks=[On(kind, act)], **TIGHT)
    try:
        for i in range(4):
            handles.append(engine.submit(request(f"prompt {i} ", 20)))
            for _ in range(2 * i):
                engine.step()
                engine.check()
    except EngineClosed:
        assert whom == "all, by close"
    engine.run()
    assert handles or whom == "all, by close"
    for handle in handles:
        ended(engine, handle, handle.completion.finish if handle.completion is not None else "none")


def test_an_abort_within_a_step_that_fails_leaves_no_stale_cache() -> None:
    """The hook aborts what the failed step was to write; the next with that prompt computes every token."""
    engine = TimedEngine(hooks=[On("admitted", lambda e: engine.abort(e.handle) if e.handle.id == 0 else None)])
    engine.failing[1] = RuntimeError("boom")
    first = engine.submit(request("the same prompt", key=1))
    engine.step()
    assert first.done
    second = engine.submit(request("the same prompt", 1))
    engine.run()
    engine.check()
    assert second.completion is not None
    assert second.completion.computed_tokens == len("the same prompt")


def test_an_interrupted_step_is_told_later_and_in_order() -> None:
    log = Log()
    engine = TimedEngine(hooks=[log])
    handle = engine.submit(request("abc", key=1))
    engine.failing[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    assert handle.state is State.PREFILLING
    engine.check()
    engine.failing.clear()
    engine.run()
    assert log.life(handle) == ["submitted", "admitted", "running", "first_token", "finished"]


def test_callbacks_must_not_step() -> None:
    engine = FakeEngine()
    handle = engine.submit(request("x"), lambda _, __: engine.run() and None)
    other = engine.submit(request("y"))
    engine.run()
    engine.check()
    assert handle.completion is not None
    assert other.completion is not None
    assert "must not call step" in (handle.completion.error or "")
    assert other.completion.finish == "length"
    stepping = FakeEngine(hooks=[On("submitted", lambda _: None)])
    assert stepping.ask("x")


def test_callbacks_may_submit() -> None:
    engine = FakeEngine()
    more: list[Handle] = []
    engine.submit(request("x", 3), lambda _, token: more.append(engine.submit(request(f"{token}", 1))))
    engine.run()
    assert len(more) == 3
    assert all(h.completion is not None and h.completion.finish == "length" for h in more)


# -- the queue -------------------------------------------------------------------------------------------


def test_the_queue_is_bounded() -> None:
    engine = FakeEngine(max_waiting=2, max_running=1)
    first = [engine.submit(request("a", 9)), engine.submit(request("b"))]
    with pytest.raises(QueueFull, match=r"2 requests are waiting.*larger max_waiting") as caught:
        engine.submit(request("c"))
    assert caught.value.limit == 2
    assert isinstance(caught.value, BackendError)
    assert engine.metrics().refused == 1
    engine.step()
    third = engine.submit(request("c"))
    engine.run()
    assert all(h.completion is not None and h.completion.finish == "length" for h in [*first, third])
    assert engine.stats().requests == 3
    with pytest.raises(ValueError, match="max_waiting is 0"):
        FakeEngine(max_waiting=0)


def test_preempted_requests_find_room_in_a_full_queue() -> None:
    engine = FakeEngine(max_waiting=1, **TIGHT)
    teach(engine)
    handle = engine.submit(vague("victim me", 20))
    engine.step()
    for text in ("some one", "an other"):
        engine.submit(vague(text, 20, priority=1))
        engine.step()
    engine.submit(request("waits here", priority=-1))
    while handle.state is not State.PREEMPTED:
        engine.step()
        engine.check()
    with pytest.raises(QueueFull):
        engine.submit(request("x"))
    engine.run()
    assert handle.completion is not None
    assert handle.completion.finish == "length"


def test_deadlines_in_order_and_bounded() -> None:
    late = Deadlines()
    for number in range(5):
        late.add(number, 10.0 - number)
    late.drop(3)
    late.drop(99)
    assert late.late(5.9) == []
    assert late.late(9.0) == [4, 2, 1]
    assert len(late) == 1
    for number in range(5000):
        late.add(number, 1e9)
        late.drop(number)
    assert len(late._heap) < 200


# -- what stays ------------------------------------------------------------------------------------------


def test_a_closed_engine_says_so_and_lets_its_runner_go() -> None:
    engine = FakeEngine()
    engine.ask("x")
    runner = weakref.ref(engine._runner)
    engine.close()
    engine.close()
    assert runner() is None
    for use in (lambda: engine.submit(request("x")), lambda: engine.retain((1,))):
        with pytest.raises(EngineClosed, match="load another"):
            use()


def test_two_engines_leave_nothing(tiny: Path) -> None:
    import torch

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    def use() -> list[weakref.ref[Any]]:
        refs = []
        for kind in ("paged", "naive"):
            engine = load_engine(tiny, kind=kind, kv_tokens=64, hooks=[Log()])  # type: ignore[arg-type]
            engine.retain((1, 2))
            handle = engine.submit(request("abc", 2))
            engine.run()
            assert handle.completion is not None
            refs += [weakref.ref(engine), weakref.ref(engine._runner if kind == "paged" else engine._model)]
            engine.submit(request("left over", 2))
            engine.close()
        return refs

    use()  # caches of torch itself are filled once
    threads, count = threading.active_count(), tensors()
    assert [r() for r in use()] == [None] * 4  # by reference counts alone: no cycle waits for the collector
    assert tensors() == count
    assert threading.active_count() == threads
