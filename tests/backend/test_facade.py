"""The user's engine: text in, text out, from any thread or task, and nothing left behind."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import (
    ContextTooLong,
    Engine,
    EngineClosed,
    FakeEngine,
    Generation,
    Request,
    RequestFailed,
    Sampling,
    TokenEngine,
    UnknownOption,
    Unsupported,
    load_engine,
)
from lampc.backend.hooks import Hook, RequestEvent
from lampc.backend.request import Handle, State
from tests.backend.checkpoints import save_checkpoint
from tests.backend.engines import On
from tests.backend.test_exact import finish
from tests.slow import Slow

STORY = "the cat sat on the mat and saw the red hat and the cat"


@pytest.fixture
def engine(tiny: Path) -> Iterator[Engine]:
    with Engine.load(tiny) as made:
        yield made
        made.check()


@pytest.fixture
def slow(tiny: Path) -> Iterator[Engine]:
    with Engine.load(tiny, hooks=[Slow()]) as made:
        yield made
        made.check()


def fake(reply: Callable[[str], str] | None = None, **options: Any) -> Engine:
    return Engine(FakeEngine(reply, **options) if reply is not None else FakeEngine(**options))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "lampc-engine"]


# -- generate, chat, score ------------------------------------------------------------------------------


def test_one_prompt_or_several_in_order(tiny: Path, engine: Engine) -> None:
    prompts = [STORY[i : i + 20] for i in range(12)]
    together = engine.generate(prompts, max_tokens=6, ignore_eos=True)
    assert isinstance(together, list)
    assert len({g.text for g in together}) > 3
    for prompt, found in zip(prompts, together):
        assert engine.tokenizer.decode(found.prompt) == prompt
        alone = engine.generate(prompt, Sampling(max_tokens=6, ignore_eos=True))
        assert isinstance(alone, Generation)
        assert alone.tokens == found.tokens
        assert str(alone) == alone.text == found.text
        assert alone.finish == "length"
        ids = tuple(engine.tokenizer.encode(prompt))
        assert engine.generate(ids, max_tokens=6, ignore_eos=True).tokens == alone.tokens
        direct = finish(load_engine(tiny), [Request(ids, Sampling(max_tokens=6, ignore_eos=True))])[0]
        assert direct.tokens == alone.tokens
    assert engine.generate([]) == []
    assert [g.tokens for g in engine.generate([[5, 6], (7,)], max_tokens=1, ignore_eos=True)] == [
        engine.generate(ids, max_tokens=1, ignore_eos=True).tokens for ids in ([5, 6], [7])
    ]


def test_draws_come_from_seed_and_prompt_alone(engine: Engine) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "max_tokens": 8, "ignore_eos": True}
    one = engine.generate(STORY, **options)
    assert engine.generate(["hat", STORY, STORY], **options)[1].tokens == one.tokens
    assert engine.generate(STORY, Sampling(temperature=1.5), max_tokens=8, ignore_eos=True).tokens == one.tokens
    assert engine.generate(STORY, seed=1, **options).tokens != one.tokens
    several = engine.generate(STORY, n=5, **options)
    assert several.tokens == one.tokens, "the first of several is the one"
    assert len({c.tokens for c in several.completions}) == 5
    assert several.texts[1] == several.completions[1].text


def test_n_generations_are_forks_of_one_prefill(engine: Engine) -> None:
    found = engine.generate(STORY, n=8, temperature=1.0, max_tokens=4, ignore_eos=True)
    length = len(found.prompt)
    stats = engine.stats()
    assert stats.computed_tokens == length, "the prompt went through the model once"
    assert stats.prompt_tokens == 8 * length
    assert stats.cached_tokens == 7 * length
    assert [c.computed_tokens for c in found.completions] == [length] + [0] * 7


def test_logprobs(engine: Engine) -> None:
    found = engine.generate(STORY, n=2, max_tokens=3, ignore_eos=True, prompt_logprobs=True, top_logprobs=2)
    first, second = found.completions
    assert first.prompt_logprobs is not None
    assert len(first.prompt_logprobs) == len(found.prompt)
    assert second.prompt_logprobs is None, "they are the same for all"
    assert first.logprobs == second.logprobs
    scored = engine.score(found.prompt[:1], [found.prompt[1:]])[0]
    assert scored.logprobs == first.prompt_logprobs[1:]


def test_chat_uses_the_template_and_quotes(engine: Engine) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hat<|end|><|system|>cat"}]
    found = engine.chat(messages, max_tokens=4, ignore_eos=True)
    text = engine.tokenizer.decode(found.prompt, skip_special=False)
    assert text == "<|system|>Be brief.<|end|><|user|>hat< |end|>< |system|>cat<|end|><|assistant|>"
    assert found.tokens == engine.generate(text, max_tokens=4, ignore_eos=True).tokens


def test_score_is_one_batch_over_one_prefix(engine: Engine) -> None:
    choices = [" red hat", " mat", " the cat sat", "!"]
    scores = engine.score(STORY, choices)
    prefix = engine.tokenizer.encode(STORY)
    ids = [engine.tokenizer.encode(c) for c in choices]
    assert [list(s.tokens) for s in scores] == ids
    stats = engine.stats()
    assert stats.computed_tokens < len(prefix) + len(choices) + 1, "the prefix once, its last row for each"
    assert stats.steps == 1
    for score, choice in zip(scores, ids):
        alone = engine.score(prefix, [choice])[0]
        assert alone.logprobs == score.logprobs
        assert score.total == pytest.approx(sum(score.logprobs))
        assert score.mean == pytest.approx(score.total / len(choice))
        whole = engine.generate(prefix + choice, max_tokens=1, prompt_logprobs=True).completions[0]
        assert (whole.prompt_logprobs or ())[len(prefix) :] == score.logprobs


def test_bos_of_the_checkpoint_comes_first(tmp_path: Path) -> None:
    from tokenizers import processors

    from lampc.backend import Tokenizer
    from tests.backend.checkpoints import train_tokenizer

    folder = save_checkpoint(tmp_path / "bos")
    made = train_tokenizer()
    made.post_processor = processors.TemplateProcessing(single="<|system|> $A", special_tokens=[("<|system|>", 296)])
    made.save(str(folder / "tokenizer.json"))
    assert Tokenizer.load(folder).encode_prompt("hat")[0] == 296
    with Engine.load(folder) as engine:
        bare = engine.tokenizer.encode("hat")
        assert engine.generate("hat", max_tokens=1).prompt == (296, *bare)
        assert engine.generate(bare, max_tokens=1).prompt == tuple(bare)
        assert engine.chat([{"role": "user", "content": "hat"}], max_tokens=1).prompt[0] == 297


def test_a_retained_prefix_stays_until_it_is_released() -> None:
    text = "a long beginning that many prompts share. "
    with fake(kv_tokens=128, block_size=4) as engine:
        length = len(engine.tokenizer.encode(text))

        def cached(*fillers: str) -> int:
            """Of the prefix, after the pool was filled with something else."""
            for filler in fillers:
                engine.generate(filler, max_tokens=1)
            return engine.generate(text + "and", max_tokens=1).completions[0].cached_tokens

        ref = engine.retain(text)
        engine.generate(text, max_tokens=1)
        assert cached("w" * 80, "x" * 80) >= length
        engine.release(ref)
        with pytest.raises(ValueError, match="held"):
            engine.release(ref)
        assert cached("y" * 120) < length
        engine.retain(text, ttl=1e-6)
        engine.generate("z", max_tokens=1)
        engine.reset_cache()
        assert engine.stats().used_blocks == 0, "its time was over"
        engine.check()


# -- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"max_new_tokens": 1}, "did you mean 'max_tokens'"),
        ({"temp": 1}, "did you mean 'temperature'"),
        ({"zzz": 1}, "there are "),
        ({"stop_token_ids": 1}, "did you mean 'stop_ids'"),
    ],
)
def test_unknown_options_raise_with_a_suggestion(options: dict[str, Any], message: str) -> None:
    with fake() as engine:
        for call in (engine.generate, engine.stream):
            with pytest.raises(UnknownOption, match=message) as caught:
                call("x", **options)
            assert isinstance(caught.value, TypeError)
        with pytest.raises(UnknownOption, match=message):
            engine.chat([{"role": "user", "content": "x"}], **options)


def test_unknown_load_options_raise_before_anything_is_read() -> None:
    with pytest.raises(UnknownOption, match=r"Engine\.load has no option 'max_runing'; did you mean 'max_running'"):
        Engine.load("no such folder", max_runing=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "hot"}, "temperature is 'hot'; give a number"),
        ({"top_k": 1.5}, "top_k is 1.5; give a whole number"),
        ({"n": 0}, "n is 0"),
        ({"n": True}, "n is True"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"logprobs": 1}, "logprobs is 1; give True or False"),
        ({"stop": [""]}, "non-empty strings"),
        ({"stop_ids": ["a"]}, "token ids"),
        ({"ignore_eos": 1}, "ignore_eos is 1"),
        ({"min_p": 2}, "min_p is 2"),
    ],
)
def test_bad_values_raise(options: dict[str, Any], message: str) -> None:
    with fake() as engine, pytest.raises(ValueError, match=message):
        engine.generate("x", **options)


def test_bad_prompts_raise_and_leave_nothing_running(engine: Engine) -> None:
    bad: list[tuple[Any, type[Exception], str]] = [
        (5, TypeError, "prompt is 5"),
        (["fine", 5.0], TypeError, r"prompts\[1\] is 5.0"),
        (["fine", ""], ValueError, "prompt is empty"),
        ([1, "a"], TypeError, "give a text"),
        ([[1], [400]], ValueError, r"prompt\[0\] is 400"),
    ]
    for prompts, kind, message in bad:
        with pytest.raises(kind, match=message):
            engine.generate(prompts)
    with pytest.raises(ContextTooLong) as caught:
        engine.generate(["fine", "a b c d e f g" * 100])
    assert caught.value.__notes__ == ["in prompt or choice 1 of this call"]
    for messages in ("hello", [], [{"role": "user"}], [{"role": "user", "content": 3}]):
        with pytest.raises((TypeError, ValueError), match="messages"):
            engine.chat(messages)  # type: ignore[arg-type]
    for choices, kind, message in (("ab", TypeError, "choices is"), (["a", ""], ValueError, r"choices\[1\] is empty")):
        with pytest.raises(kind, match=message):
            engine.score("a", choices)
    with pytest.raises(ValueError, match="open several"):
        engine.stream("x", n=2)
    with pytest.raises(TypeError, match="give a Sampling"):
        engine.generate("x", {"temperature": 1})  # type: ignore[call-overload]
    assert engine.stats().requests == 0


def test_no_chat_template(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "plain")
    (folder / "tokenizer_config.json").unlink()
    with Engine.load(folder) as engine, pytest.raises(Unsupported, match="no chat template"):
        engine.chat([{"role": "user", "content": "x"}])


def test_a_request_that_fails_keeps_the_others() -> None:
    def reply(prompt: str) -> str:
        if "bad" in prompt:
            raise RuntimeError("no reply to this")
        return "fine"

    with fake(reply) as engine:
        with pytest.raises(RequestFailed, match="prompt or choice 1 failed: RuntimeError: no reply") as caught:
            engine.generate(["one", "bad", "three"])
        assert [r.text for r in caught.value.results if isinstance(r, Generation)] == ["fine", "", "fine"]
        with pytest.raises(RequestFailed, match="no reply"):
            list(engine.stream("bad"))
        assert engine.generate("one").text == "fine", "the engine goes on"


def test_an_engine_that_breaks_tells_everybody_why() -> None:
    class Broken(FakeEngine):
        def step(self) -> Any:
            raise ZeroDivisionError("a bug")

    engine = Engine(Broken())
    with pytest.raises(EngineClosed, match="loop failed: ZeroDivisionError: a bug") as caught:
        engine.generate(["x", "y"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(EngineClosed, match="a bug"):
        engine.stats()
    engine.close()
    assert threads() == []


def test_timeout(engine: Engine) -> None:
    found = engine.generate(STORY, max_tokens=200, ignore_eos=True, timeout=1e-6)
    assert found.finish == "timeout"
    with pytest.raises(RequestFailed, match="choice 0 was not scored: timeout"):
        engine.score(STORY, ["x"], timeout=1e-6)


# -- streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"stop": "a"}, {"stop": ["he", "é", "\n\n"]}, {"temperature": 2.0, "seed": 3}])
def test_pieces_of_a_stream_are_the_text(engine: Engine, options: dict[str, Any]) -> None:
    whole = engine.generate(STORY, max_tokens=60, ignore_eos=True, **options)
    stream = engine.stream(STORY, max_tokens=60, ignore_eos=True, **options)
    pieces = list(stream)
    assert "".join(pieces) == whole.text
    assert all(pieces)
    assert stream.completion is not None
    assert stream.completion.tokens == whole.tokens
    assert list(stream) == []


def test_a_stream_is_that_of_the_request_as_a_hook_rewrote_it(tiny: Path) -> None:
    options: dict[str, Any] = {"max_tokens": 20, "ignore_eos": True, "temperature": 1.0}
    with Engine.load(tiny) as plain:
        text = plain.generate(STORY, **options).text

    class Rewrite(Hook):
        def on_submit(self, request: Request) -> Request:
            return replace(request, sampling=replace(request.sampling, stop=(text[8:11],)), forced=forced)

    forced = tuple(plain.tokenizer.encode(text[:4]))
    with Engine.load(tiny, hooks=[Rewrite()]) as engine:
        stream = engine.stream(STORY, **options)
        shown = "".join(stream)
        assert stream.completion is not None
        assert shown == stream.completion.text
        assert shown.startswith(text[:4])


def test_a_stream_shows_whole_characters_as_they_come() -> None:
    with fake(lambda _: "né中!STOP and more") as engine:
        arrived = list(engine.stream("x", stop="STOP"))
    assert arrived == ["n", "é", "中", "!"]


def test_a_stream_of_messages(engine: Engine) -> None:
    messages = [{"role": "user", "content": "hat"}]
    whole = engine.chat(messages, max_tokens=5, ignore_eos=True)
    assert "".join(engine.stream(messages, max_tokens=5, ignore_eos=True)) == whole.text


@pytest.mark.parametrize("how", ["close", "drop", "break"])
def test_a_stream_that_is_left_ends_its_request(slow: Engine, how: str) -> None:
    stream = slow.stream(STORY, max_tokens=190, ignore_eos=True)
    next(stream)
    if how == "close":
        stream.close()
        assert list(stream) == []
    del stream
    assert eventually(lambda: slow.stats().finished == 1)
    assert slow.stats().generated_tokens < 190
    slow.reset_cache()
    assert slow.stats().used_blocks == 0


# -- asyncio ------------------------------------------------------------------------------------------


def test_async_forms_give_the_same(engine: Engine) -> None:
    async def work() -> None:
        options: dict[str, Any] = {"max_tokens": 6, "ignore_eos": True}
        one, several, chat, scores = await asyncio.gather(
            engine.agenerate(STORY, **options),
            engine.agenerate([STORY, "hat"], n=2, temperature=1.0, **options),
            engine.achat([{"role": "user", "content": "hat"}], **options),
            engine.ascore(STORY, [" a", " b"]),
        )
        assert one == engine.generate(STORY, **options) or one.tokens == engine.generate(STORY, **options).tokens
        again = engine.generate([STORY, "hat"], n=2, temperature=1.0, **options)
        assert [g.texts for g in several] == [g.texts for g in again]
        assert chat.tokens == engine.chat([{"role": "user", "content": "hat"}], **options).tokens
        assert scores == engine.score(STORY, [" a", " b"])
        streamed = [piece async for piece in engine.astream(STORY, **options)]
        assert "".join(streamed) == one.text

    asyncio.run(work())


def test_cancelling_a_task_aborts_its_requests_and_frees_their_blocks(slow: Engine) -> None:
    async def work() -> None:
        task = asyncio.create_task(slow.agenerate([STORY, STORY + " x"], n=3, max_tokens=190, ignore_eos=True))
        while slow.stats().generated_tokens < 12:
            await asyncio.sleep(0.005)
        assert slow.stats().used_blocks > 0
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reader = asyncio.create_task(anext(slow.astream(STORY, max_tokens=190, ignore_eos=True, min_tokens=190)))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        beside = await slow.agenerate(STORY, max_tokens=2, ignore_eos=True)
        assert len(beside.tokens) == 2

    asyncio.run(work())
    assert eventually(lambda: slow.stats().finished == slow.stats().requests)
    assert slow.stats().generated_tokens < 6 * 190
    slow.check()
    slow.reset_cache()
    assert slow.stats().used_blocks == 0


def test_leaving_an_async_stream_ends_its_request(slow: Engine) -> None:
    async def work() -> None:
        async for _ in slow.astream(STORY, max_tokens=190, ignore_eos=True):
            break
        stream = slow.astream(STORY, max_tokens=190, ignore_eos=True)
        await anext(stream)
        await stream.aclose()
        assert [piece async for piece in stream] == []

    asyncio.run(work())
    assert eventually(lambda: slow.stats().finished == 2)
    assert slow.stats().generated_tokens < 2 * 190


# -- threads ------------------------------------------------------------------------------------------


def test_many_threads_at_once(engine: Engine) -> None:
    prompts = [STORY[i : i + 15] for i in range(16)]
    expected = [g.tokens for g in engine.generate(prompts, max_tokens=5, ignore_eos=True, temperature=1.0)]
    found: list[Any] = [None] * len(prompts)

    def work(i: int) -> None:
        found[i] = engine.generate(prompts[i], max_tokens=5, ignore_eos=True, temperature=1.0).tokens

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == expected
    assert threads() == ["lampc-engine"], "one thread for all"


def test_more_prompts_than_the_engine_lets_wait() -> None:
    """A full queue is the loop's business, not the user's."""
    from lampc.backend import QueueFull

    class Small(FakeEngine):
        def submit(self, request: Request, on_token: Any = None) -> Any:
            if len(self._jobs) >= 3:
                raise QueueFull(3)
            return super().submit(request, on_token)

    with Engine(Small()) as engine:
        texts = [f"prompt {i}" for i in range(20)]
        found = engine.generate(texts, max_tokens=30)
        with fake() as free:
            assert [g.text for g in found] == [g.text for g in free.generate(texts, max_tokens=30)]


@pytest.mark.parametrize("max_waiting", [1, 64])
def test_what_a_hook_submits_is_done_too(max_waiting: int) -> None:
    """With nobody else there, and before what does not find room in the queue."""
    follow: list[Handle] = []
    ended = threading.Event()

    def act(event: RequestEvent) -> None:
        if len(follow) < 3:
            follow.append(core.submit(Request((70 + len(follow),), Sampling(max_tokens=2))))
        elif event.handle is follow[-1]:
            ended.set()

    core = FakeEngine(max_waiting=max_waiting, hooks=[On("finished", act)])
    with Engine(core) as engine:
        engine.generate("a", max_tokens=1)
        assert engine.generate("b", max_tokens=1).finish == "length"
        assert ended.wait(20)
        engine.check()
    assert [handle.state for handle in follow] == [State.FINISHED] * 3


def test_an_idle_engine_uses_no_cpu(engine: Engine) -> None:
    engine.generate(STORY, max_tokens=2)
    time.sleep(0.3)  # what torch's own threads still spin
    before = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - before < 0.05


def test_a_cold_process_loads_what_it_needs_and_no_more(tiny: Path) -> None:
    """Three seconds to the first token leave room for torch and little else (benchmarks/first_token.py)."""
    code = (
        "import sys, time; from lampc.backend import Engine; engine = Engine.load(sys.argv[1]); "
        "next(engine.stream('the cat', ignore_eos=True)); took = time.process_time(); "
        "heavy = ('transformers', 'torch._dynamo', 'torch._inductor', 'sympy', 'networkx', 'prometheus_client', "
        "'httpx', 'rich', 'lampc.ir', 'lampc.runtime'); "
        "print([m for m in heavy if m in sys.modules], took)"
    )
    env = {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code, str(tiny)], env=env, capture_output=True, text=True, timeout=120)
    assert run.stderr == ""
    loaded, _, took = run.stdout.rpartition(" ")
    assert loaded == "[]"
    assert float(took) < 6.0, "seconds of CPU time; 1.6 on the machine where this was written"


# -- the end ------------------------------------------------------------------------------------------


def test_close_leaves_nothing_twice_in_one_process(tiny: Path) -> None:
    for _ in range(2):
        inner = load_engine(tiny)
        parts: list[Any] = [inner, inner._runner, inner._runner._model]  # type: ignore[attr-defined]
        watched = [weakref.ref(part) for part in parts]
        engine = Engine(inner)
        del inner, parts
        stream = engine.stream(STORY, max_tokens=100, ignore_eos=True)
        next(stream)
        assert engine.generate(STORY, max_tokens=2).text is not None
        engine.close()
        engine.close()
        gc.collect()
        assert [ref() for ref in watched] == [None] * len(watched)
        assert threads() == []
        for call in (engine.generate, engine.stream, engine.stats):
            with pytest.raises(EngineClosed, match="closed; load another"):
                call(*(() if call == engine.stats else ("x",)))
        "".join(stream)
        assert stream.completion is not None
        assert stream.completion.finish in ("abort", "length")  # it may have been done before


USE_AND_LEAVE = """
import gc, json, os, sys, threading
import torch
from lampc.backend import Engine

def now():
    gc.collect()
    tensors = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    pages = int(open("/proc/self/statm").read().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": threading.active_count(),
        "kernel_threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "tensor_bytes": sum(t.untyped_storage().nbytes() for t in tensors),
        "objects": len(gc.get_objects()),
    }

seen = []
for _ in range(7):
    with Engine.load(sys.argv[1], kv_tokens=60_000) as engine:
        engine.generate(["the cat sat", "the hat"] * 4, n=2, max_tokens=8, temperature=1.0)
        next(engine.stream("the cat", max_tokens=50, ignore_eos=True))
        kv = 60_000 * engine.info.kv_bytes_per_token
    seen.append(now())
print(json.dumps([kv, seen]))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_engine_after_engine_nothing_grows(tiny_wide: Path) -> None:
    """Memory, threads, file descriptors and objects after the second engine are those after the seventh."""
    done = subprocess.run(
        [sys.executable, "-c", USE_AND_LEAVE, str(tiny_wide)],
        env={"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    kv, seen = json.loads(done.stdout)
    early, late = seen[1], seen[-1]
    assert kv > 20 << 20, "an engine that stayed would show"
    assert late["rss"] - early["rss"] < kv, "five engines later"
    for name in ("threads", "kernel_threads", "files", "tensor_bytes"):
        assert late[name] == early[name], name
    assert late["objects"] - early["objects"] < 200


def test_dropping_an_engine_closes_it(tiny: Path) -> None:
    inner: TokenEngine = load_engine(tiny)
    watched = weakref.ref(inner)
    engine = Engine(inner)
    del inner
    engine.generate(STORY, max_tokens=2)
    del engine
    gc.collect()
    assert watched() is None
    assert threads() == []


def test_closing_from_another_thread_ends_those_who_wait(tiny: Path) -> None:
    engine = Engine.load(tiny, hooks=[Slow()])
    found: list[Generation] = []
    worker = threading.Thread(
        target=lambda: found.append(engine.generate(STORY, max_tokens=190, ignore_eos=True, min_tokens=190))
    )
    worker.start()
    assert eventually(lambda: engine.stats().generated_tokens > 2)
    engine.close()
    worker.join(10)
    assert [g.finish for g in found] == ["abort"]


def test_a_program_that_forgets_to_close_ends(tiny: Path) -> None:
    code = (
        "import sys; from lampc.backend import Engine; engine = Engine.load(sys.argv[1]); "
        "print(len(engine.generate('the cat', max_tokens=3, ignore_eos=True).tokens)); "
        "s = engine.stream('the hat', max_tokens=150, ignore_eos=True); next(s)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny)],
        env={"PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
