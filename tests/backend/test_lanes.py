"""Requests that generate are columns of numbers; whoever looks at them sees requests all the same."""

import gc
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from lampc.backend.errors import BackendError
from lampc.backend.fake import FakeEngine
from lampc.backend.hooks import Event, Hook, StepEvent
from lampc.backend.job import Job
from lampc.backend.plan import Plan
from lampc.backend.request import Handle, Request, Sampling, State
from tests.backend.engines import ids, request
from tests.backend.test_stateful import Memory


class Counting:
    """A runner that makes objects of nothing; it draws 0, 1, 2, ... for each request."""

    def __init__(self) -> None:
        self.drawn: dict[int, int] = {}
        self.rows: list[int] = []

    def execute(self, plan: Plan) -> list[int]:
        self.rows.append(plan.rows)
        jobs = [*plan.decoding, *(want.job for want in plan.other_wants)]
        return [self.next(job.handle.id) for job in jobs]

    def next(self, number: int) -> int:
        self.drawn[number] = self.drawn.get(number, -1) + 1
        return self.drawn[number]


def counting(**options: int) -> FakeEngine:
    engine = FakeEngine(**options)
    engine._runner = Counting()  # type: ignore[assignment]
    return engine


def steps(engine: FakeEngine, count: int) -> None:
    for _ in range(count):
        engine.step()


def test_a_handle_shows_every_token_at_once() -> None:
    engine = counting()
    handles = [engine.submit(request("a" * n, 50)) for n in range(1, 40)]
    engine.step()
    for n in range(1, 45):
        assert all(h.sent == list(range(n)) for h in handles)
        assert handles[7].new_tokens() == (n - 1,)
        engine.step()
    assert {h.completion.tokens for h in engine.run() if h.completion} == {tuple(range(50))}
    engine.check()


def test_jobs_hear_of_their_tokens_a_block_at_a_time() -> None:
    engine = counting(block_size=16)
    handle = engine.submit(request("a" * 16, 60))
    job = engine._jobs[handle.id]
    heard = set()
    for _ in range(48):
        engine.step()
        heard.add(len(job.output.tokens))
    assert heard == {1, 17, 33}  # the first with the prompt, then what filled a block


def test_others_share_tokens_that_nobody_has_heard_of() -> None:
    engine = counting(block_size=16)
    first = engine.submit(request("abc", 40))
    steps(engine, 10)
    known = (*ids("abc"), *first.sent)
    second = engine.submit(Request(known, Sampling(max_tokens=4, ignore_eos=True)))
    engine.run()
    assert second.completion is not None
    assert second.completion.cached_tokens == len(known) - 1  # the newest was not computed yet
    engine.check()


def test_a_prefix_is_kept_that_nobody_has_heard_of() -> None:
    engine = counting(block_size=16)
    first = engine.submit(request("abc", 12))
    steps(engine, 6)
    ref = engine.retain((*ids("abc"), *first.sent))
    engine.run()
    engine.reset_cache()
    again = engine.submit(Request((*ids("abc"), *range(9)), Sampling(max_tokens=1)))
    engine.run()
    assert again.completion is not None
    assert again.completion.cached_tokens == 9  # all that was asked for
    engine.release(ref)
    engine.check()


@pytest.mark.parametrize("gone", [0, 20, 39])
def test_those_that_leave_take_nothing_from_others(gone: int) -> None:
    engine = counting()
    handles = [engine.submit(request("a" * n, 50)) for n in range(1, 41)]
    steps(engine, 7)
    engine.abort(handles[gone])
    steps(engine, 7)
    engine.abort(handles[(gone + 1) % 40])
    engine.run()
    lengths = [len(h.completion.tokens) for h in handles if h.completion]
    assert sorted(lengths) == [7, 14, *[50] * 38]
    assert all(h.completion and h.completion.tokens == tuple(range(len(h.completion.tokens))) for h in handles)
    engine.check()


def test_a_stop_id_of_one_ends_one() -> None:
    engine = counting()
    long = engine.submit(request("a", 30))
    short = engine.submit(Request(ids("b"), Sampling(max_tokens=30, ignore_eos=True, stop_ids=(11,))))
    engine.run()
    assert [len(h.completion.tokens) for h in (long, short) if h.completion] == [30, 11]
    assert short.completion
    assert short.completion.stop_reason == 11


def test_who_asks_for_every_token_gets_every_token() -> None:
    engine = counting()
    got: list[int] = []

    def hear(handle: Handle, token: int) -> None:
        got.append(token)
        assert handle.sent == got

    engine.submit(request("a", 40), hear)
    engine.submit(request("b", 40))
    steps(engine, 20)
    assert got == list(range(20))


def test_the_time_between_tokens_is_that_between_steps() -> None:
    now = 0.0
    engine = counting_at(lambda: now)
    handles = [engine.submit(request("a", 20))]
    for step in range(1, 20):
        now += 0.25 if step == 9 else 0.01
        engine.step()
        if step == 5:
            handles.append(engine.submit(request("b", 9)))
    engine.run()
    metrics = [h.completion.metrics for h in handles if h.completion and h.completion.metrics]
    assert [m.itl_max_s for m in metrics] == pytest.approx([0.25, 0.25])
    assert metrics[1].itl_mean_s == pytest.approx((7 * 0.01 + 0.25) / 8)
    assert engine.metrics().itl.count == 19 + 8
    assert engine.metrics().itl.total == pytest.approx(18 * 0.01 + 0.25 + 7 * 0.01 + 0.25, abs=0.011)


def counting_at(clock: object) -> FakeEngine:
    engine = FakeEngine(clock=clock)
    engine._runner = Counting()  # type: ignore[assignment]
    return engine


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("block", [4, 16])
@pytest.mark.parametrize("gap", range(1, 7))
def test_one_that_catches_up_and_parts_again_leaves_the_other_its_slots(block: int, gap: int) -> None:
    """The same prompt some steps later, the same tokens for a while: it goes through what nobody has heard of yet."""
    for parting in range(1, 16):
        other = LETTERS[:parting] + LETTERS.upper()
        engine = FakeEngine(reply=[LETTERS, other], block_size=block, kv_tokens=400)
        engine._runner = Memory(engine._runner, True, 512)  # type: ignore[assignment]
        handles = [engine.submit(request("hello", 20))]
        steps(engine, gap)
        handles.append(engine.submit(request("hello", 20)))
        engine.run()
        engine.check()
        assert [h.completion.text for h in handles if h.completion] == [LETTERS[:20], other[:20]]


@pytest.mark.parametrize("kind", ["plain", "logprobs", "on_token"])
def test_who_is_aborted_within_a_step_has_what_was_drawn_in_it(kind: str) -> None:
    at = []
    engine = FakeEngine(reply="abcdefgh".__add__, hooks=[OnStep(at)])
    more = {"logprobs": True} if kind == "logprobs" else {}
    heard: list[int] = []
    hear = (lambda handle, token: heard.append(token)) if kind == "on_token" else None
    handle = engine.submit(request("x", 20, **more), hear)
    at.append(lambda: engine.abort(handle))
    engine.run()
    assert handle.completion is not None
    assert len(handle.completion.tokens) == len(handle.sent) == engine.stats().generated_tokens == 4
    assert engine.metrics().itl.count == 3
    assert len(heard) == (3 if kind == "on_token" else 0)  # nobody hears of an aborted request any more


class OnStep(Hook):
    """Does something at the end of the fourth step."""

    def __init__(self, what: list[Any]) -> None:
        self.what = what

    def on_event(self, event: Event) -> None:
        if isinstance(event, StepEvent) and event.step == 4:
            self.what[0]()


CALLS: dict[str, Callable[[FakeEngine, Handle], Any]] = {
    "abort": lambda engine, handle: engine.abort(handle),
    "retain": lambda engine, _: engine.retain(ids("hello you")),
    "submit": lambda engine, _: engine.submit(request("hello me", 5)),
    "reset_cache": lambda engine, _: engine.reset_cache(),
    "step": lambda engine, _: engine.step(),
}


@pytest.mark.parametrize("call", CALLS)
def test_interrupted_books_are_whole_or_known_to_be_torn(call: str) -> None:
    """Ctrl-C at any line of any call: the engine either goes on soundly or says that it cannot, and is closed."""
    ends = Counter(after_interrupt(CALLS[call], line) for line in range(0, 400, 7))
    assert ends["whole"] + ends["torn"] > 1


def after_interrupt(call: Callable[[FakeEngine, Handle], Any], line: int) -> str:
    engine = FakeEngine(block_size=4)
    old = engine.submit(request("hello you there", 3))
    engine.run()
    handles = [engine.submit(request(text, 12)) for text in ("hello you", "hello me")]
    steps(engine, 3)
    if not interrupted(line, lambda: call(engine, handles[0])):
        return "came too late"
    torn = engine._books.torn
    if torn:
        for again in CALLS.values():
            if not handles[1].done or again is not CALLS["abort"]:
                with pytest.raises(BackendError, match="interrupted halfway"):
                    again(engine, handles[1])
    else:
        engine.run()
        engine.check()
        assert all(h.done for h in handles)
        engine.reset_cache()
        assert engine.stats().used_blocks == 0
    engine.close()
    assert old.done
    assert all(h.done and h.state is State.FINISHED for h in handles)
    assert engine.idle
    return "torn" if torn else "whole"


def interrupted(line: int, call: Callable[[], Any]) -> bool:
    """Calls, and raises KeyboardInterrupt at the so-manieth line of the backend that runs; whether it came to that."""
    left = line

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if "backend" not in frame.f_code.co_filename or frame.f_code.co_filename.endswith("books.py"):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_requests_that_are_over_are_not_held_until_they_could_have_been() -> None:
    engine = FakeEngine(reply=lambda prompt: "ab" * 1000 if prompt[:1] == "L" else "short")
    engine.submit(Request(tuple(b"L"), Sampling(max_tokens=2000)))
    handles = [engine.submit(Request(tuple(f"p{i}".encode()), Sampling(max_tokens=1000))) for i in range(40)]
    while not all(handle.done for handle in handles):
        engine.step()
    for _ in range(40):  # the block that they had begun is over, too
        engine.step()
    gc.collect()
    over = [job for job in gc.get_objects() if type(job) is Job and job.handle in handles]
    assert not over
    engine.close()
