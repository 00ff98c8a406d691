"""Who goes first under each policy, and how often one that waits can be passed."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.fake import FakeEngine
from lampc.backend.load import load_engine
from lampc.backend.policies import POLICIES
from lampc.backend.request import Handle, Request, Sampling
from tests.backend.engines import Log, TimedEngine, ids, request


def order(engine: FakeEngine, requests: list[Request]) -> list[int]:
    """Which request is admitted when."""
    log = engine._hooks._hooks[0]
    assert isinstance(log, Log)
    handles = [engine.submit(r) for r in requests]
    engine.run()
    engine.check()
    return [handles.index(e.handle) for e in log.events if getattr(e, "kind", "") == "admitted"]  # type: ignore[union-attr]


def one_by_one(policy: str, **options: int) -> FakeEngine:
    return FakeEngine(policy=policy, max_running=1, hooks=[Log()], **options)


def test_priority_is_the_default_and_fcfs_among_equals() -> None:
    wanted = [request("x", 1, priority=p) for p in (0, 2, 1, 2, 0)]
    assert order(FakeEngine(max_running=1, hooks=[Log()]), wanted) == [1, 3, 2, 0, 4]
    assert order(one_by_one("priority"), [request("x", 1)] * 4) == [0, 1, 2, 3]


def test_fcfs_ignores_priorities() -> None:
    assert order(one_by_one("fcfs"), [request("x", 1, priority=p) for p in (0, 2, 1)]) == [0, 1, 2]


def test_deadline_runs_first_who_can_wait_the_least() -> None:
    log = Log()
    engine = TimedEngine(policy="deadline", max_running=1, hooks=[log])
    order(engine, [request("warm up", 3)])  # a step takes a second, it learns
    log.events.clear()
    wanted = [
        request("no deadline", 2),
        request("late", 2, deadline=engine.now + 90),
        request("soon", 2, deadline=engine.now + 60),
        request("late but long", 50, deadline=engine.now + 100),
        request("no deadline, but urgent", 2, priority=1),
    ]
    assert order(engine, wanted) == [3, 2, 1, 4, 0]


def test_deadline_meets_more_deadlines_than_arrival_does() -> None:
    rng = random.Random(5)
    plan = [(rng.randint(2, 12), rng.uniform(15, 90)) for _ in range(40)]
    met = {}
    for policy in ("fcfs", "deadline"):
        engine = TimedEngine(policy=policy, max_running=4)
        handles = [engine.submit(request(f"{i}", n, deadline=d)) for i, (n, d) in enumerate(plan)]
        engine.run()
        met[policy] = sum(h.completion is not None and h.completion.finish == "length" for h in handles)
    assert met["deadline"] > met["fcfs"] + 5, met


def test_prefix_goes_depth_first() -> None:
    texts = ["b one", "a one", "a two", "c", "b two", "a one more", "b one more"]
    found = order(one_by_one("prefix"), [request(t, 1) for t in texts])
    assert [texts[i] for i in found] == sorted(texts)


def test_prefix_sweeps_on_from_where_it_is() -> None:
    engine = one_by_one("prefix")
    log = engine._hooks._hooks[0]
    assert isinstance(log, Log)
    texts = {engine.submit(request(t, 2)).id: t for t in ("m1", "m3", "x")}
    engine.step()
    texts |= {engine.submit(request(t, 2)).id: t for t in ("a", "m2")}
    engine.run()
    admitted = [texts[e.handle.id] for e in log.events if getattr(e, "kind", "") == "admitted"]  # type: ignore[union-attr]
    assert admitted == ["m1", "m2", "m3", "x", "a"]


def test_warm_begins_long_paths_first_as_long_as_everything_fits() -> None:
    wanted = [request(t, 1, depth=d) for t, d in (("b", 1), ("c", 3), ("a", 1), ("b two", 3), ("d", 2))]
    assert order(one_by_one("warm"), wanted) == [3, 1, 4, 2, 0]
    with pytest.raises(ValueError, match=r"depth is 1\.5; give a whole number"):
        request("x", 1, depth=1.5)


def test_warm_goes_depth_first_once_blocks_have_run_short() -> None:
    engine = FakeEngine(policy="warm", max_running=1, kv_tokens=32, block_size=4, hooks=[Log()])
    order(engine, [request("q" * 20, 4), request("r" * 20, 4)])
    assert engine.stats().evicted_tokens
    log = engine._hooks._hooks[0]
    assert isinstance(log, Log)
    log.events.clear()
    wanted = [request(t, 1, depth=d) for t, d in (("c", 1), ("a", 1), ("b", 3), ("d", 9))]
    assert order(engine, wanted) == [3, 1, 2, 0]


def tree_job(seed: int) -> list[Request]:
    """Many prompts under few stems, in random order; the stems together are larger than the pool."""
    rng = random.Random(seed)
    stems = [tuple(rng.randrange(256) for _ in range(60)) for _ in range(12)]
    prompts = [(*stem, *(rng.randrange(256) for _ in range(4))) for stem in stems for _ in range(8)]
    rng.shuffle(prompts)
    return [Request(p, Sampling(max_tokens=4, ignore_eos=True)) for p in prompts]


def test_prefix_computes_each_token_once_where_other_orders_lose_the_cache() -> None:
    computed = {}
    wanted = tree_job(3)
    least = len({r.prompt[: i + 1] for r in wanted for i in range(len(r.prompt))})
    for policy in ("fcfs", "prefix"):
        engine = FakeEngine(policy=policy, kv_tokens=256, block_size=4, max_running=4)
        handles = [engine.submit(r) for r in wanted]
        engine.run()
        engine.check()
        assert all(h.completion is not None and h.completion.finish == "length" for h in handles)
        computed[policy] = engine.stats().computed_tokens
    assert computed["prefix"] == least
    assert computed["fcfs"] > 3 * least


def chains(policy: str, kv_tokens: int) -> int:
    """Tokens computed for chains of calls, each going on from what the one before it wrote; too many for the cache."""
    engine = FakeEngine(policy=policy, kv_tokens=kv_tokens, block_size=4, max_running=3)
    rng = random.Random(1)
    first = [tuple(rng.randrange(256) for _ in range(24)) for _ in range(10)]
    under_way = {engine.submit(Request(p, Sampling(max_tokens=6, ignore_eos=True))).id: (p, 1) for p in first}
    while under_way:
        for handle in engine.step():
            prompt, calls = under_way.pop(handle.id)
            assert handle.completion is not None
            longer = (*prompt, *handle.completion.tokens, calls)
            if calls < 5:
                made = engine.submit(Request(longer, Sampling(max_tokens=6, ignore_eos=True)))
                under_way[made.id] = longer, calls + 1
    engine.check()
    return engine.stats().computed_tokens


def test_warm_goes_on_with_what_is_still_cached() -> None:
    least = chains("fcfs", 4096)
    assert chains("warm", 4096) == least
    scarce = {policy: chains(policy, 280) for policy in ("fcfs", "prefix", "warm")}
    assert scarce["warm"] < 1.3 * least
    assert scarce["warm"] < min(scarce["fcfs"], scarce["prefix"])


@pytest.mark.parametrize("policy", ["prefix", "fcfs"])
def test_the_kv_of_a_finished_group_goes_before_what_others_wait_for(policy: str) -> None:
    engine = FakeEngine(policy=policy, kv_tokens=104, block_size=4, max_running=1)
    stem, old = ids("a stem of a group that ends "), ids("z cached long ago, and waited for ")
    engine.submit(Request(old, Sampling(max_tokens=1, ignore_eos=True)))
    engine.run()
    wanted = [(*stem, i) for i in range(3)] + [(*ids("b"), *range(40)), (*old, 1)]
    handles = [engine.submit(Request(p, Sampling(max_tokens=4, ignore_eos=True))) for p in wanted]
    engine.run()
    last = handles[-1].completion
    assert last is not None
    assert engine.stats().evicted_tokens > 0
    if policy == "prefix":
        assert last.cached_tokens == len(old)
    else:
        assert last.cached_tokens < len(old)  # it was the least recently used


def test_hints_of_a_plan_beat_the_least_recently_used() -> None:
    """A cycle through more prefixes than fit: LRU evicts each right before its use, Belady keeps what it can."""
    computed = {}
    for hints in (False, True):
        engine = FakeEngine(kv_tokens=64, block_size=4, max_running=1)
        for i in range(60):
            prompt = (i % 5, *range(15))
            hint = float(i + 5) if hints else None
            engine.submit(Request(prompt, Sampling(max_tokens=1, ignore_eos=True), next_use=hint))
            engine.run()
        computed[hints] = engine.stats().computed_tokens
    assert computed[False] == 60 * 16
    assert computed[True] < computed[False] * 0.6


def test_next_use_of_retained_prefixes() -> None:
    engine = FakeEngine(kv_tokens=36, block_size=4)
    now = [0.0]
    engine._clock = lambda: now[0]
    stems = [tuple([i] * 12) for i in range(4)]
    refs = [engine.retain(s, next_use=float(n), ttl=t) for s, n, t in zip(stems[:3], (3, 9, 1), (None, 5.0, None))]
    for stem in stems[:3]:
        engine.submit(Request(stem, Sampling(max_tokens=1, ignore_eos=True)))
    engine.run()
    engine.release(refs[0])
    engine.release(refs[2], next_use=math.inf)  # what is said last counts
    now[0] = 6.0
    engine.step()  # the second expires
    gone = []
    for blocks in (3, 6, 9):
        engine._tree.evict(blocks)
        gone.append([i for i, s in enumerate(stems[:3]) if not engine._tree.match(s)[1]])
    assert gone == [[2], [1, 2], [0, 1, 2]]
    with pytest.raises(ValueError, match="next_use is nan; give a number"):
        Request((1,), next_use=math.nan)


# -- starvation --------------------------------------------------------------------------------------------


class Passed(Log):
    """Counts how many later requests are admitted before one that waits for its first admission."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: dict[int, int] = {}
        self.worst = 0

    def on_event(self, event) -> None:  # type: ignore[no-untyped-def]
        kind = getattr(event, "kind", "")
        if kind == "submitted":
            self.waits[event.handle.id] = 0
        elif kind in ("admitted", "finished") and self.waits.pop(event.handle.id, None) is not None:
            for earlier in self.waits:
                if earlier < event.handle.id and kind == "admitted":
                    self.waits[earlier] += 1
                    self.worst = max(self.worst, self.waits[earlier])


@settings(max_examples=40, deadline=None)
@given(policy=st.sampled_from(list(POLICIES)), patience=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_nobody_is_passed_more_often_than_patience_says(policy: str, patience: int, seed: int) -> None:
    """An adversary: what comes later is always more urgent; some waiting ones are aborted."""
    rng = random.Random(seed)
    passed = Passed()
    engine = TimedEngine(
        policy=policy,
        patience=patience,
        max_running=rng.randint(1, 4),
        kv_tokens=120,
        block_size=4,
        max_batch_tokens=16,
        hooks=[passed],
    )
    handles: list[Handle] = []
    for i in range(120):
        urgent = {"priority": i // 3, "deadline": 50_000.0 - 100 * i}
        prompt = chr(120 - i // 2) + "x" * rng.randint(0, 20)
        handles.append(engine.submit(request(prompt, rng.randint(1, 6), **urgent)))
        if rng.random() < 0.1:
            engine.abort(rng.choice(handles))
        if rng.random() < 0.7:
            engine.step()
    engine.run()
    assert passed.worst <= patience
    assert all(h.done for h in handles)


@pytest.mark.parametrize("policy", ["priority", "deadline", "prefix"])
@pytest.mark.parametrize("patience", [1, 3, 10])
def test_the_bound_is_reached_and_then_holds(policy: str, patience: int) -> None:
    passed = Passed()
    engine = TimedEngine(policy=policy, patience=patience, max_running=1, hooks=[passed])
    for i in range(60):
        engine.submit(request(chr(120 - i), 2, priority=i, deadline=50_000.0 - 100 * i))
    engine.run()
    assert passed.worst == patience


def test_fcfs_is_never_passed() -> None:
    passed = Passed()
    engine = FakeEngine(policy="fcfs", kv_tokens=120, block_size=4, max_running=3, hooks=[passed])
    for i in range(40):
        engine.submit(request("x" * (i * 7 % 30 + 1), i % 5 + 1, priority=i))
    engine.run()
    assert passed.worst == 0


def test_names_of_policies_are_checked(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"policy is 'lifo'; choose one of priority, fcfs, deadline, prefix"):
        FakeEngine(policy="lifo")
    with pytest.raises(ValueError, match="patience is 0"):
        FakeEngine(patience=0)
    engine = load_engine(tiny, policy="prefix", patience=3)
    handle = engine.submit(request("abc", 3))
    engine.run()
    assert handle.completion is not None
    assert len(handle.completion.tokens) == 3
