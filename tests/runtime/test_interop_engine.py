"""`dspy.LM(engine=lampc.DspyEngine(...))`: untouched DSPy programs on our models, their calls fused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import lampc
from lampc.runtime.cache import CallCache
from lampc.runtime.interop.engine import DspyEngine
from lampc.runtime.session import Session
from tests.runtime.loopback import Loopback, Reply, failure

dspy = pytest.importorskip("dspy")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def firefly() -> Iterator[DspyEngine]:
    engine = DspyEngine("firefly", window=0.02)
    yield engine
    engine.close()


@pytest.fixture
def engine(firefly: DspyEngine) -> DspyEngine:
    firefly.session.desk.batches.clear()
    assert firefly.session.desk.books.cache is not None
    firefly.session.desk.books.cache.clear()
    firefly._seen.clear()
    return firefly


def lm_of(engine: DspyEngine, **options: Any) -> Any:
    return dspy.LM("firefly", engine=engine, async_engine=engine.asynchronous, cache=False, max_tokens=24, **options)


class Hops(dspy.Module):  # type: ignore[misc]
    """Two calls, the second over what the first gave; what the small model cannot say is caught."""

    def __init__(self) -> None:
        super().__init__()
        self.lm_calls = 2

    def forward(self, word: str) -> Any:
        first = dspy.settings.lm(f"{word} is")[0]
        second = dspy.settings.lm(f"{word} {first} so")[0]
        return dspy.Prediction(first=first, second=second)


WORDS = [f"the {c}{i}" for i, c in enumerate("abcdefghijklmnopqrstuvwx")]


def test_an_untouched_program_on_threads_is_fused_and_answers_as_one_by_one(engine: DspyEngine) -> None:
    program, examples = Hops(), [dspy.Example(word=w).with_inputs("word") for w in WORDS]
    with dspy.context(lm=lm_of(engine, temperature=1.0)):
        alone = [program(**e.inputs()).toDict() for e in examples]
        assert engine.batches == {1: 48}
        engine.session.desk.batches.clear()
        assert engine.session.desk.books.cache is not None
        engine.session.desk.books.cache.clear()
        engine._seen.clear()
        together = [p.toDict() for p in program.batch(examples, num_threads=24, disable_progress_bar=True)]
    assert together == alone
    assert len({p["first"] for p in alone}) > 4, "the answers tell something"
    largest = max(engine.batches)
    assert largest >= 6, f"batches: {engine.batches}"
    assert sum(n * k for n, k in engine.batches.items()) == 48


def test_predictors_on_threads(engine: DspyEngine) -> None:
    """Whatever DSPy makes of the model's text, prompt by prompt it is the same text."""
    lm = lm_of(engine)

    def ask(word: str) -> str:
        with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
            try:
                dspy.Predict("text -> tone")(text=word)
            except Exception as e:
                return str(e)
            return "answered"

    alone = [ask(w) for w in WORDS]
    engine.session.desk.batches.clear()
    assert engine.session.desk.books.cache is not None
    engine.session.desk.books.cache.clear()
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, WORDS)) == alone
    assert max(engine.batches) >= 4


def test_asynchronous_calls(engine: DspyEngine) -> None:
    lm = lm_of(engine)

    async def many() -> list[str]:
        return [r[0] for r in await asyncio.gather(*(lm.acall(f"{w} is") for w in WORDS))]

    found = asyncio.run(many())
    assert max(engine.batches) >= 6
    assert found == [lm(f"{w} is")[0] for w in WORDS]


def test_draws_depend_on_what_is_asked_and_how_often(engine: DspyEngine) -> None:
    lm = lm_of(engine, temperature=1.0)
    first = [lm("say a word")[0] for _ in range(4)]
    engine._seen.clear()
    assert [lm("say a word")[0] for _ in range(4)] == first
    assert len(set(first)) > 1


def test_usage_and_finish(engine: DspyEngine) -> None:
    lm = lm_of(engine)
    lm("hello")
    usage = lm.history[-1]["usage"]
    assert usage["prompt_tokens"] > 0
    assert 0 < usage["completion_tokens"] <= 24


def test_errors_are_dspys(engine: DspyEngine) -> None:
    with pytest.raises(dspy.ContextWindowExceededError):
        lm_of(engine)("word " * 20000)


def test_streams(engine: DspyEngine) -> None:
    request = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("hello"),))
    whole = engine.complete(request).message.text
    events = list(engine.stream(request))
    assert [e.type for e in events] == ["start", "delta", "end"]
    assert events[1].delta.text == whole


def test_an_engine_is_saved_with_its_program(engine: DspyEngine, tmp_path: Any) -> None:
    again = DspyEngine.load_state(engine.dump_state())
    assert again.lm.model == "firefly"
    program = dspy.Predict("a -> b")
    program.set_lm(dspy.LM("firefly", engine=engine))
    program.save(str(tmp_path / "p.json"))
    assert "DspyEngine" in (tmp_path / "p.json").read_text()


def test_over_an_endpoint_with_tools_media_and_errors() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    replies = [
        Reply(200, {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}),
        None,
        failure(401, "no key"),
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "see"}, picture]}]
    with Loopback(lambda m: "fine", script=replies) as server, Session(cache=CallCache()) as session:
        engine = DspyEngine(lampc.LM("m", api_base=server.url, num_retries=0), session=session)
        lm = dspy.LM("openai/m", engine=engine, cache=False, num_retries=0)
        (first,) = lm("add", tools=tools)
        assert first["tool_calls"][0]["function"]["name"] == "add"
        assert lm(messages=messages) == ["fine"]
        with pytest.raises(dspy.LMAuthError):
            lm("x")
    assert server.requests[0]["tools"][0]["function"]["name"] == "add"
    assert server.requests[1]["messages"][0]["content"][1]["type"] == "image_url"
