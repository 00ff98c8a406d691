"""`LM`, `configure`, `context`: which model answers, with which options, and what is remembered of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

import lampc
from lampc.ir import Draw, Key, Sampling
from lampc.ir.settings import settings
from lampc.runtime.configure import as_lm, default_runner
from lampc.runtime.models import ModelError
from lampc.runtime.routes import LITELLM, OPENAI_URL, route
from lampc.runtime.scripted import DummyLM
from tests.runtime.loopback import Loopback, events, failure

END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "LAMPC_API_KEY", "LAMPC_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    settings.reset()
    yield
    settings.reset()
    default_runner().close()
    lampc.configure(seed=0, cache=None)


def qa() -> Any:
    return lampc.Predict("question -> answer", layout="compact")


def says(text: str) -> Any:
    return lambda messages: f"answer: {text}"


# -- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "base", "expected"),
    [
        ("firefly", None, ("", "firefly")),
        ("tests", None, ("", "tests")),
        ("./some/folder", None, ("", "./some/folder")),
        ("http://127.0.0.1:1/v1", None, ("http://127.0.0.1:1/v1", "")),
        ("openai/gpt-x", None, (OPENAI_URL, "gpt-x")),
        ("openai/gpt-x", "http://h/v1", ("http://h/v1", "gpt-x")),
        ("hosted_vllm/meta/llama", "http://h/v1", ("http://h/v1", "meta/llama")),
        ("meta/llama", "http://h/v1", ("http://h/v1", "meta/llama")),
        ("anthropic/c", None, (LITELLM, "anthropic/c")),
    ],
)
def test_where_a_model_is(model: str, base: str | None, expected: tuple[str, str]) -> None:
    assert route(model, base) == expected


def test_forms_of_a_model() -> None:
    assert as_lm("firefly").model == "firefly"
    lm = lampc.LM("x")
    assert as_lm(lm) is lm
    assert as_lm(says("a")).model == "lambda"
    with pytest.raises(TypeError, match="a model is a name, an LM, an engine or a function of messages, not int"):
        as_lm(3)


def test_wrong_arguments() -> None:
    for arguments, said in [
        ({"model": ""}, "non-empty"),
        ({"model": "x", "num_retries": -1}, "num_retries"),
        ({"model": "x", "model_type": "song"}, "model_type is chat"),
        ({"model": "x", "engine": "steam"}, "engine is auto"),
    ]:
        with pytest.raises(ValueError, match=said):
            lampc.LM(**arguments)


def test_an_option_that_the_bundled_model_does_not_have() -> None:
    lampc.configure(lm=lampc.LM("firefly", reasoning_effort="high"))
    with pytest.raises(ModelError, match="runs on this machine and has no option 'reasoning_effort'"):
        qa()(question="x")


# -- options ----------------------------------------------------------------------------------------------


def test_an_lm_s_options_stand_in_for_what_calls_do_not_say() -> None:
    with Loopback(lambda m: "answer: yes") as server:
        lampc.configure(
            lm=lampc.LM(
                "openai/m", api_base=server.url, api_key="k", temperature=0.9, max_tokens=77, user="u", stop="#"
            )
        )
        qa()(question="a")
        qa()(question="b", config={"temperature": 0.0, "max_tokens": 9})
        lampc.configure(lm=lampc.LM("m", base_url=server.url))
        qa()(question="c")
    first, second, third = server.requests
    assert (first["temperature"], first["max_tokens"], first["stop"], first["user"]) == (0.9, 77, ["#"], "u")
    assert (second["temperature"], second["max_tokens"]) == (0.0, 9), "what a call says counts, also if it is usual"
    assert first["model"] == third["model"] == "m"
    assert "max_tokens" not in third
    assert server.headers[0]["authorization"] == "Bearer k"


def test_json_answers_may_be_asked_for_by_schema() -> None:
    with Loopback(lambda m: '{"answer": "x", "n": 3}') as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url, structured_outputs=True))
        asking = lampc.Predict("question -> answer, n: int", layout="json")
        assert asking(question="x").n == 3
        assert asking.batch([{"question": "y"}])[0].n == 3
        lampc.configure(lm=lampc.LM("m", api_base=server.url))
        asking(question="z")
        lampc.settings.lm("bare")
    first, second, third, bare = server.requests
    assert first["response_format"] == second["response_format"]
    assert first["response_format"]["json_schema"]["schema"]["properties"]["n"] == {"type": "integer"}
    assert "response_format" not in third
    assert "response_format" not in bare


def test_calling_a_model_itself() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}]
    with Loopback(lambda m: str(m[-1]["content"]).upper()) as server:
        lm = lampc.LM("m", api_base=server.url)
        assert lm("hi") == ["HI"]
        assert lm(
            messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}], cache=False
        )
        assert len(lm("yo", n=3, temperature=1.0)) == 3
        assert asyncio.run(lm.acall("async")) == ["ASYNC"]
        with pytest.raises(TypeError, match="a prompt or messages"):
            lm()
    assert [r["messages"][0]["content"] for r in server.requests[2:5]] == ["yo"] * 3
    assert len({r["seed"] for r in server.requests[2:5]}) == 3
    assert server.requests[1]["messages"] == parts


def test_streaming() -> None:
    with Loopback(lambda m: "whole", script=[events("a", "b", END)]) as server:
        lm = lampc.LM("m", api_base=server.url)
        assert list(lm.stream("x")) == ["a", "b"]
    assert list(lampc.LM("f", engine=lambda m: "whole").stream("x")) == ["whole"]


def test_errors_of_an_endpoint_can_be_caught_by_name() -> None:
    replies = [failure(400, "maximum context length is 5", "context_length_exceeded"), failure(401)]
    with Loopback(lambda m: "x", script=replies) as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url, num_retries=0))
        with pytest.raises(lampc.ContextWindowExceededError):
            qa()(question="x")
        with pytest.raises(lampc.LMAuthError):
            lampc.settings.lm("x")


def test_a_prompt_that_is_too_long_for_the_bundled_model() -> None:
    with pytest.raises(lampc.ContextWindowExceededError):
        lampc.LM("firefly")("word " * 20000)


def test_models_in_python() -> None:
    class Echo(lampc.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return {
                "choices": [{"message": {"content": f"answer: {kwargs['temperature']} {kwargs['seed']}"}}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 2},
            }

    lm = Echo("echo", temperature=0.25, seed=7)
    lampc.configure(lm=lm)
    with lampc.track_usage() as used:
        assert qa()(question="x").answer == "0.25 7"
    assert used.get_total_tokens()["echo"]["total_tokens"] == 5
    lampc.configure(lm=lambda messages: "answer: " + messages[-1]["role"])
    assert qa()(question="x").answer == "user"

    def broken(messages: Any) -> Any:
        raise lampc.LMRateLimitError("slowly")

    lampc.configure(lm=broken)
    with pytest.raises(lampc.LMRateLimitError, match="slowly"):
        qa()(question="x")


def test_each_predictor_may_have_its_own() -> None:
    lampc.configure(lm=says("one"))
    two = lampc.LM("two", engine=says("two"))
    a, b = qa(), qa()
    b.lm = two
    assert (a(question="x").answer, b(question="x").answer, a(question="x", lm=two).answer) == ("one", "two", "two")
    assert len(two.history) == 2


def test_the_session_is_one_and_shares_what_it_knows() -> None:
    calls = []

    def once(messages: Any) -> str:
        calls.append(1)
        return "answer: x"

    lm = lampc.LM("once", engine=once)
    lampc.configure(lm=lm)
    root = default_runner().root
    qa()(question="x")
    with lampc.context(lm=says("other")):
        assert default_runner().root is root
        with lampc.context(lm=lm):
            assert qa()(question="x").answer == "x"
    assert calls == [1]


# -- what is remembered -----------------------------------------------------------------------------------


def test_history_is_kept_and_bounded() -> None:
    lampc.configure(lm=lampc.LM("h", engine=says("yes"), price=(1.0, 2.0)), max_history_size=3)
    lm = lampc.LM("h", engine=says("yes"), temperature=0.5)
    lampc.configure(lm=lm)
    for i in range(5):
        qa()(question=f"q{i}")
    assert len(lm.history) == 3
    entry = lm.history[-1]
    assert "q4" in entry["messages"][-1]["content"]
    assert (entry["outputs"], entry["model"], entry["kwargs"]) == (["answer: yes"], "h", {})
    assert entry["response"].choices[0].message.content == "answer: yes"
    out = io.StringIO()
    lm.inspect_history(n=2, file=out)
    assert "q3" in out.getvalue()
    assert "q2" not in out.getvalue()
    with lampc.context(disable_history=True):
        qa()(question="silent")
    assert "silent" not in lm.history[-1]["messages"][-1]["content"]


def test_cost_by_the_price_that_is_given() -> None:
    with Loopback(lambda m: "two words") as server:
        lm = lampc.LM("m", api_base=server.url, price=(1_000_000, 2_000_000))
        lm("three little words")
        lm("three little words")
    first, again = lm.history
    assert (first["usage"]["prompt_tokens"], first["cost"]) == (3, 3 + 2 * 2)
    assert (again["usage"], again["cost"]) == ({}, 0.0), "what is known costs nothing"


def test_usage_of_a_block_and_of_the_blocks_in_it() -> None:
    with Loopback(lambda m: "answer: two words") as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url))
        with lampc.track_usage() as outer:
            qa()(question="a")
            with lampc.track_usage() as inner:
                qa()(question="b")
            qa()(question="b")
    assert inner.get_total_tokens()["m"]["completion_tokens"] == 3
    assert outer.get_total_tokens()["m"]["completion_tokens"] == 6, "a call that was answered before uses nothing"


def test_a_prediction_tells_what_it_used() -> None:
    with Loopback(lambda m: "answer: two words") as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url), track_usage=True)
        used = lampc.ChainOfThought("question -> answer", layout="compact")
        used.predict.signature = used.predict.signature.delete("reasoning")
        assert used(question="a").get_lm_usage()["m"]["completion_tokens"] == 3
        assert used(question="a").get_lm_usage() == {}, "known already"
    lampc.configure(track_usage=False)
    assert qa()(question="x", lm=lampc.LM("f", engine=says("x"))).get_lm_usage() is None


def test_callbacks_hear_of_calls() -> None:
    heard: list[Any] = []

    class Listen:
        def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            heard.append((call_id, instance.model, inputs["messages"][-1]["role"]))

        def on_lm_end(self, call_id: str, outputs: Any, exception: Any) -> None:
            heard.append((call_id, outputs, exception))

    lm = lampc.LM("l", engine=says("yes"), callbacks=[Listen()])
    lampc.configure(lm=lm)
    qa()(question="x")
    (first, model, role), (second, outputs, exception) = heard
    assert (first, model, role, outputs, exception) == (second, "l", "user", ["answer: yes"], None)


def test_state_of_an_lm_holds_no_key() -> None:
    lm = lampc.LM("openai/m", temperature=0.3, api_key="secret", api_base="http://evil", price=(1, 2))
    state = lm.dump_state()
    assert "secret" not in str(state)
    assert state["temperature"] == 0.3
    assert lampc.LM.load_state(state).kwargs.get("api_base") is None
    assert lampc.LM.load_state(state, allow_unsafe_lm_state=True).kwargs["api_base"] == "http://evil"
    assert lm.copy(temperature=0.9, rollout_id=3).kwargs["temperature"] == 0.9
    assert lm.kwargs["temperature"] == 0.3


# -- settings ---------------------------------------------------------------------------------------------


def test_threads_see_the_block_they_were_started_in() -> None:
    lampc.configure(lm=says("global"))
    seen: dict[str, str] = {}

    def note(name: str) -> None:
        seen[name] = qa()(question="x").answer

    def run(name: str) -> threading.Thread:
        t = threading.Thread(target=note, args=(name,))
        t.start()
        return t

    with lampc.context(lm=says("block")):
        inside = run("inside")
        with lampc.context(lm=says("inner")):
            inner = run("inner")
        inside.join()
        inner.join()
    run("outside").join()
    assert seen == {"inside": "block", "inner": "inner", "outside": "global"}


def test_configure_inside_of_a_block_and_from_another_thread() -> None:
    with lampc.context(lm=says("block")):
        lampc.configure(num_threads=3)
        assert settings.num_threads == 3
        t = threading.Thread(target=lambda: lampc.configure(num_threads=4))
        t.start()
        t.join()
        assert settings.num_threads == 4
    assert settings.lm is None
    with pytest.raises(AttributeError, match="there is no setting `frobs`"):
        settings.frobs  # noqa: B018
    assert settings.get("frobs", 1) == 1
    assert "frobs" not in settings


def test_tasks_keep_their_own() -> None:
    lampc.configure(lm=says("global"))

    async def one(name: str) -> str:
        with lampc.context(lm=says(name)):
            await asyncio.sleep(0.01)
            found = await qa().acall(question="x")
            return str(found.answer)

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(f"t{i}") for i in range(8)))

    assert asyncio.run(all_of_them()) == [f"t{i}" for i in range(8)]


def test_a_context_inside_of_a_program() -> None:
    strong = lampc.LM("strong", engine=says("strong"))

    class Two(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = qa(), qa()

        def forward(self, question: str) -> Any:
            first = self.a(question=question)
            with lampc.context(lm=strong):
                second = self.b(question=question)
            return lampc.Prediction(answer=first.answer + " " + second.answer)

    lampc.configure(lm=says("weak"))
    assert Two()(question="x").answer == "weak strong"
    assert [p.answer for p in Two().batch([{"question": "x"}, {"question": "y"}])] == ["weak strong"] * 2


def test_a_copied_context_outlives_its_block_without_it() -> None:
    with lampc.context(num_threads=77):
        kept = contextvars.copy_context()
    assert kept.run(lambda: settings.num_threads) == 8


def test_settings_as_a_file(tmp_path: Any) -> None:
    from lampc.runtime.configure import save_settings

    lampc.configure(lm=lampc.LM("openai/m", temperature=0.5, api_key="secret"), num_threads=5)
    save_settings(str(tmp_path / "s.json"))
    assert "secret" not in (tmp_path / "s.json").read_text()
    found = lampc.load_settings(str(tmp_path / "s.json"))
    assert (found["lm"].kwargs["temperature"], found["num_threads"]) == (0.5, 5)


def test_threads_are_answered_together() -> None:
    with Loopback(lambda m: "answer: x", seconds=0.25) as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url))
        done: list[str] = []
        threads = [threading.Thread(target=lambda i=i: done.append(qa()(question=f"q{i}").answer)) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
    assert done == ["x"] * 12
    assert server.peak > 4


def test_many_asynchronous_calls_are_under_way_at_once() -> None:
    async def many(lm: Any, texts: list[str]) -> list[str]:
        return [r[0] for r in await asyncio.gather(*(lm.acall(t) for t in texts))]

    texts = [f"t{i}" for i in range(24)]
    with Loopback(lambda m: str(m[-1]["content"]).upper(), seconds=0.2) as server:
        assert asyncio.run(many(lampc.LM("m", api_base=server.url), texts)) == [t.upper() for t in texts]
        assert server.peak > 8
    lm = lampc.LM("f", engine=lambda messages: messages[-1]["content"] + "!")
    assert asyncio.run(many(lm, texts)) == [t + "!" for t in texts]
    assert asyncio.run(many(lm, texts)) == [t + "!" for t in texts], "known by now"
    broken = lampc.LM("b", engine=lambda messages: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(broken.acall("x"))


# -- litellm ----------------------------------------------------------------------------------------------


def test_without_litellm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "litellm", None)
    with pytest.raises(lampc.LMNotConfiguredError, match=r"pip install 'lampc\[litellm\]'"):
        lampc.LM("anthropic/some")("x")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_through_litellm() -> None:
    pytest.importorskip("litellm")
    with Loopback(lambda m: "answer: yes", script=[failure(429, "slow"), None]) as server:
        lm = lampc.LM("openai/m", engine="litellm", api_base=server.url, api_key="k", num_retries=1)
        lampc.configure(lm=lm)
        assert qa()(question="x").answer == "yes"
        server.script.append(failure(401, "no"))
        with pytest.raises(lampc.LMAuthError):
            lm("x", cache=False, num_retries=0)


# -- models whose code asks models ------------------------------------------------------------------------


class Kind(lampc.BaseLM):
    """Says that it was asked, and how long the question was."""

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        return f"answer: {messages[-1]['content'].count('z')}"


class Asks(lampc.BaseLM):
    """Asks another model, in one of the ways that there are."""

    def __init__(self, inner: Any, way: str, cache: bool = False) -> None:
        super().__init__("asks", cache=cache)
        self.inner, self.way = inner, way
        self.lock = threading.Lock()

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        with self.lock if self.way == "locked" else contextlib.nullcontext():
            if self.way == "predict":
                return "answer: " + qa()(question="z", lm=self.inner).answer
            if self.way == "acall":
                return asyncio.run(self.inner.acall(messages=messages))[0]
            if self.way == "predict.acall":
                return "answer: " + asyncio.run(qa().acall(question="z", lm=self.inner)).answer
            if self.way == "threads":
                with ThreadPoolExecutor(4) as pool:
                    found = list(pool.map(lambda m: self.inner(messages=m)[0], [messages] * 4))
                return found[0]
            return self.inner(messages=messages)[0]


def within(seconds: float, work: Any) -> Any:
    """What `work` gives, on a thread that is not waited for any longer."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as e:
            found.append(e)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "nobody waits for ever"
    return found[0]


@pytest.mark.parametrize("way", ["call", "locked", "predict", "acall", "predict.acall", "threads"])
@pytest.mark.parametrize("cache", [True, False])
def test_code_of_a_model_may_ask_another(way: str, cache: bool) -> None:
    lampc.configure(lm=Asks(Asks(Kind("kind", cache=cache), "call", cache), way, cache))
    asking = qa()

    async def tasks() -> list[Any]:
        return await asyncio.gather(*(asking.acall(question=f"z {i}") for i in range(5)))

    assert within(20, lambda: asking(question="z").answer) == "1"
    assert within(20, lambda: [p.answer for p in asking.batch([{"question": f"z{i}"} for i in range(5)])]) == ["1"] * 5
    assert within(20, lambda: [p.answer for p in asyncio.run(tasks())]) == ["1"] * 5


def test_code_of_a_model_may_ask_the_bundled_one_and_itself() -> None:
    firefly = lampc.LM("firefly", max_tokens=3)
    alone = firefly("z")
    assert within(30, lambda: lampc.LM("f", engine=lambda m: firefly("z")[0])("x")) == alone

    class Again(lampc.BaseLM):
        depth = 0

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            self.depth += 1
            return self(prompt, messages)[0] if self.depth < 5 else "deep"

    assert within(20, lambda: Again("again", cache=True)("x")) == ["deep"]


def test_of_a_model_that_has_aforward_alone_that_is_run() -> None:
    class Slow(lampc.BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            await asyncio.sleep(0.001)
            return (await Kind("kind").acall(messages=messages or [{"role": "user", "content": prompt}]))[0]

    lampc.configure(lm=Slow("slow"))

    async def task() -> Any:
        return (await qa().acall(question="z")).answer, qa()(question="zz").answer, await Slow("s").acall("zzz")

    assert within(20, lambda: asyncio.run(task())) == ("1", "2", ["answer: 3"])
    assert within(20, lambda: qa()(question="zz").answer) == "2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DSPy's, of what is asked for
def test_code_of_a_model_is_asked_as_in_dspy() -> None:
    """With a prompt as a prompt, for several draws once; callbacks and history say what was asked for."""

    def program(d: Any, made: Any) -> Any:
        asked: list[Any] = []

        class Mine(d.BaseLM):  # type: ignore[misc]
            def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
                asked.append((prompt, messages and len(messages), kwargs))
                texts = [f"[[ ## answer ## ]]\n{i}" for i in range(kwargs.get("n", 1))]
                return SimpleNamespace(
                    choices=[SimpleNamespace(message=SimpleNamespace(content=t, tool_calls=None)) for t in texts],
                    usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, model="mine",
                )  # fmt: skip

        class Hears(made):  # type: ignore[misc]
            def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
                asked.append((inputs["prompt"], inputs["messages"] is None, inputs["kwargs"]))

        lm = Mine("mine", callbacks=[Hears()])
        with d.context(lm=lm):
            answers = d.Predict("q -> answer", n=3)(q="1").completions.answer
            texts = [lm("hello"), lm(messages=[{"role": "user", "content": "x"}], temperature=0.5), lm("again", n=2)]
        alone = [e for e in lm.history if len(e["outputs"]) == 1 and e["kwargs"].get("temperature") != 0.7]
        kept = [(e["prompt"], e["messages"] is None, e["kwargs"]) for e in alone][:2]
        return answers, texts, kept, [a for a in asked if type(a[1]) is not bool], asked

    theirs, ours = program(dspy, dspy.utils.BaseCallback), program(lampc, lampc.utils.BaseCallback)
    assert ours[:4] == theirs[:4]
    assert ("hello", True, {}) in ours[4]
    assert ("hello", True, {}) in theirs[4]


def test_a_model_that_gives_fewer_answers_than_asked_for_is_asked_again() -> None:
    asked: list[Any] = []

    class One(lampc.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            asked.append(kwargs.get("n"))
            return f"answer: {len(asked)}"

    lampc.configure(lm=One("one"))
    assert lampc.Predict("question -> answer", layout="compact", n=3)(question="x").completions.answer == [
        "1",
        "2",
        "3",
    ]
    assert asked == [3, 2, None]


def test_answers_of_the_user_s_code_are_kept_only_if_that_is_said() -> None:
    class Counts(lampc.BaseLM):
        n = 0

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            self.n += 1
            return f"answer: {self.n}"

    def three(lm: Any) -> list[str]:
        return [qa()(question="same", lm=lm).answer for _ in range(3)]

    lampc.configure(lm=says("other"))
    assert three(Counts("c")) == ["1", "2", "3"]
    assert three(Counts("c", cache=False)) == ["1", "2", "3"]
    assert three(Counts("c", cache=True)) == ["1", "1", "1"]
    lm = Counts("c")
    assert lm.cache
    assert lm("x") != lm("x")
    assert three(DummyLM([{"answer": "a"}, {"answer": "b"}, {"answer": "c"}], adapter="compact")) == ["a", "b", "c"]


def test_a_scripted_model_is_an_lm(capsys: pytest.CaptureFixture[str]) -> None:
    lm = DummyLM([{"answer": "a"}, {"answer": "b"}])
    assert isinstance(lm, lampc.BaseLM)
    lampc.configure(lm=lm)
    assert lampc.Predict("question -> answer")(question="x").answer == "a"
    assert lm("hello") == ["[[ ## answer ## ]]\nb"]
    assert lm.copy(temperature=1.0)("more") == ["[[ ## answer ## ]]\nNo more responses"]
    assert [h["outputs"][0].split("\n")[1] for h in lm.history] == ["a", "b"]
    assert lm.get_convo(1) == (None, ["[[ ## answer ## ]]\nb"]), "it was a prompt, as in DSPy"
    lm.inspect_history(1)
    assert "hello" in capsys.readouterr().out
    assert (lm.kwargs, lm.model) == ({"temperature": 0.0, "max_tokens": 1000}, "dummy")
    thinks = DummyLM([{"answer": "a"}], reasoning=True)
    assert thinks("x")[0]["reasoning_content"] == "Some reasoning"


# -- classes that users derive ----------------------------------------------------------------------------


class Noting(lampc.LM):
    """Notes its calls and passes them on."""

    asked = 0

    def __call__(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> list[Any]:
        self.asked += 1
        return [str(t) + "!" for t in super().__call__(prompt=prompt, messages=messages, **kwargs)]


class Wrapping(Noting):
    forwarded = 0

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.forwarded += 1
        found = super().forward(prompt=prompt, messages=messages, **kwargs)
        found.choices[0].message.content += "?"
        return found


def test_classes_that_replace_calls_of_an_lm_are_asked_by_them() -> None:
    with Loopback(lambda m: "answer: yes") as server:
        lm = Wrapping("m", api_base=server.url, temperature=0.3)
        lampc.configure(lm=lm)
        assert qa()(question="a").answer == "yes?!"
        assert len(lm.history) == 1
        lm.history = []
        lm.asked = lm.forwarded = 0
        assert qa()(question="0").answer == "yes?!"
        assert (lm.asked, lm.forwarded, len(lm.history)) == (1, 1, 1)
        assert lm("b") == ["answer: yes?!"]
        assert asyncio.run(lm.acall("c")) == ["answer: yes?"], "acall is not replaced"
        assert [p.answer for p in qa().batch([{"question": "d"}, {"question": "e"}])] == ["yes?!"] * 2
        assert (lm.asked, lm.forwarded, len(lm.history)) == (4, 5, 5)
        assert len(lm.copy()("n", n=3, temperature=1.0)) == 3
    assert [r["temperature"] for r in server.requests] == [0.3] * 6 + [1.0] * 3
    assert len({r["seed"] for r in server.requests[6:]}) == 3, "draws of one call stay different"


def test_classes_that_answer_themselves() -> None:
    class Mine(lampc.LM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return "answer: mine"

    class Logged(lampc.LM):
        def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
            return ["answer: logged"]

    class Scripted(DummyLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return await super().aforward(prompt=prompt, messages=messages, **kwargs)

    class Empty(lampc.BaseLM):
        pass

    for lm, said in ((Mine("openai/m", api_key="k"), "mine"), (Logged("openai/m"), "logged")):
        lampc.configure(lm=lm)
        assert qa()(question="x").answer == said
    lampc.configure(lm=Scripted([{"answer": "script"}], adapter="compact"))
    assert qa()(question="x").answer == "script"
    for ask in (lambda lm: lm("x"), lambda lm: qa()(question="x", lm=lm)):
        with pytest.raises(ModelError, match="Empty has no answers: a class derived from"):
            ask(Empty("m"))


def test_a_history_may_be_emptied() -> None:
    class Own(lampc.BaseLM):
        def __init__(self, model: str) -> None:
            super().__init__(model)
            self.history = []

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            return "x"

    lm = Own("m")
    assert lm.history == []
    lm("a")
    assert len(lm.history) == 1
    lm.history = []
    assert lm.history == []
    with pytest.raises(ValueError, match="can be emptied"):
        lm.history = [{}]


def test_an_endpoint_is_sent_what_somebody_said() -> None:
    with Loopback(lambda m: "answer: yes") as server:

        def sent(predictor: Any, question: str = "a", **options: Any) -> list[tuple[Any, bool]]:
            before = len(server.requests)
            lampc.configure(lm=lampc.LM("openai/m", api_base=server.url, api_key="k", **options))
            predictor(question=question)
            return [(r.get("temperature"), "seed" in r) for r in server.requests[before:]]

        def more(**config: Any) -> Any:
            return lampc.Predict("question -> answer", layout="compact", **config)

        assert sent(more()) == [(None, False)]
        assert lampc.settings.lm.history[-1]["kwargs"] == {}
        assert sent(more(), temperature=0.0) == [(0.0, False)], "another call than the one before"
        assert sent(more(temperature=0.0), "b") == [(0.0, False)]
        assert sent(more(), temperature=0.3) == [(0.3, True)], "what is drawn can be drawn again"
        assert sent(more(), "c", seed=7) == [(None, True)]
        assert server.requests[-1]["seed"] == 7
        assert sent(more(n=2)) == [(0.7, True)] * 2
        assert sent(more(n=2), temperature=0.3) == [(0.3, True)] * 2
        assert sent(more(n=2), temperature=0.1) == [(0.7, True)] * 2
        assert sent(more(n=2, temperature=0.05), "d", temperature=0.9) == [(0.7, True)] * 2
        lampc.configure(lm=lampc.LM("openai/m", api_base=server.url, api_key="k", temperature=0.4))
        assert len(more(n=2).batch([{"question": "e"}])[0].completions) == 2
        assert [r["temperature"] for r in server.requests[-2:]] == [0.4, 0.4]


def test_what_code_answered_is_not_on_disk_where_other_code_would_find_it(tmp_path: Any) -> None:
    from lampc.runtime.cache import CallCache, DiskCache
    from lampc.runtime.session import Session

    disk = DiskCache(tmp_path)
    with Loopback(lambda m: "far") as server, Session(cache=CallCache(disk)) as session:
        for model in (lampc.LM("f", engine=lambda m: "near"), lampc.LM("m", api_base=server.url)):
            view = session.using(model)
            for _ in range(2):
                view.chat([{"role": "user", "content": "x"}], Sampling(), [Draw(0, Key(("x",)))])
        assert session.usage.stored_calls == 2
        assert disk.stats()["records"] == 1
    disk.close()


def test_entries_of_a_modules_history_are_those_of_its_lm() -> None:
    lm = DummyLM([{"answer": "a"}, {"answer": "b"}])
    lampc.configure(lm=lm)
    program = lampc.Predict("question -> answer")
    for question in ("x", "y"):
        program(question=question)
    first, last = program.history
    assert {**last} == {**lm.history[1]}
    assert (first.get("usage"), first["model"], "timestamp" in first) == (lm.history[0]["usage"], "dummy", True)
    lm.history = []
    program = lampc.Predict("question -> answer")
    program(question="z")
    lm.history = []
    assert (program.history[0]["usage"], program.history[0]["outputs"][0].split("\n")[1]) == ({}, "No more responses")


def test_what_a_users_class_appends_to_its_history_is_kept() -> None:
    class Keeps(lampc.BaseLM):
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            self.history.append({"prompt": prompt, "outputs": ["own"]})
            return "answer: x"

    lm = Keeps("keeps")
    lm("hello")
    assert [e["outputs"] for e in lm.history] == [["own"], ["answer: x"]]
    out = io.StringIO()
    lm.inspect_history(2, file=out)
    assert "own" in out.getvalue()


def test_usage_is_tracked_where_tasks_await() -> None:
    lampc.configure(lm=DummyLM(lambda messages: {"answer": "a"}))

    async def tracked(question: str) -> int:
        with lampc.track_usage() as tracker:
            await lampc.Predict("question -> answer").acall(question=question)
            await lampc.Predict("question -> answer").acall(question=question * 2)
        return len(tracker.usage_data["dummy"])

    async def main() -> list[int]:
        return await asyncio.gather(*(tracked(q) for q in "abc"))

    assert asyncio.run(main()) == [2, 2, 2]
