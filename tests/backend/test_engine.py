"""The engine loop without a model: sharing, stopping, preemption, failures, leaks."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.api import TokenEngine
from lampc.backend.errors import BackendError, BadGrammar, ContextTooLong, Unsupported
from lampc.backend.fake import FakeEngine, hash_word
from lampc.backend.hooks import Event, Hook, StepEvent
from lampc.backend.request import Completion, Handle, Request, Sampling
from tests.backend.engines import teach

Ids = tuple[int, ...]


class Log(Hook):
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def ids(text: str) -> Ids:
    return tuple(text.encode())


def request(text: str, **options: Any) -> Request:
    return Request(ids(text), Sampling(**options))


def run(engine: FakeEngine, requests: Iterable[Request]) -> list[Completion]:
    handles = [engine.submit(r) for r in requests]
    while not all(h.done for h in handles):
        engine.step()
        engine.check()
    return [h.completion for h in handles if h.completion is not None]


def trie_size(prompts: Iterable[Ids]) -> int:
    return len({p[: i + 1] for p in prompts for i in range(len(p))})


def test_fake_engine_replies() -> None:
    assert isinstance(FakeEngine(), TokenEngine)
    assert FakeEngine(reply=lambda p: p.upper()).ask("hello") == "HELLO"
    assert FakeEngine().ask("a") == hash_word("a") != FakeEngine().ask("b")
    engine = FakeEngine(reply=["one", "two"])
    assert [engine.ask("x"), engine.ask("x")] == ["one", "two"]
    completion = run(engine, [request("x")])[0]
    assert completion.finish == "error"
    assert "no reply for request 2" in (completion.error or "")


def test_chat_markers_reach_the_reply() -> None:
    engine = FakeEngine(reply=lambda p: p)
    text = engine.tokenizer.render_chat([{"role": "user", "content": "hi"}])
    assert engine.ask(text, sampling=Sampling(ignore_eos=True, max_tokens=8)) == "hi"


prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=20).map(tuple), min_size=1, max_size=12)


@given(prompts=prompts, block_size=st.sampled_from([1, 4, 16]), seed=st.integers(0, 9))
def test_each_distinct_token_is_computed_once(prompts: list[Ids], block_size: int, seed: int) -> None:
    engine = FakeEngine(block_size=block_size, kv_tokens=2048)
    completions = run(engine, [Request(p, Sampling(max_tokens=3)) for p in prompts])
    stats = engine.stats()
    # Repeats submitted together read the row of the first: they cost nothing at all.
    assert stats.computed_tokens == trie_size(prompts)
    assert stats.prompt_tokens == sum(map(len, prompts)) == stats.computed_tokens + stats.cached_tokens
    assert stats.computed_tokens == sum(c.computed_tokens for c in completions)
    assert stats.cached_tokens == sum(c.cached_tokens for c in completions)
    assert all(c.prompt_tokens == len(p) for c, p in zip(completions, prompts))
    # Submitted again, each one computes its last token, for its logits; repeats share the row again.
    again = run(engine, [Request(p, Sampling(max_tokens=1)) for p in prompts])
    assert sum(c.computed_tokens for c in again) == len(set(prompts))


@given(
    prompts=prompts,
    block_size=st.sampled_from([1, 4, 16]),
    chunk=st.sampled_from([None, 1, 3]),
    budget=st.integers(1, 12),
)
def test_sharing_is_tight_when_chunked(prompts: list[Ids], block_size: int, chunk: int | None, budget: int) -> None:
    engine = FakeEngine(block_size=block_size, chunk=chunk, max_batch_tokens=budget, kv_tokens=2048)
    completions = run(engine, [Request(p, Sampling(max_tokens=1)) for p in prompts])
    # No more run than the budget has rows: one that comes later finds its prompt, and needs the logits of its end.
    later = max(0, len(prompts) - budget)
    assert trie_size(prompts) <= engine.stats().computed_tokens <= trie_size(prompts) + later
    assert [c.text for c in completions] == [c.text for c in run(FakeEngine(kv_tokens=2048), _singles(prompts))]


def _singles(prompts: list[Ids]) -> list[Request]:
    return [Request(p, Sampling(max_tokens=1)) for p in prompts]


@given(prompts=prompts)
def test_without_the_cache_everything_is_computed(prompts: list[Ids]) -> None:
    engine = FakeEngine(prefix_cache=False, kv_tokens=2048)
    completions = run(engine, [Request(p) for p in prompts])
    assert engine.stats().computed_tokens == sum(map(len, prompts))
    assert engine.stats().cached_tokens == 0
    assert [c.text for c in completions] == [hash_word(bytes(p).decode()) for p in prompts]
    assert engine.stats().used_blocks == 0


def test_budget_and_running_limits_hold() -> None:
    hook = Log()
    engine = FakeEngine(max_batch_tokens=10, max_running=3, hooks=[hook])
    run(engine, [request(f"{i} prompt number {i}") for i in range(9)])
    steps = [e for e in hook.events if isinstance(e, StepEvent)]
    assert max(e.rows for e in steps) <= 10
    assert max(e.running for e in steps) <= 3
    assert sum(e.rows for e in steps) == engine.stats().forward_tokens


def test_priority_goes_first_and_ties_go_by_arrival() -> None:
    engine = FakeEngine(max_running=1)
    order = [engine.submit(Request(ids("x"), priority=p)) for p in (0, 0, 5)]
    assert [order.index(h) for h in engine.run()] == [2, 0, 1]


def test_stop_strings_forced_tokens_and_limits() -> None:
    engine = FakeEngine(reply=lambda p: "alpha beta")
    done = run(
        engine,
        [
            request("a", stop=("ha b",)),
            request("b", max_tokens=4),
            Request(ids("c"), forced=ids("zz")),
            Request(ids("d"), Sampling(stop=("q",)), forced=ids("xqz")),
            Request(ids("e"), Sampling(max_tokens=2), forced=ids("xyz")),
        ],
    )
    assert [(c.text, c.finish, c.stop_reason) for c in done] == [
        ("alp", "stop", "ha b"),
        ("alph", "length", None),
        ("zzalpha beta", "stop", 259),
        ("x", "stop", "q"),
        ("xy", "length", None),
    ]


def test_scores_and_logprobs_have_the_right_length() -> None:
    engine = FakeEngine()
    done = run(
        engine,
        [
            Request(ids("abc"), score=ids("defg")),
            Request(ids("abc"), Sampling(max_tokens=2), logprobs=True),
            Request(ids("abcd"), score=ids("e")),
            Request(ids("abc"), Sampling(max_tokens=5), forced=ids("defg"), logprobs=True),
        ],
    )
    assert [len(c.logprobs or ()) for c in done] == [4, 2, 1, 5]
    assert done[0].tokens == ()


def test_too_long_or_unsupported_requests_leave_the_engine_usable() -> None:
    engine = FakeEngine(context_length=8)
    with pytest.raises(ContextTooLong, match=r"9 tokens.*ends at 8"):
        engine.submit(request("12345678"))
    with pytest.raises(ContextTooLong):
        engine.submit(Request(ids("1234"), score=ids("12345")))
    with pytest.raises(BadGrammar, match="line 1, column 2"):
        engine.submit(Request((1,), grammar="x"))
    with pytest.raises(Unsupported, match=r"Request\.adapter"):
        engine.submit(Request((1,), adapter="x"))
    with pytest.raises(ValueError, match=r"prompt\[1\] is 260"):
        engine.submit(Request((1, 260)))
    with pytest.raises(ValueError, match=r"prompt is \(1\.5, 2\); give whole numbers"):
        engine.submit(Request((1.5, 2)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"score is \('a',\)"):
        engine.submit(Request((1, 2), score=("a",)))  # type: ignore[arg-type]
    engine.check()
    completion = run(engine, [request("1234567")])[0]
    assert (completion.finish, len(completion.tokens)) == ("length", 1)
    engine.close()
    with pytest.raises(BackendError, match="closed"):
        engine.submit(request("x"))


def test_a_pool_that_is_too_small_is_an_error_of_the_request() -> None:
    engine = FakeEngine(kv_tokens=8, block_size=4)
    done = run(engine, [request("x" * 9), request("abc"), request("y" * 7, max_tokens=30)])
    assert [c.finish for c in done] == ["error", "error", "error"] or done[1].finish == "stop"
    assert "KV blocks are needed" in (done[0].error or "")
    engine.reset_cache()
    assert engine.stats().used_blocks == 0


@settings(max_examples=40)
@given(prompts=prompts, pool=st.integers(32, 80), block_size=st.sampled_from([1, 3, 8]))
def test_preemption_changes_nothing(prompts: list[Ids], pool: int, block_size: int) -> None:
    wanted = [Request(p, Sampling(max_tokens=9, ignore_eos=True, stop_ids=(0,))) for p in prompts]
    calm = run(FakeEngine(kv_tokens=2048), wanted)
    tight = FakeEngine(kv_tokens=pool, block_size=block_size)
    teach(tight)
    assert [c.tokens for c in run(tight, wanted)] == [c.tokens for c in calm]


def test_preemption_happens_and_is_counted() -> None:
    engine = FakeEngine(kv_tokens=40, block_size=4)
    teach(engine)
    done = run(engine, [request(c * 8, max_tokens=16, ignore_eos=True, stop_ids=(0,)) for c in "abcd"])
    assert engine.stats().preemptions > 0
    assert [len(c.tokens) for c in done] == [16] * 4


def test_deadlines_and_retention_follow_the_clock() -> None:
    now = [0.0]
    engine = FakeEngine(clock=lambda: now[0])
    late = engine.submit(Request(ids("abc"), Sampling(ignore_eos=True), deadline=5.0))
    ref = engine.retain(ids("abcdef"), ttl=7.0)
    engine.step()
    now[0] = 5.0
    assert engine.step() == [late]
    assert late.completion is not None
    assert late.completion.finish == "timeout"
    engine.reset_cache()
    engine.check()
    assert engine.stats().used_blocks == 1
    now[0] = 7.0
    engine.step()
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    with pytest.raises(ValueError, match="not held"):
        engine.release(ref)


def test_retained_prefixes_survive_and_can_be_grown_from() -> None:
    engine = FakeEngine(kv_tokens=32, block_size=4)
    ref = engine.retain(ids("shared stem "))
    run(engine, [request("shared stem one")])
    run(engine, [request(c * 16, max_tokens=1) for c in "uvwxyz"])
    completion = run(engine, [Request(ids("two"), parent=ref)])[0]
    assert completion.prompt_tokens == 15
    assert completion.cached_tokens == 12
    engine.release(ref)
    with pytest.raises(ValueError, match="not held"):
        engine.release(ref)
    engine.reset_cache()
    engine.check()
    assert engine.stats().used_blocks == 0


def test_greedy_twins_cost_one() -> None:
    engine = FakeEngine()
    run(engine, [request("same prompt")] * 5)
    single = FakeEngine()
    run(single, [request("same prompt")])
    assert engine.stats().forward_tokens == single.stats().forward_tokens


def test_a_failing_request_fails_alone() -> None:
    def reply(prompt: str) -> str:
        if "bad" in prompt:
            raise RuntimeError("boom")
        return "fine"

    engine = FakeEngine(reply)
    done = run(engine, [request("good one"), request("bad one"), request("good two"), request("bad two")])
    assert [c.finish for c in done] == ["stop", "error", "stop", "error"]
    assert done[1].error == "RuntimeError: boom"
    assert run(engine, [request("good again")])[0].text == "fine"
    stats = engine.stats()
    failed = len("bad one") + len("bad two")
    assert stats.prompt_tokens == stats.cached_tokens + stats.computed_tokens + failed


def test_an_interrupted_step_can_be_run_again() -> None:
    interrupted: list[str] = []

    def reply(prompt: str) -> str:
        if not interrupted:
            interrupted.append(prompt)
            raise KeyboardInterrupt
        return "fine"

    engine = FakeEngine(reply)
    handles = [engine.submit(request("one")), engine.submit(request("one more"))]
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    engine.check()
    engine.run()
    assert [h.completion.text for h in handles if h.completion is not None] == ["fine", "fine"]
    assert engine.stats().computed_tokens == len("one more")


def test_an_engine_that_was_interrupted_in_its_books_says_so_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(reply=lambda p: "a long reply")
    first = engine.submit(request("one"))
    engine.step()
    second = engine.submit(request("two"))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine._scheduler, "_admit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    with pytest.raises(BackendError, match="interrupted halfway"):
        engine.step()
    engine.close()
    engine.close()
    for handle in (first, second):
        assert handle.completion is not None
        assert handle.completion.finish == "abort"
    assert engine.idle


@pytest.mark.parametrize("end", ["abort", "close"])
def test_a_callback_may_end_its_own_request_and_fail(end: str) -> None:
    engine = FakeEngine(reply=lambda p: "reply")

    def both(handle: Handle, token: int) -> None:
        engine.abort(handle) if end == "abort" else engine.close()
        raise RuntimeError("and then")

    first, second = engine.submit(request("x"), both), engine.submit(request("y"))
    engine.run()
    assert first.completion is not None
    assert second.completion is not None
    assert first.completion.finish == "abort"
    assert second.completion.text == ("reply" if end == "abort" else "r")  # it got that in the same step


def test_callbacks_may_abort_and_may_fail() -> None:
    engine = FakeEngine(reply=lambda p: "a long reply")

    def stop(handle: Handle, token: int) -> None:
        if token == ord("o"):
            engine.abort(handle)

    def fail(handle: Handle, token: int) -> None:
        raise KeyError("mine")

    first, second = engine.submit(request("x"), stop), engine.submit(request("y"), fail)
    third = engine.submit(request("z"))
    engine.run()
    engine.check()
    assert first.completion is not None
    assert second.completion is not None
    assert third.completion is not None
    assert (first.completion.finish, first.completion.text) == ("abort", "a lo")
    assert second.completion.error == "on_token failed: KeyError: 'mine'"
    assert third.completion.text == "a long reply"
