"""Requests that generate are columns of numbers; whoever looks at them sees requests all the same."""

import pytest

from lampc.backend.fake import FakeEngine
from lampc.backend.plan import Plan
from lampc.backend.request import Handle, Request, Sampling
from tests.backend.engines import ids, request


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
