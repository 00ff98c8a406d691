"""Random use of an engine whose requests keep grammars, watched by the model of the memory of `test_stateful`."""

from functools import cache
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from lampc.backend.fake import FakeEngine
from lampc.backend.grammar.texts import choice, json_schema
from lampc.backend.request import Completion, Handle, Request, Sampling
from tests.backend.engines import ids
from tests.backend.test_stateful import EngineMachine

GRAMMARS = (
    choice(["ab", "ba", "bab"]),
    json_schema({"type": "object", "properties": {"ab": {"type": "boolean"}}, "required": ["ab"]}),
    'start: "a long text that is certain, more than a few blocks"\n',
    'start: (/[a-z]/ /[a-z]{2}/ " and so on ")+\n',
)


class GrammarMachine(EngineMachine):
    forced = 0

    @rule(
        text=st.text("ab", min_size=1, max_size=14),
        tokens=st.integers(1, 20),
        grammar=st.sampled_from(GRAMMARS),
        priority=st.integers(0, 2),
        logprobs=st.sampled_from(["", "", "logprobs", "prompt_logprobs"]),
        forks=st.sampled_from([1, 1, 3]),
    )
    def constrained(self, text: str, tokens: int, grammar: str, priority: int, logprobs: str, forks: int) -> None:
        for _ in range(forks):
            sampling, told = Sampling(max_tokens=tokens), {logprobs: True} if logprobs else {}
            self.add(Request(ids(text), sampling, priority=priority, grammar=grammar, **told))  # type: ignore[arg-type]

    def compare(self, handle: Handle) -> None:
        done, request = handle.completion, handle.request
        if request.grammar is None:
            super().compare(handle)
            return
        assert done is not None
        right = alone(request)
        type(self).forced += done.forced_tokens
        if done.finish in ("stop", "length"):
            assert (done.tokens, done.text, done.finish) == (right.tokens, right.text, right.finish)
            assert done.forced_tokens == right.forced_tokens
            assert len(done.logprobs or done.tokens) == len(done.tokens)
        else:
            assert done.tokens == right.tokens[: len(done.tokens)]
        if done.finish == "error":
            assert "KV blocks are needed" in (done.error or "") or "device" in (done.error or "")

    def look(self, which: int) -> None:  # tokens that a grammar forced before all others are among those sent
        return None


@cache
def alone(request: Request) -> Completion:
    engine = FakeEngine()
    handle = engine.submit(request)
    engine.run()
    assert handle.completion is not None
    return handle.completion


def use(examples: int, steps: int) -> Any:
    GrammarMachine.forced = GrammarMachine.preemptions = GrammarMachine.steps = 0
    run_state_machine_as_test(
        GrammarMachine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


def test_random_use() -> None:
    use(20, 25)
    assert GrammarMachine.forced > 50


@pytest.mark.slow
def test_long_random_use() -> None:
    use(400, 50)
    print(f"{GrammarMachine.steps} steps, {GrammarMachine.preemptions} preemptions, {GrammarMachine.forced} forced")
    assert GrammarMachine.preemptions > 20
