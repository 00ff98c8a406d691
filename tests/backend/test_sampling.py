"""Sampling from end to end, on a real model: what is asked for is what comes out, whoever is beside it."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lampc.backend import Completion, Engine, FakeEngine, Generation, Request, Sampling, Tokenizer, load_engine
from tests.backend.test_exact import finish

STORY = "the cat sat on the mat and saw the red hat and the cat"


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Iterator[Engine]:
    with Engine.load(tiny) as made:
        yield made
        made.check()


def free(engine: Engine, tokens: int = 24, **options: Any) -> Completion:
    """A generation that nothing stops."""
    return engine.generate(STORY, max_tokens=tokens, ignore_eos=True, **options).completions[0]


# -- the distribution ---------------------------------------------------------------------------------


OPTIONS: list[dict[str, Any]] = [
    {"temperature": 0.3},
    {"temperature": 2.0},
    {"temperature": 0.5, "top_k": 6},
    {"temperature": 0.8, "top_p": 0.8},
    {"temperature": 0.8, "min_p": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_generations_follow_the_models_distribution(engine: Engine, options: dict[str, Any]) -> None:
    """Chi-square of the first token of 1,500 forks against the softmax that `top_logprobs` reports, 99.9 %."""
    tries = 1500
    options = {"ignore_eos": True, **options}
    (row,) = free(engine, 1, top_logprobs=engine.info.vocab_size).top_logprobs or ()
    order = [token for token, _ in row]
    weights = np.exp(np.array([p for _, p in row]) / options["temperature"])
    weights /= weights.sum()
    if "top_k" in options:
        weights[options["top_k"] :] = 0
    if "top_p" in options:
        weights[int(np.searchsorted(np.cumsum(weights), options["top_p"])) + 1 :] = 0
    if "min_p" in options:
        weights[weights < options["min_p"] * weights[0]] = 0
    expected = tries * weights / weights.sum()
    drawn = Counter(c.tokens[0] for c in engine.generate(STORY, max_tokens=1, n=tries, **options).completions)
    counts = np.array([drawn[token] for token in order])
    assert counts[expected == 0].sum() == 0, "what is filtered never comes out"
    bins = [[i] for i in range(len(order)) if expected[i] >= 5]
    rare = [i for i in range(len(order)) if 0 < expected[i] < 5]
    bins += [rare] if rare else []
    chi = sum((counts[b].sum() - expected[b].sum()) ** 2 / expected[b].sum() for b in bins)
    free_bins = len(bins) - 1
    assert free_bins >= 1
    # Wilson and Hilferty's approximation of the quantile
    limit = free_bins * (1 - 2 / (9 * free_bins) + 3.09 * (2 / (9 * free_bins)) ** 0.5) ** 3
    assert chi < limit, (chi, free_bins)


def test_temperature_0_takes_the_likeliest_each_time(engine: Engine) -> None:
    found = free(engine, top_logprobs=1)
    assert [top[0][0] for top in found.top_logprobs or ()] == [*found.tokens]


# -- where it ends ------------------------------------------------------------------------------------


def test_max_and_min_tokens_and_stop_ids(engine: Engine) -> None:
    whole = free(engine)
    first = whole.tokens[0]
    stopped = engine.generate(STORY, stop_ids=[first], ignore_eos=True).completions[0]
    assert (stopped.tokens, stopped.finish, stopped.stop_reason) == ((), "stop", first)
    for least in (1, 5):
        found = engine.generate(STORY, stop_ids=[first], min_tokens=least, max_tokens=24, ignore_eos=True)
        assert len(found.tokens) >= least
        assert first not in found.tokens, "neither before min_tokens, where it is not drawn, nor after, where it stops"
    at = next(i for i, token in enumerate(whole.tokens) if i and token not in whole.tokens[:i])
    found = engine.generate(STORY, stop_ids={whole.tokens[at]}, max_tokens=24, ignore_eos=True)
    assert found.tokens == whole.tokens[:at]
    assert free(engine, 7).tokens == whole.tokens[:7]
    assert free(engine, 7).finish == "length"


def test_a_stop_string_across_every_token_boundary(tiny: Path) -> None:
    """Two characters, the last of one token and the first of the next, at every joint of a text in a real tokenizer."""
    tokenizer = Tokenizer.load(tiny)
    text = "the cat sat on the mat, né? and saw 中 a red hat!"
    tokens = tuple(tokenizer.encode(text))
    ends = [len(tokenizer.decode(tokens[:i])) for i in range(len(tokens) + 1)]
    assert len(tokens) < len(text), "some tokens have several characters"
    tried = 0
    with Engine(FakeEngine(lambda _: text, tokenizer)) as engine:
        for i in range(1, len(tokens)):
            stop = text[ends[i] - 1 : ends[i] + 1]
            if "\ufffd" in tokenizer.decode(tokens[:i]) or len(stop) < 2:
                continue
            tried += 1
            at = text.index(stop)
            found = engine.generate("x", stop=[stop, "zzzz"])
            assert found.text == text[:at] == "".join(engine.stream("x", stop=[stop, "zzzz"]))
            assert (found.finish, found.completions[0].stop_reason) == ("stop", stop)
            assert found.tokens == tokens[: len(found.tokens)]
            assert ends[len(found.tokens)] <= at < ends[len(found.tokens) + 1], "all tokens before it, no other"
    assert tried >= 20


# -- what is given ------------------------------------------------------------------------------------


def test_a_generation_can_be_made_to_begin_with_something(engine: Engine) -> None:
    begin = tuple(engine.tokenizer.encode(" red hat"))
    found = engine.generate(STORY, forced=" red hat", max_tokens=12, ignore_eos=True, logprobs=True).completions[0]
    assert found.tokens[: len(begin)] == begin
    assert len(found.tokens) == 12
    prompt = engine.generate(STORY, max_tokens=1).prompt
    after = engine.generate((*prompt, *begin), max_tokens=12 - len(begin), ignore_eos=True, logprobs=True)
    assert found.tokens[len(begin) :] == after.tokens
    scored = engine.score(prompt, [begin])[0].logprobs
    assert found.logprobs == (*scored, *(after.completions[0].logprobs or ())), "the same bits, forced or scored"
    assert engine.generate(STORY, forced=begin, max_tokens=12, ignore_eos=True).tokens == found.tokens


def test_a_script_is_the_whole_generation(engine: Engine) -> None:
    script = [*range(20, 32)]
    found = engine.generate(STORY, forced=script, max_tokens=12, ignore_eos=True, logprobs=True, n=2)
    assert [c.tokens for c in found.completions] == [tuple(script)] * 2
    assert found.completions[0].logprobs == engine.score(STORY, [script])[0].logprobs
    assert found.finish == "length"
    cut = engine.generate(STORY, forced=script, max_tokens=20, stop_ids=[25], ignore_eos=True)
    assert (cut.tokens, cut.finish) == (tuple(range(20, 25)), "stop")


@pytest.mark.parametrize("forced", [" red hat", "é", [200, 20, 21], "a hat. STOP and"])
def test_streams_show_what_is_forced_first(engine: Engine, forced: Any) -> None:
    options: dict[str, Any] = {"forced": forced, "max_tokens": 20, "ignore_eos": True, "stop": "STOP"}
    stream = engine.stream(STORY, **options)
    assert "".join(stream) == engine.generate(STORY, **options).text
    closed = engine.stream(STORY, **options)
    closed.close()
    assert list(closed) == []


@pytest.mark.parametrize("forced", [5, 1.5, [1.5], [True], b"ab", None])
def test_bad_forced_tokens_raise(engine: Engine, forced: Any) -> None:
    with pytest.raises(ValueError, match=r"forced is .*give a text or token ids"):
        engine.generate("x", forced=forced)
    with pytest.raises(ValueError, match=r"forced\[0\] is 9999"):
        engine.generate("x", forced=[9999])


# -- neighbours ---------------------------------------------------------------------------------------


def crowd(count: int, seed: int) -> list[Request]:
    """Requests of all kinds, some with the needle's beginning."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        ids = tuple(rng.randrange(5, 290) for _ in range(rng.randint(1, 60)))
        if rng.random() < 0.3:
            ids = (*NEEDLE.prompt[: rng.randint(1, len(NEEDLE.prompt))], *ids)
        sampling = Sampling(temperature=rng.choice([0.0, 1.0]), max_tokens=rng.randint(1, 16), ignore_eos=True)
        made.append(Request(ids, sampling, key=number, logprobs=rng.random() < 0.5, priority=rng.randint(-1, 1)))
    return made


NEEDLE = Request(
    tuple(random.Random(0).randrange(5, 290) for _ in range(50)),
    Sampling(temperature=1.0, top_p=0.95, max_tokens=16, ignore_eos=True),
    key=77,
    prompt_logprobs=True,
    top_logprobs=3,
)


@pytest.mark.parametrize("options", [{}, {"max_batch_tokens": 37, "chunk": 16}, {"kv_tokens": 1024}], ids=str)
def test_needle_has_the_same_bits_alone_and_in_a_crowd(tiny: Path, options: dict[str, Any]) -> None:
    alone = finish(load_engine(tiny), [NEEDLE])[0]
    engine = load_engine(tiny, **options)
    for round in range(3):
        place = random.Random(round).randrange(64)
        others = crowd(63, round)
        found = finish(engine, [*others[:place], NEEDLE, *others[place:]])[place]
        assert (found.tokens, found.text) == (alone.tokens, alone.text)
        for name in ("logprobs", "prompt_logprobs", "top_logprobs"):
            assert getattr(found, name) == getattr(alone, name), f"{name} differ in their last bits"
    engine.close()


def test_draws_do_not_depend_on_the_order_of_arrival(tiny: Path) -> None:
    requests = crowd(20, 9)
    straight = [c.tokens for c in finish(load_engine(tiny), requests)]
    order = random.Random(4).sample(range(20), 20)
    mixed = finish(load_engine(tiny, max_running=3), [requests[i] for i in order])
    assert [mixed[order.index(i)].tokens for i in range(20)] == straight


def test_n_forks_compute_the_prompt_once_however_they_are_asked_for(tiny: Path) -> None:
    with Engine.load(tiny) as engine:
        one = engine.generate(STORY, n=8, temperature=1.0, max_tokens=6, ignore_eos=True)
        assert isinstance(one, Generation)
        assert engine.stats().computed_tokens == len(one.prompt)
        single = [
            engine.generate(STORY, n=k, temperature=1.0, max_tokens=6, ignore_eos=True).texts[k - 1] for k in (1, 4, 8)
        ]
        assert single == [one.texts[k - 1] for k in (1, 4, 8)], "the k-th of several is the same however many there are"
        assert len(set(one.texts)) > 4
