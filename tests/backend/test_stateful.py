"""Random use of pool, tree and scheduler on tiny pools, watched by a model of the memory that knows none of them.

The model stands where a model's forward pass would: it sees only which slots a step writes and reads. In each slot
it notes the prefix whose K/V was written there; what a row reads must be its own prefix, token by token. A block
used twice, written while shared, or taken for written after a failed step shows as a wrong prefix. So does a copy from
or to host memory that was lost, made twice, or out of order.
"""

import contextlib
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lampc.backend.copies import Copies
from lampc.backend.fake import hash_word
from lampc.backend.host_tier import HostTier
from lampc.backend.plan import Plan
from lampc.backend.policies import POLICIES
from lampc.backend.request import Handle, PrefixRef, Request, Sampling, State
from lampc.backend.swap_rule import SwapRule
from tests.backend.engines import TimedEngine, ids, teach
from tests.backend.test_policies import Passed

SIZE, BLOCKS, BUDGET, RUNNING, PATIENCE = 3, 14, 11, 5, 4


class Memory:
    """What is in each slot: the prefix (its ids, and whose it is if nothing is shared) of the token it belongs to."""

    def __init__(self, inner: Any, shared: bool, budget: int) -> None:
        self.inner = inner
        self.shared = shared
        self.budget = budget
        self.slots: dict[int, Any] = {}
        self.host: dict[tuple[int, int], Any] = {}  # the same of host memory: block and place in it
        self.fail: BaseException | None = None
        self.late = False  # a failure shows when the step is waited for
        self.copied: int | None = None  # how many runs are copied before a step fails; None: all
        self.written: list[int] = []  # by the step launched last
        self.steps = self.drafts = 0
        self.idle: dict[int, int] = {}  # request -> steps since it had rows

    def execute(self, plan: Plan) -> Any:
        return self.launch(plan, None).drawn()

    def launch(self, plan: Plan, before: Any) -> Any:
        if before is not None:
            assert not any(want.job in before.tokens() for want in plan.wants if want.job.synchronous)
        rows = sum(c.end - c.start for c in plan.chunks)
        assert rows == plan.rows <= self.budget, f"{rows} rows with a budget of {self.budget}"
        fail, self.fail = self.fail, None
        if plan.copies is not None:
            self.copy(plan.copies, None if self.late else fail)
        flying = {} if before is None else before.tokens()
        wrote: list[int] = []
        for chunk in plan.chunks:
            for at in range(max(chunk.start, chunk.write_from), chunk.end):
                slot = int(chunk.job.slots[at])
                assert slot not in wrote, "two rows of a step write the same slot"
                wrote.append(slot)
                self.slots[slot] = self.prefix(chunk.job, at, flying, chunk.draft and (chunk.start, chunk.draft))
        if fail is not None and not self.late:
            self.spoil(wrote)
            raise fail
        self.written = wrote
        drawn = self.inner.execute(plan)
        for chunk in plan.chunks:
            self.read(chunk.job, chunk.end, flying, chunk.draft and (chunk.start, chunk.draft))
        self.drafts += len(plan.drafts)
        for want in plan.wants:
            self.read(want.job, want.start + len(want.rows), flying)
        self.steps += 1
        busy = {x.job.handle.id for part in (plan.chunks, plan.wants) for x in part}
        self.idle = {n: 0 if n in busy else count + 1 for n, count in self.idle.items()}
        return Waiting(self, plan, drawn, fail, wrote)

    def copy(self, copies: Copies, fail: BaseException | None) -> None:
        done = 0
        for batch in copies.drain():
            for run in reversed(batch):  # in a batch any order is right
                if fail is not None and done == self.copied:
                    raise fail
                done += 1
                for i in range(run.length):
                    slot, place = run.slot + i, (run.block, run.offset + i)
                    if run.inward:
                        self.slots[slot] = self.host[place]
                    else:
                        self.host[place] = self.slots[slot]

    def check_host(self, tier: HostTier) -> None:
        """Every block has the K/V that the tier says it has, once all copies are made."""
        stack = [((), piece) for piece in tier._root.children.values()]
        while stack:
            above, piece = stack.pop()
            ids = above + piece.ids
            for at in range(SIZE) if piece.block is not None else ():
                assert self.host[piece.block, at] == (ids[: len(above) + at + 1], None)
            stack += [(ids, child) for child in piece.children.values()]

    def spoil(self, slots: list[int]) -> None:
        """Steps that fail may have written anything."""
        self.slots.update(dict.fromkeys(slots))

    def prefix(self, job: Any, at: int, flying: dict[Any, int], draft: Any = None) -> Any:
        known = [*job.ids, *([flying[job]] if job in flying else [])]
        if draft:
            known[draft[0] :] = draft[1]
        assert at < len(known)
        return (tuple(known[: at + 1]), None if self.shared else job.handle.id)

    def read(self, job: Any, end: int, flying: dict[Any, int], draft: Any = None) -> None:
        for at in range(end):
            found = self.slots.get(int(job.slots[at]))
            expected = self.prefix(job, at, flying, draft)
            assert found == expected, f"request {job.handle.id} reads {found} at position {at}"


class Waiting:
    """A step of `Memory` that is in flight."""

    def __init__(self, memory: Memory, plan: Plan, results: Any, fail: BaseException | None, wrote: list[int]) -> None:
        self.memory, self.plan, self.results, self.fail, self.wrote = memory, plan, results, fail, wrote

    def tokens(self) -> dict[Any, int]:
        drawn = [one if isinstance(one, int) else one.token for one in self.results]
        return {want.job: token for want, token in zip(self.plan.wants, drawn, strict=True) if token is not None}

    def drawn(self) -> Any:
        if self.fail is not None:
            self.memory.spoil(self.wrote + self.memory.written)  # with the step launched after it
            raise self.fail
        return self.results


class EngineMachine(RuleBasedStateMachine):
    steps = 0
    preemptions = 0
    swapped = 0

    def __init__(self) -> None:
        super().__init__()
        self.handles: list[Handle] = []
        self.refs: list[PrefixRef] = []
        self.bad: set[int] = set()

    @initialize(
        policy=st.sampled_from(list(POLICIES)),
        cache=st.sampled_from([True, True, True, False]),
        chunk=st.sampled_from([None, 4]),
        taught=st.booleans(),
        budget=st.sampled_from([BUDGET, BUDGET, 3]),
        watched=st.booleans(),
        host=st.sampled_from([0, 0, 2, 5, 30]),
        ahead=st.booleans(),
        guessed=st.sampled_from([0, 1, 5]),
    )
    def load(
        self,
        policy: str,
        cache: bool,
        chunk: int | None,
        taught: bool,
        budget: int,
        watched: bool,
        host: int,
        ahead: bool,
        guessed: int,
    ) -> None:
        told = {"method": "ngram", "num_speculative_tokens": guessed, "prompt_lookup_min": 1, "adaptive": False}
        self.watched = watched
        self.passed = Passed()
        self.engine = TimedEngine(
            kv_tokens=SIZE * BLOCKS,
            block_size=SIZE,
            max_batch_tokens=budget,
            max_running=RUNNING,
            patience=PATIENCE,
            policy=policy,
            prefix_cache=cache,
            chunk=chunk,
            hooks=[self.passed],
            host=HostTier(host, SIZE, SwapRule(0.0)) if host and cache else None,
            async_scheduling=ahead and not guessed,
            speculative=told if guessed else None,
        )
        self.before = 0
        if taught:
            teach(self.engine)
            self.engine.reset_cache()
            self.before = 1
        self.memory = Memory(self.engine._runner, cache, budget)
        self.engine._runner = self.memory  # type: ignore[assignment]

    def check(self) -> None:
        """Looking at an engine brings its books up to date: not all should be looked at."""
        if self.watched:
            self.engine.check()

    def add(self, wanted: Request) -> None:
        self.handles.append(self.engine.submit(wanted))
        self.memory.idle[self.handles[-1].id] = 0

    @rule(
        text=st.text("ab", min_size=1, max_size=14),
        tokens=st.integers(1, 20),
        kind=st.sampled_from(["known", "vague", "text", "free"]),
        forced=st.text("ab", max_size=3),
        priority=st.integers(0, 2),
        logprobs=st.sampled_from(["", "logprobs", "prompt_logprobs"]),
        wait=st.sampled_from([None, None, 3, 30]),
        next_use=st.sampled_from([None, None, 1.0, 2.0, float("inf")]),
        spent=st.sampled_from([None, None, 0, 3, 9, 30]),
        forks=st.sampled_from([1, 1, 1, 3]),
        parent=st.booleans(),
    )
    def submit(
        self,
        text: str,
        tokens: int,
        kind: str,
        forced: str,
        priority: int,
        logprobs: str,
        wait: int | None,
        next_use: float | None,
        spent: int | None,
        forks: int,
        parent: bool,
    ) -> None:
        stop: dict[str, Any] = {
            "known": {"ignore_eos": True},
            "vague": {"ignore_eos": True, "stop_ids": (0,)},
            "text": {"ignore_eos": True, "stop": ("nowhere",)},
            "free": {},
        }[kind]
        for fork in range(forks):
            self.add(
                Request(
                    ids(text),
                    Sampling(max_tokens=tokens, **stop),
                    forced=ids(forced + "abc"[:fork]),
                    priority=priority,
                    deadline=None if wait is None else self.engine.now + wait,
                    next_use=next_use,
                    spent=spent,
                    parent=self.refs[0] if parent and self.refs else None,
                    **({logprobs: True} if logprobs else {}),  # type: ignore[arg-type]
                )
            )

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 99), text=st.text("ab", min_size=1, max_size=5), tokens=st.integers(1, 9))
    def go_on(self, which: int, text: str, tokens: int) -> None:
        """What was known of a request, and more: a conversation."""
        handle = self.handles[which % len(self.handles)]
        known = [token for token in (*handle.request.ids, *handle.request.forced, *handle.sent)[:24] if token < 256]
        self.add(Request((*known, *ids(text)), Sampling(max_tokens=tokens, ignore_eos=True)))

    @rule(text=st.text("ab", min_size=1, max_size=14), score=st.text("ab", min_size=1, max_size=5))
    def score(self, text: str, score: str) -> None:
        self.add(Request(ids(text), score=ids(score)))

    @rule(count=st.integers(1, 6))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.engine.step()
            self.check()

    @rule(copied=st.sampled_from([None, None, 0, 1, 2, 3]), late=st.booleans(), interrupt=st.booleans())
    def fail_once(self, copied: int | None, late: bool, interrupt: bool) -> None:
        """The device fails at a step, or somebody interrupts it; the requests are good."""
        jobs = [j for j in self.engine._jobs.values() if j.cursor is not None]
        self.memory.fail = KeyboardInterrupt() if interrupt else RuntimeError("device")
        self.memory.late, self.memory.copied = late, copied
        for _ in range(1 + late):
            with contextlib.suppress(KeyboardInterrupt):
                self.engine.step()
        self.memory.fail = None
        if len(jobs) > 1:
            self.check()

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 99))
    def abort(self, which: int) -> None:
        handle = self.handles[which % len(self.handles)]
        self.engine.abort(handle)
        assert handle.done

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 99))
    def look(self, which: int) -> None:
        """Whatever the books say, a handle shows all of its tokens."""
        handle = self.handles[which % len(self.handles)]
        job = self.engine._jobs.get(handle.id)
        if job is not None and not handle.request.score:
            sent = handle.sent
            self.engine._scheduler.lanes.tell()
            assert sent == handle.sent == job.ids[job.prompt_len + len(handle.request.forced) :][: len(sent)]

    @rule(text=st.text("ab", min_size=1, max_size=8), ttl=st.sampled_from([None, None, 4.0]), yields=st.booleans())
    def retain(self, text: str, ttl: float | None, yields: bool) -> None:
        if len(self.refs) < 2:
            ref = self.engine.retain(ids(text), ttl, next_use=3.0, yields=yields)
            if ttl is None or yields:  # one that yields may be released whenever it was let go
                self.refs.append(ref)

    @precondition(lambda self: self.refs)
    @rule(next_use=st.sampled_from([None, 1.0]), spent=st.sampled_from([None, 0, 2, 5]))
    def release(self, next_use: float | None, spent: int | None) -> None:
        self.engine.release(self.refs.pop(), next_use, spent)

    @rule()
    def reset(self) -> None:
        """With the cache empty, exactly the blocks of live requests are in use."""
        self.engine.reset_cache()
        if self.refs or self.engine._pins.timed:
            return
        jobs = [j for j in self.engine._jobs.values() if j.cursor is not None]
        blocks = {int(slot) // SIZE for j in jobs for slot in j.slots[: j.cursor.length]}  # type: ignore[union-attr]
        blocks |= {slot // SIZE for slot in self.engine._scheduler.lanes.claimed}
        assert self.engine.stats().used_blocks == len(blocks)

    @rule()
    def mislead(self) -> None:
        """Requests were short of late, so too many are let in, and some have to go."""
        for _ in range(256):
            self.engine._scheduler.lengths.add(1)

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self.engine.now += seconds

    @invariant()
    def sound(self) -> None:
        if not hasattr(self, "engine"):
            return
        type(self).steps += 1
        self.check()
        tier = self.engine._tree.host
        if tier is not None and not tier.copies:
            self.memory.check_host(tier)
        assert self.passed.worst <= PATIENCE
        states = {h.id: h.state for h in self.handles}
        for number, steps in list(self.memory.idle.items()):
            if states[number] not in (State.PREFILLING, State.RUNNING):
                self.memory.idle[number] = 0
            assert steps <= 12 * RUNNING, f"request {number} holds blocks and got no rows for {steps} steps"

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        while self.refs:
            self.engine.release(self.refs.pop())
        self.engine.now += 100.0  # whoever has a deadline is late, and prefixes held for a time are let go
        self.engine.step()
        for _ in range(4000):
            if self.engine.idle:
                break
            self.engine.step()
            self.check()
        for handle in self.handles:
            assert handle.completion is not None, "a request never ended"
            self.compare(handle)
        self.engine.reset_cache()
        self.engine.check()
        stats = self.engine.stats()
        assert stats.used_blocks == stats.host_used_blocks == 0
        assert stats.finished == len(self.handles) + self.before
        type(self).preemptions += stats.preemptions
        type(self).swapped += stats.swapped_in_tokens

    def compare(self, handle: Handle) -> None:
        """Whatever happened to a request on its way, its tokens are those it would have got alone."""
        done, request = handle.completion, handle.request
        assert done is not None
        word = hash_word(bytes(request.ids + request.forced).decode())
        eos = next(iter(self.engine.tokenizer.eos_ids))
        alone = (*request.forced, *ids(word), *[eos] * 20 * request.sampling.ignore_eos)[: request.sampling.max_tokens]
        if done.finish in ("stop", "length") and not request.score:
            assert done.tokens == alone
        else:
            assert done.tokens == alone[: len(done.tokens)]
        if done.finish == "error":
            assert "KV blocks are needed" in (done.error or "") or "device" in (done.error or "")
        if done.finish not in ("abort", "timeout", "error"):
            assert done.cached_tokens + done.computed_tokens >= done.prompt_tokens


def test_random_use() -> None:
    run_state_machine_as_test(EngineMachine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))


@pytest.mark.slow
def test_ten_thousand_random_steps() -> None:
    EngineMachine.steps = EngineMachine.preemptions = EngineMachine.swapped = 0
    run_state_machine_as_test(EngineMachine, settings=settings(max_examples=400, stateful_step_count=50, deadline=None))
    print(f"{EngineMachine.steps} random steps, {EngineMachine.preemptions} preemptions")
    print(f"{EngineMachine.swapped} tokens came back from host memory")
    assert EngineMachine.steps >= 10_000
    assert EngineMachine.preemptions > 20
    assert EngineMachine.swapped > 100


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_long_life(seed: int, ahead: bool) -> None:
    """One engine for long, rather than many for short: states that only many requests lead to."""
    rng = random.Random(seed)
    machine = EngineMachine()
    budget = rng.choice([BUDGET, 3])
    machine.load(
        rng.choice(list(POLICIES)),
        cache=True,
        chunk=rng.choice([None, 4]),
        taught=True,
        budget=budget,
        watched=seed == 0,
        host=20,
        ahead=ahead,
        guessed=0 if ahead else rng.choice([2, 5]),
    )
    for _ in range(300):
        move = rng.random()
        text = "".join(rng.choice("ab") for _ in range(rng.randint(1, 14)))
        if move < 0.2 and machine.handles:
            machine.go_on(rng.randrange(1000), text[:5], rng.randint(1, 9))
        elif move < 0.35:
            forks, wait = rng.choice([1, 1, 3]), rng.choice([None, None, 30])
            kind, spent = rng.choice(["known", "vague", "text", "free"]), rng.choice([None, None, 0, 5, 20])
            machine.submit(text, rng.randint(1, 20), kind, "", rng.randint(0, 2), "", wait, None, spent, forks, False)
        elif move < 0.85:
            machine.step(rng.randint(1, 4))
        elif move < 0.9 and machine.handles:
            machine.abort(rng.randrange(1000))
        elif move < 0.93:
            machine.retain(text[:8], rng.choice([None, 4.0]), rng.random() < 0.5)
        elif move < 0.96 and machine.refs:
            machine.release(None, rng.choice([None, 0, 3]))
        elif move < 0.98:
            machine.fail_once(rng.choice([None, 0, 1, 2]), rng.random() < 0.5, rng.random() < 0.3)
            machine.mislead()
        else:
            machine.reset()
        machine.sound()
    assert machine.engine.stats().swapped_in_tokens > 20
    machine.teardown()
