"""Random use of an engine with a tiny pool: nothing leaks, everybody finishes."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lampc.backend.fake import FakeEngine, hash_word
from lampc.backend.request import Handle, Request, Sampling


def ids(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


class EngineMachine(RuleBasedStateMachine):
    """Random use of an engine with a tiny pool; nothing leaks, and everybody finishes."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.engine = FakeEngine(self.reply, kv_tokens=36, block_size=3, max_batch_tokens=11, max_running=4)
        self.handles: list[Handle] = []
        self.refs: list[Any] = []

    def reply(self, prompt: str) -> str:
        if self.failing and prompt.startswith("a"):
            raise RuntimeError("boom")
        return hash_word(prompt)

    @rule(
        text=st.text("ab", min_size=1, max_size=14),
        tokens=st.integers(1, 12),
        forced=st.text("ab", max_size=3),
        priority=st.integers(0, 2),
        logprobs=st.booleans(),
    )
    def submit(self, text: str, tokens: int, forced: str, priority: int, logprobs: bool) -> None:
        wanted = Request(
            ids(text), Sampling(max_tokens=tokens), forced=ids(forced), priority=priority, logprobs=logprobs
        )
        self.handles.append(self.engine.submit(wanted))

    @rule(text=st.text("ab", min_size=1, max_size=14), score=st.text("ab", min_size=1, max_size=5))
    def score(self, text: str, score: str) -> None:
        self.handles.append(self.engine.submit(Request(ids(text), score=ids(score))))

    @rule(count=st.integers(1, 5))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.engine.step()

    @precondition(lambda self: self.handles)
    @rule(which=st.integers(0, 99))
    def abort(self, which: int) -> None:
        self.engine.abort(self.handles[which % len(self.handles)])

    @rule(text=st.text("ab", min_size=1, max_size=8))
    def retain(self, text: str) -> None:
        if len(self.refs) < 2:
            self.refs.append(self.engine.retain(ids(text)))

    @precondition(lambda self: self.refs)
    @rule()
    def release(self) -> None:
        self.engine.release(self.refs.pop())

    @rule()
    def reset(self) -> None:
        self.engine.reset_cache()

    @rule(failing=st.booleans())
    def fail(self, failing: bool) -> None:
        self.failing = failing

    @invariant()
    def sound(self) -> None:
        self.engine.check()

    def teardown(self) -> None:
        while self.refs:
            self.engine.release(self.refs.pop())
        for _ in range(2000):
            if all(h.done for h in self.handles):
                break
            self.engine.step()
            self.engine.check()
        assert all(h.done for h in self.handles)
        for handle in self.handles:
            assert handle.completion is not None
            assert handle.completion.finish in ("stop", "length", "abort", "error")
        self.engine.reset_cache()
        self.engine.check()
        assert self.engine.stats().used_blocks == 0
        assert self.engine.stats().finished == len(self.handles)


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
