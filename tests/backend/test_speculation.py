"""Speculation: what is written is the same with and without, no block is left, and it is only done where it pays."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend.api import TokenEngine
from lampc.backend.errors import UnknownOption, Unsupported
from lampc.backend.fake import FakeEngine
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from lampc.backend.speculation.guess import Guess
from lampc.backend.speculation.ngram import NgramIndex
from lampc.runtime.pool import firefly_folder
from tests.backend.test_grammar import requests as constrained
from tests.backend.test_lora import ATTENTION, make

ALWAYS = {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_min": 1, "adaptive": False}


def requests(rng: random.Random, count: int) -> list[Request]:
    """Of a few tokens each, so that guesses are often right, at every temperature and with every option."""
    made = constrained(rng, count // 2)
    while len(made) < count:
        few = tuple(rng.sample(range(10, 290), rng.choice([2, 4])))
        sampling = Sampling(
            rng.choice([0.0, 0.6, 1.5]),
            top_k=rng.choice([0, 2]),
            top_p=rng.choice([1.0, 0.9]),
            max_tokens=rng.choice([5, 40]),
            min_tokens=rng.choice([0, 0, 5]),
            stop=rng.choice([(), (), ("a",)]),
            stop_ids=rng.choice([(), (few[0],)]),
            ignore_eos=True,
            frequency_penalty=rng.choice([0.0, 0.0, 0.2]),
            repetition_penalty=rng.choice([1.0, 1.0, 1.1]),
            bad_ids=rng.choice([(), ((few[0], few[1]),)]),
            allowed_ids=rng.choice([few, few, None]),
        )
        told: dict[str, Any] = rng.choice([{}, {}, {"logprobs": True}, {"top_logprobs": 2}, {"prompt_logprobs": True}])
        prompt = tuple(rng.choice(few) for _ in range(rng.randint(1, 30)))
        for _ in range(rng.choice([1, 1, 2])):
            made.append(Request(prompt, sampling, rng.getrandbits(40), priority=rng.randint(0, 1), **told))
    return made


def results(engine: TokenEngine, asked: list[Request]) -> list[Any]:
    """What everybody can see of each request, by several submissions on the way."""
    rng, handles = random.Random(0), []
    for request in asked:
        handles.append(engine.submit(request))
        for _ in range(rng.choice([0, 0, 3])):
            engine.step()
    engine.run()
    engine.check()
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    names = "tokens", "text", "finish", "stop_reason", "logprobs", "top_logprobs", "prompt_logprobs", "forced_tokens"
    for handle in handles:
        done = handle.completion
        assert done is not None
        assert done.metrics is not None
    return [[getattr(h.completion, name) for name in names] for h in handles]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk": 3, "block_size": 3, "prefix_cache": False},
        {"max_running": 3, "max_batch_tokens": 7, "block_size": 4},
        {"kv_tokens": 144, "block_size": 3, "max_running": 12},
    ],
    ids=["usual", "chunked", "narrow", "short"],
)
def test_the_same_with_and_without(tiny: Path, options: dict[str, Any]) -> None:
    rng = random.Random(len(options))
    asked = requests(rng, 56)
    plain, guessing = load_engine(tiny, **options), load_engine(tiny, speculative=ALWAYS, **options)
    for engine in (plain, guessing):
        engine._scheduler.lengths.add(1)  # type: ignore[attr-defined]  # too many are let in, and some have to go
    expected = results(plain, asked)
    for request, mine, right in zip(asked, results(guessing, asked), expected, strict=True):
        assert mine == right, request
    stats = guessing.stats()
    assert stats.accepted_tokens > 10
    assert stats.drafted_tokens > stats.accepted_tokens
    assert stats.preemptions > 0 or "kv_tokens" not in options
    assert guessing.stats().generated_tokens >= plain.stats().generated_tokens > 400
    for engine in (plain, guessing):
        engine.close()


REPEATING = (
    r'start: /([a-z]{1,6} ){1,9}[a-z]{1,5}/ "\n" ("good" | "very bad")',
    'start: (" " W){2,12}\nW: /[a-z]{2,9}/\n',
    'start: "{\\"a\\": [" I (", " I){0,9} "]}"\nI: /"[a-z ]{2,9}"/\n',
)


@pytest.mark.parametrize("grammar", REPEATING, ids=["text", "words", "list"])
def test_several_right_guesses_in_a_row_under_a_grammar(grammar: str) -> None:
    """Of the likeliest tokens, which matchers have gone on with before guesses are looked at."""
    rng = random.Random(len(grammar))
    engine = load_engine(firefly_folder(), kv_tokens=2048, speculative={"method": "ngram", "adaptive": False})
    naive = load_engine(firefly_folder(), kind="naive")
    asked = []
    for key in range(12):
        words = [rng.randrange(20, 2000) for _ in range(rng.choice([2, 3, 5]))]
        asked.append(Request(tuple(words * 5), Sampling(max_tokens=40), key, grammar=grammar))
    for request in asked:  # alone: then a step has nothing but likeliest tokens
        mine, right = engine.submit(request), naive.submit(request)
        engine.run()
        naive.run()
        assert mine.completion is not None
        assert right.completion is not None
        found = mine.completion
        assert (found.tokens, found.finish, found.error) == (right.completion.tokens, right.completion.finish, None)
    assert engine.stats().accepted_tokens > 12
    engine.check()


def test_adapters_guess_each_for_itself(tiny: Path, tmp_path: Path) -> None:
    adapters = {name: make(tiny, tmp_path / name, ATTENTION, seed) for seed, name in enumerate(("a", "b"))}
    rng = random.Random(5)
    asked = [replace(r, adapter=rng.choice(["a", "b", None])) for r in requests(rng, 24)]
    expected = results(load_engine(tiny, adapters=adapters, kv_tokens=2048), asked)
    engine = load_engine(tiny, adapters=adapters, kv_tokens=2048, speculative=ALWAYS)
    assert results(engine, asked) == expected
    assert engine.stats().accepted_tokens > 20


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_of_drafts_have_the_bits_of_single_steps(tiny_wide: Path, dtype: str) -> None:
    """Log-probabilities are equal to the last bit, whatever computes."""
    hot = Sampling(0.7, max_tokens=30, ignore_eos=True, allowed_ids=(5, 9, 17))
    for asked in (
        [Request((5, 9 + i) * 4, Sampling(max_tokens=60, ignore_eos=True)) for i in range(6)],
        [Request((5, 9) * 4, hot, key, logprobs=True) for key in range(3)],
    ):
        plain, guessing = load_engine(tiny_wide, dtype=dtype), load_engine(tiny_wide, dtype=dtype, speculative=ALWAYS)
        assert results(guessing, asked) == results(plain, asked)
        assert guessing.stats().accepted_tokens > 3
        assert guessing.stats().forward_tokens > plain.stats().forward_tokens


def test_a_step_that_fails_counts_for_nothing(tiny: Path) -> None:
    asked = [r for r in requests(random.Random(5), 16) if r.sampling.max_tokens > 3]
    engine = load_engine(tiny, speculative=ALWAYS, block_size=4)
    right = results(load_engine(tiny), asked)
    runner, rng, failed = engine._runner, random.Random(1), 0  # type: ignore[attr-defined]
    execute = runner.execute

    def sometimes(plan: Any) -> Any:
        nonlocal failed
        drawn = execute(plan)
        if plan.drafts and rng.random() < 0.3 and len(plan.jobs()) > 1:
            failed += 1
            raise RuntimeError("the device is gone for a moment")
        return drawn

    runner.execute = sometimes
    assert results(engine, asked) == right
    assert failed > 2
    engine.close()


def test_what_cannot_be_guessed_says_so(tiny: Path) -> None:
    with pytest.raises(Unsupported, match="draft_model"):
        load_engine(tiny, speculative={"method": "draft_model"})
    with pytest.raises(UnknownOption, match="num_speculative_tokens"):
        load_engine(tiny, speculative={"num_speculative_token": 3})
    with pytest.raises(ValueError, match="prompt_lookup_min"):
        load_engine(tiny, speculative={"prompt_lookup_min": 6})
    with pytest.raises(ValueError, match="from 1 to 64"):
        load_engine(tiny, speculative={"num_speculative_tokens": 0})
    with pytest.raises(ValueError, match="by name"):
        load_engine(tiny, speculative=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="async_scheduling"):
        load_engine(tiny, speculative="ngram", async_scheduling=True)
    with pytest.raises(Unsupported, match="paged"):
        load_engine(tiny, speculative="ngram", kind="naive")


@given(
    ids=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    least=st.integers(1, 3),
    more=st.integers(0, 2),
    count=st.integers(1, 9),
    cut=st.integers(1, 30),
)
def test_guesses_are_what_stood_there_last(ids: list[int], least: int, more: int, count: int, cut: int) -> None:
    index = NgramIndex(least, least + more)
    index.propose(ids[:cut], count)
    expected: list[int] = []
    for size in (least + more, least):
        ends = [at for at in range(size, len(ids)) if ids[at - size : at] == ids[-size:]] if len(ids) >= size else []
        if ends:
            longer = list(ids)
            for i in range(count):
                longer.append(longer[ends[-1] + i])
            expected = longer[len(ids) :]
            break
    assert index.propose(ids, count) == expected


def test_drafts_are_as_long_as_pays() -> None:
    guess = Guess(NgramIndex(2, 4))
    assert guess.length(0.0, 8) == 8
    assert guess.length(0.9, 8) == 0
    assert 0 < guess.length(0.3, 8) < 8
    for _ in range(20):
        guess.heard(8, 8)
    assert guess.length(0.3, 8) == 8
    for _ in range(20):
        guess.heard(0, 8)
    assert guess.length(0.3, 8) < 2
    pauses = []
    for _ in range(8):
        pauses.append(guess.sleep(0, wrong=True))
        assert guess.wakes([1, 2, 3] * 9)
    assert pauses == [16, 32, 64, 128, 256, 512, 512, 512]
    assert guess.length(0.99, 8) == 2  # to see how things are
    quiet = Guess(NgramIndex(2, 4))
    assert [quiet.sleep(0, wrong=False) for _ in range(5)] == [16, 32, 64, 64, 64]
    assert not quiet.wakes(list(range(40))), "nothing could have been guessed"
    assert not quiet.wakes([*range(78), 10, 11, 12]), "one of so many"
    assert quiet.wakes([*range(78), 10, 11, 12, 13, 14, 15, 16])


@given(ids=st.lists(st.integers(0, 3), max_size=60), least=st.integers(1, 3), more=st.integers(0, 3))
def test_a_replay_counts_the_guesses_that_there_would_have_been(ids: list[int], least: int, more: int) -> None:
    index, twin = NgramIndex(least, least + more), NgramIndex(least, least + more)
    guesses = [twin.propose(ids[:at], 1) for at in range(len(ids))]
    right = sum(guess == [token] for guess, token in zip(guesses, ids, strict=True))
    assert index.replay(ids) == (sum(map(bool, guesses)), right)
    assert index.propose(ids, 3) == twin.propose(ids, 3)


class Timed(FakeEngine):
    """Steps take a time of their own and one for each row."""

    def __init__(self, reply: Any, row: float, **options: Any) -> None:
        self.now = 0.0
        super().__init__(reply, clock=lambda: self.now, **options)
        execute = self._runner.execute  # type: ignore[union-attr]

        def timed(plan: Any) -> Any:
            self.now += 1.0 + row * plan.rows
            return execute(plan)

        self._runner.execute = timed  # type: ignore[union-attr, method-assign]


def took(text: str, copies: bool, row: float, count: int, **options: Any) -> float:
    """The time of `count` requests that write a text, which is in their prompts or not."""
    engine = Timed(lambda prompt: text, row, **options)
    for i in range(count):
        prompt = (text if copies else "nothing like it") + f" {i} "
        engine.submit(Request(tuple(prompt.encode()), Sampling(max_tokens=len(text), ignore_eos=True)))
    engine.run()
    return engine.now


@pytest.mark.parametrize(("count", "row"), [(1, 0.05), (1, 0.4), (8, 0.05), (8, 0.4)])
def test_it_is_done_where_it_pays(count: int, row: float) -> None:
    rng = random.Random(count)
    text = "".join(rng.choice("abcdefghijklmnop ") for _ in range(1500))
    wild = took(text, False, row, count, speculative="ngram") / took(text, False, row, count)
    assert wild < 1.03
    same = took(text, True, row, count, speculative="ngram") / took(text, True, row, count)
    bound = (1 + 9 * count * row) / 9 / (1 + count * row)  # all guesses right, eight at a time
    assert same < min(1.0, 1.35 * bound + 0.05)
