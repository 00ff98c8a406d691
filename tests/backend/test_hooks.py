"""Hooks hear of every transition, may rewrite or refuse requests, and a failing one ends no request but its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import Engine, FakeEngine, Hook, Request, RequestEvent, Sampling, State, StepEvent, load_engine
from lampc.backend.hooks import Event
from tests.backend.engines import TIGHT, Log, On, TimedEngine, bring, ids, request


class Rewrite(Hook):
    """Does something to every request before it is queued."""

    def __init__(self, change: Callable[[Request], Any]) -> None:
        self.change = change

    def on_submit(self, request: Request) -> Request:
        return self.change(request)  # type: ignore[no-any-return]


# -- rewriting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["paged", "naive"])
def test_a_hook_rewrites_what_is_run(tiny: Path, kind: Any) -> None:
    def change(given: Request) -> Request:
        return replace(given, prompt=(9, *given.prompt), sampling=replace(given.sampling, max_tokens=3), logprobs=True)

    asked = Request((20, 21, 22), Sampling(max_tokens=8, ignore_eos=True))
    hooked = load_engine(tiny, kind=kind, hooks=[Rewrite(change)])
    handle = hooked.submit(asked)
    hooked.run()
    plain = load_engine(tiny, kind=kind)
    expected = plain.submit(change(asked))
    plain.run()
    assert handle.request == change(asked)
    assert handle.completion == expected.completion
    assert handle.completion is not None
    assert (handle.completion.prompt_tokens, len(handle.completion.tokens)) == (4, 3)
    for engine in (hooked, plain):
        engine.close()


def test_hooks_rewrite_one_after_the_other_and_what_they_make_is_checked() -> None:
    seen: list[tuple[int, ...]] = []

    def note(given: Request) -> Request:
        seen.append(given.prompt)
        return given

    hooks = [Rewrite(lambda r: replace(r, prompt=(*r.prompt, 1))), Rewrite(note), Rewrite(lambda r: replace(r, key=5))]
    engine = FakeEngine(hooks=hooks)
    handle = engine.submit(request("a"))
    assert seen == [(*ids("a"), 1)]
    assert handle.request.key == 5
    with pytest.raises(ValueError, match="vocabulary"):
        FakeEngine(hooks=[Rewrite(lambda r: replace(r, prompt=(9999,)))]).submit(request("a"))


def test_a_priority_set_by_a_hook_counts() -> None:
    urgent = Rewrite(lambda r: replace(r, priority=5) if r.key == 1 else r)
    engine = FakeEngine(max_running=1, hooks=[urgent])
    handles = [engine.submit(request("a", key=key)) for key in (0, 0, 1)]
    assert [handles.index(h) for h in engine.run()] == [2, 0, 1]


def test_a_hook_may_refuse() -> None:
    class TooMuch(Exception):
        pass

    def check(given: Request) -> Request:
        if given.key == 7:
            raise TooMuch("not today")
        return given

    log = Log()
    engine = FakeEngine(hooks=[Rewrite(check), log])
    with pytest.raises(TooMuch, match="not today"):
        engine.submit(request("a", key=7))
    engine.submit(request("a"))
    engine.run()
    metrics = engine.metrics()
    assert (metrics.refused, metrics.stats.requests, metrics.finished["length"]) == (1, 1, 1)
    assert {e.handle.request.key for e in log.events if isinstance(e, RequestEvent)} == {0}
    with Engine(FakeEngine(hooks=[Rewrite(lambda r: 1 / 0)])) as users:  # type: ignore[arg-type,return-value]
        with pytest.raises(ZeroDivisionError):
            users.generate(["a", "b"])
        with pytest.raises(ZeroDivisionError):
            list(users.stream("a"))


@pytest.mark.parametrize("wrong", [None, "text", 5])
def test_a_hook_that_returns_no_request_is_told(wrong: Any) -> None:
    engine = FakeEngine(hooks=[Rewrite(lambda r: wrong)])
    with pytest.raises(TypeError, match=r"Rewrite\.on_submit returned .*; return the Request to queue"):
        engine.submit(request("a"))
    assert engine.idle


@pytest.mark.parametrize("wrong", [Log, object(), None, print])
def test_what_is_no_hook_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"hooks\[1\] is .*; give an object with on_submit and on_event"):
        FakeEngine(hooks=[Log(), wrong])


# -- hearing ------------------------------------------------------------------------------------------


def test_every_transition_is_heard_once_in_order_with_both_states() -> None:
    log = Log()
    engine = TimedEngine(hooks=[log], **TIGHT)
    bring(engine, State.PREEMPTED)
    engine.run()
    heard = [e for e in log.events if isinstance(e, RequestEvent)]
    assert {e.kind for e in heard} == {"submitted", "admitted", "running", "first_token", "preempted", "finished"}
    assert [e.time for e in log.events] == sorted(e.time for e in log.events)
    for handle in dict.fromkeys(e.handle for e in heard):
        mine = [e for e in heard if e.handle is handle]
        state: State | None = None
        for event in mine:
            assert event.before is state
            state = event.after
        assert state is State.FINISHED
        assert mine[0].kind == "submitted"
        completion = handle.completion
        assert completion is not None
        assert completion.metrics is not None
        assert [e.kind for e in mine].count("first_token") == (completion.metrics.ttft_s is not None)
        assert completion.metrics.preemptions == [e.kind for e in mine].count("preempted")


def test_steps_are_heard_with_their_figures() -> None:
    log = Log()
    engine = TimedEngine(step_s=2.0, hooks=[log], max_running=2)
    for text in ("abcd", "efgh", "ijkl"):
        engine.submit(request(text, 2))
    engine.step()
    engine.step()
    steps = [e for e in log.events if isinstance(e, StepEvent)]
    assert [(s.step, s.time, s.seconds, s.rows, s.requests, s.running, s.waiting) for s in steps] == [
        (1, 2.0, 2.0, 8, 2, 2, 1),
        (2, 4.0, 2.0, 2, 2, 2, 1),
    ]
    assert steps[0].used_blocks == 2


@pytest.mark.parametrize("kind", ["submitted", "admitted", "running", "first_token", "finished"])
def test_a_hook_that_fails_ends_the_request_it_heard_of_and_no_other(kind: str) -> None:
    def act(event: RequestEvent) -> None:
        if event.handle.request.key == 9:
            raise ValueError("boom")

    log = Log()
    engine = FakeEngine(hooks=[On(kind, act), log])
    bad, good = engine.submit(request("bad", key=9)), engine.submit(request("good"))
    engine.run()
    engine.check()
    assert bad.completion is not None
    assert bad.completion.finish == "error"
    assert bad.completion.error == f"hook On.on_event failed at '{kind}': ValueError: boom"
    assert good.completion is not None
    assert good.completion.finish == "length"
    assert log.life(bad)[-1] == "finished", "the others hear of it all the same"
    assert dict(engine.metrics().finished) == {"stop": 0, "length": 1, "abort": 0, "timeout": 0, "error": 1}
    engine.reset_cache()
    assert engine.stats().used_blocks == 0


def test_a_hook_that_fails_at_a_step_ends_all_of_the_step() -> None:
    class Fails(Hook):
        def on_event(self, event: Event) -> None:
            if isinstance(event, StepEvent) and event.step == 2:
                raise ValueError("boom")

    engine = FakeEngine(hooks=[Fails()])
    done = [engine.submit(request("short", 1)), engine.submit(request("a")), engine.submit(request("b"))]
    engine.run()
    assert [h.completion.finish for h in done if h.completion] == ["length", "error", "error"]
    engine.check()


def test_a_hook_may_submit_more_and_ask_for_figures() -> None:
    engine: FakeEngine
    made: list[Any] = []

    def follow_up(event: RequestEvent) -> None:
        if len(made) < 3:
            assert engine.metrics().stats.requests == len(made) + 1
            made.append(engine.submit(request("next")))

    engine = FakeEngine(hooks=[On("finished", follow_up)])
    engine.submit(request("first"))
    engine.run()
    assert [h.done for h in made] == [True] * 3


def test_the_users_engine_takes_hooks(tiny: Path) -> None:
    log = Log()
    with Engine.load(
        tiny, hooks=[log, Rewrite(lambda r: replace(r, sampling=replace(r.sampling, max_tokens=2)))]
    ) as engine:
        assert len(engine.generate("the cat", max_tokens=50, ignore_eos=True).tokens) == 2
    kinds = [e.kind for e in log.events if isinstance(e, RequestEvent)]
    assert kinds == ["submitted", "admitted", "running", "first_token", "finished"]
