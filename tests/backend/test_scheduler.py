"""The scheduler: forecasts that are exact, full pools without preemption, victims, budgets, the share of decoding."""

import random
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.fake import FakeEngine
from lampc.backend.forecast import Future, Lengths, peak_blocks
from lampc.backend.hooks import StepEvent
from lampc.backend.job import Job
from lampc.backend.placing import MAX_PREEMPTIONS
from lampc.backend.plan import Plan
from lampc.backend.request import Handle, Request, Sampling, State
from tests.backend.engines import Log, request, teach, vague


def finish(engine: FakeEngine, handles: list[Handle], limit: int = 100_000) -> None:
    for _ in range(limit):
        if all(h.done for h in handles):
            return
        engine.step()
    raise AssertionError("not everybody ended")


# -- forecasts -----------------------------------------------------------------------------------------


def simulate(locked: int, futures: list[Future], block_size: int) -> int:
    """The most blocks in use, step by step: everybody stores a token a step, and is gone after its last step."""
    shared = locked - sum(f.own for f in futures)
    most = locked
    for step in range(max((f.steps for f in futures), default=0) + 1):
        use = shared
        for f in futures:
            if f.steps >= step:
                stored = min(step, f.left)
                use += f.own + max(0, -(-(stored - f.room) // block_size))
        most = max(most, use)
    return most


@given(
    block_size=st.integers(1, 5),
    shared=st.integers(0, 5),
    futures=st.lists(
        st.builds(
            lambda own, left, late, room: Future(own, left, left + late, room),
            st.integers(0, 9),
            st.integers(0, 30),
            st.integers(0, 6),
            st.integers(0, 4),
        ),
        max_size=8,
    ),
)
def test_the_peak_is_that_of_a_simulation(block_size: int, shared: int, futures: list[Future]) -> None:
    locked = shared + sum(f.own for f in futures)
    assert peak_blocks(locked, futures, block_size) == simulate(locked, futures, block_size)


def job(engine: FakeEngine, wanted: Request) -> Job:
    return Job(Handle(0, wanted), engine.tokenizer, engine.info)


def test_lengths_are_certain_or_learnt() -> None:
    engine, lengths = FakeEngine(), Lengths()
    free = {"max_tokens": 5000}
    assert lengths.expected(job(engine, request("x", 5000))) == 5000
    assert lengths.expected(job(engine, Request((1,), Sampling(**free, min_tokens=5000)))) == 5000
    assert lengths.slots_left(job(engine, Request((1,), score=(1, 2, 3)))) == 0
    assert lengths.slots_left(job(engine, request("x", 5))) == 4  # the last token needs no slot
    vague_one = job(engine, Request((1,), Sampling(**free)))
    assert lengths.expected(vague_one) == 1024
    for length in range(1, 101):
        lengths.add(length)
    assert lengths.expected(vague_one) == 51
    longer = job(engine, Request((1,), Sampling(**free), forced=(65,) * 90))
    assert lengths.expected(longer) == 96
    assert lengths.expected(job(engine, Request((1,), Sampling(**free), forced=(65,) * 200))) == 1224
    for _ in range(300):
        lengths.add(7)
    assert lengths.expected(vague_one) == 7


# -- known lengths ---------------------------------------------------------------------------------------


def job_of_known_lengths(seed: int, count: int, shared: int = 0) -> list[Request]:
    rng = random.Random(seed)
    stems = [tuple(rng.randrange(256) for _ in range(shared)) for _ in range(3)] if shared else [()]
    requests = []
    for i in range(count):
        prompt = stems[i % len(stems)] + tuple(rng.randrange(256) for _ in range(rng.randint(1, 60)))
        requests.append(Request(prompt, Sampling(max_tokens=rng.randint(1, 120), ignore_eos=True)))
    return requests


@pytest.mark.parametrize(("shared", "policy"), list(product([0, 50], ["priority", "fcfs", "prefix", "deadline"])))
def test_known_lengths_fill_the_pool_and_nobody_is_preempted(shared: int, policy: str) -> None:
    blocks, size = 384, 8
    engine = FakeEngine(kv_tokens=blocks * size, block_size=size, max_batch_tokens=96, policy=policy)
    handles = [engine.submit(r) for r in job_of_known_lengths(1, 400, shared)]
    locked, ours, contiguous, running = [], [], [], []
    while not all(h.done for h in handles):
        engine.step()
        jobs = [j for j in engine._jobs.values() if j.cursor is not None]
        held = {slot for j in jobs for slot in j.slots[: len(j.ids)].tolist()}
        locked.append(engine._tree.locked_blocks)
        ours.append(1 - len(held) / max(1, locked[-1] * size))
        # Contiguous allocation with the same knowledge keeps room for all of each request from its first token on.
        most = sum(j.prompt_len + j.request.sampling.max_tokens for j in jobs)
        contiguous.append(1 - sum(len(j.ids) for j in jobs) / max(1, most))
        running.append(len(jobs))
    engine.check()
    assert engine.stats().preemptions == 0
    assert all(h.completion is not None and h.completion.finish == "length" for h in handles)
    busy = slice(len(locked) // 10, len(locked) * 3 // 4)  # while enough of them wait
    assert max(locked) <= blocks
    assert sum(locked[busy]) / len(locked[busy]) > 0.92 * blocks
    waste = sum(contiguous[busy]) / sum(ours[busy])
    print(f"KV waste: contiguous over ours {waste:.1f}; {sum(running[busy]) / len(running[busy]):.1f} ran at once")
    assert waste > 3.0


@pytest.mark.parametrize("examples", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_known_lengths_never_preempt(examples: int) -> None:
    @settings(max_examples=examples)
    @given(
        seed=st.integers(0, 10_000),
        size=st.sampled_from([1, 3, 8]),
        chunk=st.sampled_from([None, 5]),
        shared=st.sampled_from([0, 20]),
        cache=st.booleans(),
        budget=st.sampled_from([2, 5, 40]),
    )
    def never(seed: int, size: int, chunk: int | None, shared: int, cache: bool, budget: int) -> None:
        known_lengths(seed, size, chunk, shared, cache, budget)

    never()


def known_lengths(seed: int, size: int, chunk: int | None, shared: int, cache: bool, budget: int) -> None:
    engine = FakeEngine(
        kv_tokens=220, block_size=size, chunk=chunk, max_batch_tokens=budget, max_running=30, prefix_cache=cache
    )
    rng = random.Random(seed)
    requests = job_of_known_lengths(seed, 25, shared)
    handles: list[Handle] = []
    while requests or not all(h.done for h in handles):
        now = min(len(requests), rng.choice([0, 0, 1, 5]))
        handles += [engine.submit(requests.pop()) for _ in range(now)]
        engine.step()
        engine.check()
    assert engine.stats().preemptions == 0
    assert all(h.completion is not None and h.completion.finish == "length" for h in handles)


def test_retained_prefixes_are_part_of_the_forecast() -> None:
    engine = FakeEngine(kv_tokens=160, block_size=4, max_batch_tokens=64)
    stem = tuple(range(40))
    ref = engine.retain(stem)
    handles = [engine.submit(Request((*stem, i), Sampling(max_tokens=30, ignore_eos=True))) for i in range(12)]
    while not all(h.done for h in handles):
        engine.step()
        engine.check()
    assert engine.stats().preemptions == 0
    engine.release(ref)


# -- one step --------------------------------------------------------------------------------------------


def test_prompts_never_hold_up_generation_and_the_budget_holds() -> None:
    log = Log()
    engine = FakeEngine(max_batch_tokens=16, hooks=[log])
    first = [engine.submit(request(f"{i}", 60)) for i in range(6)]
    while not all(h.state is State.RUNNING for h in first):
        engine.step()
    for handle in first:
        handle.new_tokens()
    for i in range(4):
        engine.submit(request(f"{i} a prompt " * 20, 5, priority=9))
    for _ in range(30):
        engine.step()
        assert [len(h.new_tokens()) for h in first] == [1] * 6
    rows = [e.rows for e in log.events if isinstance(e, StepEvent)]
    assert max(rows) == 16
    assert rows[-30:-10] == [16] * 20  # what generation leaves, prompts use


def test_a_new_request_joins_at_the_next_step_and_a_finished_one_leaves_at_once() -> None:
    engine = FakeEngine()
    a = engine.submit(request("a", 5))
    engine.step()
    b = engine.submit(request("b", 1))
    assert engine.step() == [b]
    assert len(a.new_tokens()) == 2
    assert engine.stats().used_blocks == 2  # both cached; only one is held
    assert engine._tree.locked_blocks == 1


def test_more_generate_than_the_budget_takes_and_all_get_their_turn() -> None:
    engine = FakeEngine(max_batch_tokens=2, patience=4)
    handles = [engine.submit(request(c, 50)) for c in "abcdef"]
    last: dict[int, int] = {}
    for step in range(1, 400):
        before = [h.state is State.RUNNING for h in handles]
        engine.step()
        engine.check()
        for i, handle in enumerate(handles):
            tokens = handle.new_tokens()
            assert tokens or not before[i] or handle.done, "one that generates has a row in every step"
            if tokens or handle.done or handle.state is State.WAITING:
                last[i] = step
            assert step - last.get(i, step - 1) < 4 + 2
    assert all(h.done for h in handles)
    assert engine.stats().preemptions == 0


def test_a_long_prompt_of_low_priority_is_computed_all_the_same() -> None:
    engine = FakeEngine(max_batch_tokens=8, max_running=4, patience=5)
    low = engine.submit(request("l" * 40, 3))
    engine.step()
    steps = 0
    while not low.done:
        engine.submit(request(f"{steps:08d} high", 1, priority=5))
        engine.step()
        steps += 1
        assert steps < 60


# -- preemption --------------------------------------------------------------------------------------------


def test_the_victim_has_the_least_to_recompute_and_priority_comes_first() -> None:
    for priority, victim in ((0, 1), (1, 2)):
        log = Log()
        engine = FakeEngine(kv_tokens=64, block_size=4, hooks=[log])
        teach(engine)
        handles = [
            engine.submit(vague("long prompt, costly one", 30, priority=0)),
            engine.submit(vague("short", 30, priority=priority)),
            engine.submit(vague("a bit longer", 30, priority=0)),
        ]
        while not engine.stats().preemptions:
            engine.step()
            engine.check()
        assert [h.state for h in handles].index(State.PREEMPTED) == victim
        finish(engine, handles)


def test_what_live_members_share_is_never_taken() -> None:
    engine = FakeEngine(kv_tokens=80, block_size=4)
    teach(engine)
    stem = "a shared stem of tokens "
    handles = [engine.submit(vague(stem + c, 30)) for c in "abcd"]
    engine.step()
    live = list(engine._jobs.values())
    shared = live[0].slots[: len(stem)].tolist()
    while not engine.stats().preemptions:
        engine.step()
    for _ in range(200):
        running = [j for j in engine._jobs.values() if j.cursor is not None]
        assert all(j.slots[: len(stem)].tolist() == shared for j in running)
        engine.step()
        engine.check()
    finish(engine, handles)
    # The stem was computed once; of the members only what they did not share.
    assert engine.stats().computed_tokens < 1 + len(stem) + 4 + 4 * 31 * MAX_PREEMPTIONS
    assert all(h.completion is not None and len(h.completion.tokens) == 30 for h in handles)


def test_preemption_of_one_request_is_bounded() -> None:
    engine = FakeEngine(kv_tokens=64, block_size=4, max_running=16)
    teach(engine)
    handles = [engine.submit(vague(f"{i:02d} prompt", 40, priority=i % 3)) for i in range(12)]
    finish(engine, handles)
    engine.check()
    assert engine.stats().preemptions > 0
    assert all(h.completion is not None and len(h.completion.tokens) == 40 for h in handles)
    counts = [h.completion.metrics.preemptions for h in handles if h.completion and h.completion.metrics]
    assert max(counts) <= MAX_PREEMPTIONS + 8


def test_a_request_that_can_never_fit_ends_and_the_others_go_on() -> None:
    engine = FakeEngine(kv_tokens=40, block_size=4)
    big, small = engine.submit(request("x" * 20, 40)), engine.submit(request("y", 5))
    finish(engine, [big, small])
    assert big.completion is not None
    assert "KV blocks are needed" in (big.completion.error or "")
    assert small.completion is not None
    assert small.completion.finish == "length"


def test_after_a_failed_step_each_is_tried_alone_once() -> None:
    class Flaky:
        def __init__(self, inner: object) -> None:
            self.inner, self.sizes, self.fail = inner, [], True  # type: ignore[var-annotated]

        def execute(self, plan):  # type: ignore[no-untyped-def]
            self.sizes.append(len(plan.wants))
            if self.fail and len(plan.wants) > 1:
                raise RuntimeError("too many")
            return self.inner.execute(plan)  # type: ignore[attr-defined]

    engine = FakeEngine()
    flaky = Flaky(engine._runner)
    engine._runner = flaky
    handles = [engine.submit(request(c, 6)) for c in "abc"]
    for _ in range(4):
        engine.step()
        engine.check()
    flaky.fail = False
    finish(engine, handles)
    assert flaky.sizes == [3, 1, 1, 1, *[3] * 5]
    assert all(h.completion is not None and h.completion.finish == "length" for h in handles)


def calls_per_step(context: int, requests: int = 64, steps: int = 32) -> float:
    """Calls of Python functions per step of requests that generate, with so many tokens each; whole blocks of steps."""
    engine = FakeEngine(reply=lambda p: "", max_batch_tokens=1 << 17, kv_tokens=1 << 18)
    for i in range(requests):
        engine.submit(Request((i, *[1] * context), Sampling(max_tokens=2000, ignore_eos=True)))
    for _ in range(3):
        engine.step()
    engine._runner = Idle()
    count = 0

    def called(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        for _ in range(steps):
            engine.step()
    finally:
        sys.setprofile(None)
    return count / steps


class Idle:
    """A runner that costs nothing."""

    def execute(self, plan: Plan) -> list[int]:
        return [7] * plan.rows


def test_what_a_step_costs_does_not_depend_on_the_context() -> None:
    short, long = calls_per_step(10), calls_per_step(2000)
    assert abs(long - short) <= 0.05 * short


def test_what_a_step_costs_hardly_depends_on_the_requests() -> None:
    assert calls_per_step(10, requests=64) - calls_per_step(10, requests=1) < 3 * 63
