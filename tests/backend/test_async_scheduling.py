"""Steps launched before the tokens of the ones before are here: the same results, nothing lost, nothing leaked."""

import contextlib
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lampc.backend.core import EngineCore
from lampc.backend.fake import FakeEngine
from lampc.backend.load import load_engine
from lampc.backend.plan import Pending, Plan
from lampc.backend.request import Completion, Handle, Request, Sampling, State
from lampc.backend.simulated import play
from lampc.backend.steps import watch_steps
from lampc.runtime.pool import firefly_folder
from tests.backend.engines import LIVE, TIGHT, TimedEngine, bring, ids, request, teach, vague
from tests.backend.test_stateful import Memory


class Seen:
    """Remembers launches and waits of an engine, and checks who is in flight twice."""

    def __init__(self, engine: EngineCore) -> None:
        self.inner: Any = engine._runner
        self.log: list[tuple[str, int]] = []
        self.plans: list[Plan] = []
        self.fail: BaseException | None = None
        self.late = False
        engine._runner = self

    def execute(self, plan: Plan) -> Any:
        raise AssertionError("a step was not launched ahead")

    def launch(self, plan: Plan, before: Pending | None) -> "Watched":
        number = len(self.plans)
        fail, self.fail = self.fail, None
        if before is not None:
            assert isinstance(before, Watched)
            assert before.plan is self.plans[-1]
        if fail is not None and not self.late:
            raise fail
        self.plans.append(plan)
        self.log.append(("launch", number))
        inner = self.inner.launch(plan, before and before.inner)  # type: ignore[attr-defined]
        return Watched(self, inner, plan, number, fail)

    def rows_of(self, handle: Handle) -> list[int]:
        """The steps that a request drew in."""
        return [n for n, plan in enumerate(self.plans) if any(want.job.handle is handle for want in plan.wants)]


class Watched:
    def __init__(self, seen: Seen, inner: Any, plan: Plan, number: int, fail: BaseException | None) -> None:
        self.seen, self.inner, self.plan, self.number, self.fail = seen, inner, plan, number, fail

    def drawn(self) -> Any:
        self.seen.log.append(("wait", self.number))
        if self.fail is not None:
            raise self.fail
        return self.inner.drawn()


def ahead(**options: Any) -> FakeEngine:
    return FakeEngine(async_scheduling=True, **options)


def results(handles: list[Handle]) -> list[Completion]:
    assert all(h.completion for h in handles)
    return [h.completion for h in handles if h.completion is not None]


def empty(engine: EngineCore) -> None:
    """Nothing is held, and nothing in flight."""
    engine.run()
    engine.check()
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    assert engine.idle
    assert engine._flight is None


# -- what overlaps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 4, 16])
def test_each_step_is_launched_before_the_one_before_is_waited_for(block: int) -> None:
    engine = ahead(reply=lambda _: "x" * 99, block_size=block)
    seen = Seen(engine)
    handles = [engine.submit(request(f"{n} is a prompt"[: n + 1], 40)) for n in range(8)]
    engine.run()
    count = len(seen.plans)
    order = {event: at for at, event in enumerate(seen.log)}
    assert all(order["launch", n + 1] < order["wait", n] for n in range(count - 1))
    assert engine.stats().drains == 0
    assert all(len(seen.rows_of(h)) == 40 for h in handles)  # a row for each token, and none besides
    assert count == 40
    empty(engine)


def test_requests_come_and_prompts_are_computed_while_others_decode_ahead() -> None:
    engine = ahead(reply=lambda _: "x" * 999, max_batch_tokens=16)
    seen = Seen(engine)
    first = engine.submit(request("first", 120))
    for n in range(10):
        for _ in range(5):
            engine.step()
        engine.submit(request(f"{n} a prompt of several chunks, as it is long" * 2, 6))
    engine.run()
    assert engine.stats().drains == 0
    rows = seen.rows_of(first)
    assert rows == list(range(rows[0], rows[0] + 120))  # not one step without it
    empty(engine)


def test_a_token_is_told_one_step_after_its_launch() -> None:
    engine = ahead(reply=lambda _: "abcdef")
    heard: list[int] = []
    handle = engine.submit(request("p", 6), lambda _, token: heard.append(token))
    for n in range(1, 7):
        engine.step()
        assert len(heard) == n - 1 == len(handle.sent)
    assert engine.step() == [handle]
    assert bytes(heard).decode() == "abcdef"


def test_who_ends_by_a_token_costs_one_row_that_nobody_hears_of() -> None:
    engine, plain = ahead(reply=lambda _: "abc"), FakeEngine(reply=lambda _: "abc")
    for one in (engine, plain):
        heard: list[int] = []
        done = [one.submit(Request(ids(text), Sampling(max_tokens=20))) for text in ("x", "yy")]
        one.submit(Request(ids("zzz"), Sampling(max_tokens=20)), lambda _, token, heard=heard: heard.append(token))  # type: ignore[misc]
        one.run()
        assert [c.text for c in results(done)] == ["abc", "abc"]
        assert bytes(heard).decode() == "abc"
    mine, theirs = engine.stats(), plain.stats()
    assert mine.generated_tokens == theirs.generated_tokens == 12
    assert (mine.prompt_tokens, mine.computed_tokens) == (theirs.prompt_tokens, theirs.computed_tokens)
    assert mine.forward_tokens == theirs.forward_tokens + 3
    assert engine.metrics().itl.count == plain.metrics().itl.count == 9
    empty(engine)


def stopping(text: str, tokens: int) -> Request:
    return Request(ids(text), Sampling(max_tokens=tokens, ignore_eos=True, stop=("nowhere",)))


def test_rows_that_need_the_host_wait_and_nobody_waits_for_them() -> None:
    engine = ahead(reply=lambda _: "x" * 99)
    seen = Seen(engine)
    free = [engine.submit(request(f"free {n}", 60)) for n in range(3)]
    held = [engine.submit(stopping(f"held {n}", 20)) for n in range(3)]
    engine.run()
    for handle in free:
        rows = seen.rows_of(handle)
        assert rows == list(range(rows[0], rows[0] + 60))
    for handle in held:
        rows = seen.rows_of(handle)
        assert all(b - a == 2 for a, b in pairwise(rows))  # never two in flight
    assert engine.stats().drains == 0
    empty(engine)


def test_where_all_need_the_host_they_have_a_row_in_every_step() -> None:
    engine = ahead(reply=lambda _: "x" * 99)
    seen = Seen(engine)
    held = [engine.submit(stopping(f"held {n}", 20)) for n in range(4)]
    engine.run()
    assert len(seen.plans) == 20
    assert engine.stats().drains == 19
    assert len(seen.plans[-1].decoding) == 4  # as columns, not one by one
    # And when another comes they make way for it.
    held = [engine.submit(stopping(f"held {n}", 30)) for n in range(4)]
    for _ in range(5):
        engine.step()
    drains, other = engine.stats().drains, engine.submit(request("other", 30))
    engine.run()
    rows = seen.rows_of(other)
    assert rows == list(range(rows[0], rows[0] + 30))
    assert engine.stats().drains < drains + 25
    assert all(len(c.tokens) == 30 for c in results(held))
    empty(engine)


def test_the_same_path_walked_together_has_the_same_tokens() -> None:
    """They share a leaf, where no token can be guessed: each has a row once its newest token is here."""
    engine = ahead(block_size=4)
    handles = [engine.submit(request("the very same", 12)) for _ in range(4)]
    handles.append(engine.submit(request("another", 12)))
    engine.run()
    plain = FakeEngine(block_size=4)
    others = [plain.submit(h.request) for h in handles]
    plain.run()
    assert results(handles) == results(others)
    empty(engine)


def test_a_runner_that_only_executes_is_run_step_by_step() -> None:
    class Plain:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def execute(self, plan: Plan) -> Any:
            return self.inner.execute(plan)

    engine = ahead()
    engine._runner = Plain(engine._runner)
    assert engine.ask("hello") == FakeEngine().ask("hello")
    assert engine._flight is None


# -- what goes wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError("device"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("late", [False, True], ids=["launch", "wait"])
@pytest.mark.parametrize("at", range(7))
def test_a_step_that_fails_takes_back_what_it_was_and_what_came_after(
    at: int, late: bool, error: BaseException
) -> None:
    engine = ahead(block_size=4, chunk=4)
    engine._runner = Memory(engine._runner, True, 512)
    seen = Seen(engine)
    texts = ["hello you there", "hello me", "other"]
    handles = [engine.submit(request(text, 12)) for text in texts[:2]]
    handles.append(engine.submit(stopping(texts[2], 12)))
    for _ in range(at):
        engine.step()
    seen.fail, seen.late = error, late
    for _ in range(3):
        with contextlib.suppress(KeyboardInterrupt):
            engine.step()
        engine.check()
    assert seen.fail is None
    engine.run()
    plain = FakeEngine(block_size=4, chunk=4)
    others = [plain.submit(h.request) for h in handles]
    plain.run()
    assert [(c.tokens, c.finish) for c in results(handles)] == [(c.tokens, c.finish) for c in results(others)]
    assert engine.stats().generated_tokens == plain.stats().generated_tokens
    empty(engine)


def test_the_request_to_blame_is_found_and_the_others_go_on() -> None:
    engine = TimedEngine(async_scheduling=True)
    engine.failing[7] = RuntimeError("bad")
    good = [engine.submit(request(f"good {n}", 9)) for n in range(3)]
    for _ in range(3):
        engine.step()
    bad = engine.submit(request("bad", 9, key=7))
    engine.run()
    assert [c.finish for c in results(good)] == ["length"] * 3
    assert results([bad])[0].error == "RuntimeError: bad"
    empty(engine)


@pytest.mark.parametrize("state", LIVE)
@pytest.mark.parametrize("end", ["abort", "deadline", "close"])
def test_an_end_in_every_state_leaves_nothing(state: State, end: str) -> None:
    for more in range(4):
        engine = TimedEngine(async_scheduling=True, **TIGHT)
        handle = bring(engine, state, **({"deadline": 1e6} if end == "deadline" else {}))
        for _ in range(more):
            engine.step()
        if end == "close":
            engine.close()
            assert handle.done
            assert engine.stats().used_blocks == 0
            continue
        if end == "abort":
            engine.abort(handle)
        else:
            engine.now = 2e6
            engine.step()
        assert handle.done
        engine.check()
        empty(engine)


def test_preemption_gets_what_is_in_flight_first() -> None:
    engine = ahead(kv_tokens=64, block_size=4, max_running=16)
    teach(engine)
    handles = [engine.submit(vague(f"{i:02d} prompt", 40, priority=i % 3)) for i in range(12)]
    while not engine.idle:
        engine.step()
        engine.check()
    assert engine.stats().preemptions > 0
    assert all(len(c.tokens) == 40 for c in results(handles))
    empty(engine)


@pytest.mark.parametrize("what", ["abort", "abort other", "submit", "retain", "reset", "close", "raise"])
def test_callbacks_do_what_they_like_while_a_step_is_in_flight(what: str) -> None:
    engine = ahead(reply=lambda _: "x" * 99, block_size=4)
    more: list[Handle] = []
    acts: dict[str, Callable[[Handle], Any]] = {
        "abort": engine.abort,
        "abort other": lambda _: engine.abort(other),
        "submit": lambda _: more.append(engine.submit(request("p" * 9 + "x" * 9, 5))),
        "retain": lambda h: engine.retain((*ids("p" * 9), *h.sent), ttl=0.0),
        "reset": lambda _: engine.reset_cache(),
        "close": lambda _: engine.close(),
        "raise": lambda _: 1 // 0,
    }
    handle = engine.submit(request("p" * 9, 20), lambda h, _: acts[what](h) if len(h.sent) == 9 else None)
    other = engine.submit(request("q" * 5, 20))
    engine.run()
    if what == "close":
        assert all(h.completion and h.completion.finish == "abort" for h in (handle, other))
        assert engine.stats().used_blocks == 0
        return
    engine.check()
    assert len(results([other])[0].tokens) == (20 if what != "abort other" else len(other.sent))
    assert len(results([handle])[0].tokens) == (9 if what in ("abort", "raise") else 20)
    assert all(c.finish == "length" for c in results(more))
    empty(engine)


# -- the same results ------------------------------------------------------------------------------------


def some_requests(draw: random.Random, vocab: int, count: int) -> list[Request]:
    """Of every kind: shared beginnings, greedy and drawn, with logprobs, stop ids, stop strings, forced and scored."""
    stem = [draw.randrange(vocab) for _ in range(20)]
    made = []
    for number in range(count):
        prompt = tuple(stem[: draw.choice([0, 3, 12, 20])] + [draw.randrange(vocab) for _ in range(draw.randint(1, 6))])
        sampling: dict[str, Any] = {"max_tokens": draw.randint(1, 16), "ignore_eos": draw.random() < 0.5}
        if draw.random() < 0.5:
            sampling |= {"temperature": draw.choice([0.5, 1.5]), "top_k": draw.choice([0, 4])}
        if draw.random() < 0.3:
            sampling["stop_ids"] = tuple(draw.sample(range(vocab), vocab // 16))
        if draw.random() < 0.2:
            sampling["stop"] = ("a", "th")
        if draw.random() < 0.2:
            sampling["min_tokens"] = draw.randint(0, sampling["max_tokens"])
        more: dict[str, Any] = draw.choice(
            [{}, {}, {"logprobs": True}, {"top_logprobs": 2}, {"prompt_logprobs": True}, {"forced": prompt[:2]}]
        )
        if draw.random() < 0.1:
            more = {"score": prompt[:3]}
        made.append(Request(prompt, Sampling(**sampling), key=number % 5, **more))
    return made


def by_schedule(engine: EngineCore, asked: list[Request], draw: random.Random) -> list[Completion]:
    """Requests come when they come."""
    handles: list[Handle] = []
    left = list(asked)
    while left or not all(h.done for h in handles):
        count = min(len(left), draw.choice([0, 0, 0, 1, 4]))
        handles += [engine.submit(left.pop(0)) for _ in range(count)]
        engine.step()
    empty(engine)
    return results(handles)


def same(folder: Path, seeds: range, backend: Any, count: int = 10) -> int:
    """The number of steps launched ahead. Completions are compared with texts, reasons, logprobs."""
    launched = 0
    engines: dict[tuple[Any, ...], Any] = {}
    for seed in seeds:
        draw = random.Random(seed)
        options = (draw.choice([None, 5]), draw.choice([4, 16]), draw.choice([8, 64]))
        for on in (False, True):
            if (on, *options) not in engines:
                chunk, block, budget = options
                engines[on, *options] = load_engine(
                    folder,
                    backend=backend,
                    kv_tokens=512,
                    chunk=chunk,
                    block_size=block,
                    max_batch_tokens=budget,
                    async_scheduling=on,
                )
        vocab = engines[True, *options].info.vocab_size
        asked = some_requests(draw, vocab, count)
        one, two = (by_schedule(engines[on, *options], asked, random.Random(seed)) for on in (False, True))
        for a, b in zip(one, two, strict=True):
            assert (a.tokens, a.text, a.finish, a.stop_reason) == (b.tokens, b.text, b.finish, b.stop_reason)
            assert (a.logprobs, a.prompt_logprobs, a.top_logprobs) == (b.logprobs, b.prompt_logprobs, b.top_logprobs)
            assert a.cached_tokens + a.computed_tokens == b.cached_tokens + b.computed_tokens == a.prompt_tokens
        plain, mine = (engines[on, *options].stats() for on in (False, True))
        assert plain.generated_tokens == mine.generated_tokens
        launched += mine.steps - mine.drains
    return launched


@pytest.mark.usefixtures("numerics")
def test_the_same_results_by_random_schedules(tiny: Path) -> None:
    assert same(tiny, range(8), "auto") > 100


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "native"])
def test_the_same_results_by_hundreds_of_schedules(
    tiny_wide: Path, backend: str, request: pytest.FixtureRequest
) -> None:
    if backend == "native":
        request.getfixturevalue("kernels")
    assert same(tiny_wide, range(300), backend) > 3000


@pytest.mark.slow
def test_firefly_answers_the_same_by_a_hundred_schedules() -> None:
    assert same(firefly_folder(), range(100), "auto") > 3000


@pytest.mark.parametrize("block", [1, 4, 16])
def test_watching_begins_at_any_moment_and_changes_no_token(block: int) -> None:
    request = Request(tuple(b"prompt"), Sampling(max_tokens=60, ignore_eos=True))

    def answered(begin: int) -> tuple[int, ...]:
        engine = FakeEngine(
            reply=lambda prompt: "".join(map(chr, range(33, 123))), async_scheduling=True, block_size=block
        )
        handle = engine.submit(request)
        for step in range(200):
            if step == begin:
                watch_steps(engine, lambda taken: None)
            if engine.idle:
                break
            engine.step()
        engine.check()
        assert handle.completion is not None
        return handle.completion.tokens

    wanted = answered(-1)
    assert [begin for begin in range(40) if answered(begin) != wanted] == []


@pytest.mark.parametrize("logprobs", [False, True], ids=["plain", "logprobs"])
def test_the_next_step_goes_on_from_what_a_script_says(logprobs: bool) -> None:
    """What it computes is seen in log-probabilities, and, as K/V in the cache, in those of who goes on from there."""
    found = []
    for launched in (False, True):
        engine = load_engine(firefly_folder(), kv_tokens=1 << 11, async_scheduling=launched)
        script = play(engine)
        prompts = [tuple((31 * i + 7 * j) % 2000 + 20 for j in range(20 + 7 * i)) for i in range(5)]
        handles = [engine.submit(Request(p, Sampling(max_tokens=60), logprobs=logprobs)) for p in prompts]
        said = [list(range(30 + i, 45 + 4 * i)) for i in range(5)]
        for handle, tokens in zip(handles, said, strict=True):
            script.add(handle.id, tokens)
        done = [h.completion for h in (engine.run(), handles)[1] if h.completion is not None]
        assert [list(c.tokens[: len(s)]) for c, s in zip(done, said, strict=True)] == said
        assert [c.finish for c in done] == ["stop"] * 5
        more = [
            engine.submit(Request((*p, *s), Sampling(max_tokens=1), logprobs=True))
            for p, s in zip(prompts, said, strict=True)
        ]
        engine.run()
        assert engine.stats().cached_tokens > sum(map(len, prompts))
        found.append([(h.completion.tokens, h.completion.logprobs) for h in (*handles, *more) if h.completion])
        empty(engine)
    assert found[0] == found[1]
