"""Requests with penalties, bias and forbidden tokens in engines: as transformers generates, and the same alone, in a
crowd, preempted, launched ahead and under a grammar."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lampc.backend import Engine, TokenEngine, load_engine
from lampc.backend.grammar.texts import choice, regex
from lampc.backend.options import spelt, wanted
from lampc.backend.request import Completion, Request, Sampling
from lampc.backend.results import likeliest_of
from tests.backend.test_exact import finish
from tests.backend.test_grammar import run

PROMPT = tuple(range(10, 40))
STORY = "the cat sat on the mat and saw"


# -- as transformers generates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "options"),
    [
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"bad_ids": ((7,), (12, 20))}, {"bad_words_ids": [[7], [12, 20]]}),
        ({"logit_bias": ((50, 9.0), (60, -3.0))}, {"sequence_bias": [[[50], 9.0], [[60], -3.0]]}),
        ({"allowed_ids": (40, 50, 60, 70)}, {"prefix_allowed_tokens_fn": lambda batch, ids: [40, 50, 60, 70]}),
        (
            {"repetition_penalty": 1.2, "logit_bias": ((50, 2.0),), "bad_ids": ((50, 50),)},
            {"repetition_penalty": 1.2, "sequence_bias": [[[50], 2.0]], "bad_words_ids": [[50, 50]]},
        ),
    ],
    ids=["repetition", "bad", "bias", "allowed", "all"],
)
def test_greedy_tokens_are_those_of_transformers(tiny: Path, ours: dict[str, Any], options: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    out = model.generate(
        torch.tensor([PROMPT]), max_new_tokens=30, do_sample=False, eos_token_id=None, pad_token_id=0, **options
    )
    engine = load_engine(tiny)
    plain, shaped = finish(
        engine, [Request(PROMPT, Sampling(max_tokens=30, ignore_eos=True, **more)) for more in ({}, ours)]
    )
    assert list(shaped.tokens) == out[0, len(PROMPT) :].tolist()
    # What this model repeats decides whether a penalty shows; the others must.
    assert shaped.tokens != plain.tokens or ours.keys() == {"bad_ids"}
    engine.close()


def test_a_function_does_what_a_processor_of_transformers_does(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM
    from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor

    inner = NoRepeatNGramLogitsProcessor(2)

    def ours(prompt: Any, output: Any, logits: Any) -> Any:
        return inner(torch.tensor([[*prompt, *output]]), torch.from_numpy(logits)[None])[0].numpy()  # type: ignore[arg-type]

    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    out = model.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=30,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        no_repeat_ngram_size=2,
    )
    engine = load_engine(tiny)
    sampling = Sampling(max_tokens=30, ignore_eos=True, logits_processors=(ours,))
    (done,) = finish(engine, [Request(PROMPT, sampling)])
    assert list(done.tokens) == out[0, len(PROMPT) :].tolist()
    engine.close()


# -- nothing around a request changes what it gets -----------------------------------------------------------


def _dampen(prompt: Any, output: Any, logits: Any) -> Any:
    """Holds back what the last token and the prompt's first one say."""
    logits[(output[-1] if output else 0) :: 7] -= np.float32(1 + prompt[0] % 3)
    return logits


def requests(rng: random.Random, count: int) -> list[Request]:
    made = []
    for _ in range(count):
        prompt = tuple((7 * i) % 290 for i in range(rng.randint(1, 40)))
        some = tuple(sorted(rng.sample(range(290), 200)))
        sampling = Sampling(
            rng.choice([0.0, 1.3]),
            top_k=rng.choice([0, 3]),
            top_p=rng.choice([1.0, 0.9]),
            max_tokens=rng.choice([3, 30, 30]),
            min_tokens=rng.choice([0, 0, 2]),
            ignore_eos=rng.random() < 0.2,
            stop=rng.choice([(), (), ("e",)]),
            presence_penalty=rng.choice([0.0, 0.8, -0.5]),
            frequency_penalty=rng.choice([0.0, 0.4]),
            repetition_penalty=rng.choice([1.0, 1.0, 1.3]),
            logit_bias=rng.choice([(), ((40, 3.0), (41, -9.0))]),
            allowed_ids=rng.choice([None, None, some]),
            bad_ids=rng.choice([(), (), ((some[0],), some[1:3])]),
            logits_processors=rng.choice([(), (), (_dampen,)]),
        )
        told: dict[str, Any] = rng.choice([{}, {}, {"logprobs": True}, {"top_logprobs": 2}, {"prompt_logprobs": True}])
        grammar = rng.choice([None, None, choice(["yes", "no", "nobody knows"]), regex("[a-c]{2,9}(-[0-9]{1,3})?")])
        made.append(Request(prompt, sampling, rng.getrandbits(64), grammar=grammar, priority=rng.randint(0, 1), **told))
    return made


@pytest.fixture(scope="module")
def naive(tiny: Path) -> Iterator[TokenEngine]:
    engine = load_engine(tiny, kind="naive")
    yield engine
    engine.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_running": 2, "max_batch_tokens": 5, "block_size": 4},
        {"kv_tokens": 128, "block_size": 3, "max_running": 12},
        {"kv_tokens": 128, "block_size": 3, "max_running": 12, "async_scheduling": True},
    ],
    ids=["usual", "narrow", "preempted", "ahead"],
)
def test_a_request_gets_the_same_alone_and_in_a_crowd(tiny: Path, naive: TokenEngine, options: dict[str, Any]) -> None:
    rng = random.Random(len(options))
    engine = load_engine(tiny, **options)
    asked = requests(rng, 40)
    engine._scheduler.lengths.add(1)  # type: ignore[attr-defined]  # too many are let in, and some have to go
    alone = run(naive, asked)
    assert sum(done.finish in ("stop", "length") for done in alone) > 35
    for again in range(2):  # the second time from the cache
        for request, mine, right in zip(asked, run(engine, asked), alone, strict=True):
            for name in ("tokens", "text", "finish", "stop_reason", "logprobs", "top_logprobs", "forced_tokens"):
                assert getattr(mine, name) == getattr(right, name), (again, name, request)
    assert engine.stats().preemptions > 0 or "kv_tokens" not in options
    engine.reset_cache()
    assert engine.stats().used_blocks == 0
    engine.close()


def test_options_show(tiny: Path) -> None:
    engine = load_engine(tiny)
    told: dict[str, Any] = {"max_tokens": 40, "ignore_eos": True, "temperature": 1.0}
    base, frequent, present, apart = finish(
        engine,
        [
            Request(PROMPT, Sampling(**told, **more), 5)
            for more in ({}, {"frequency_penalty": 9.0}, {"presence_penalty": 1e4}, {"repetition_penalty": 1e4})
        ],
    )
    assert len(set(base.tokens)) < len(base.tokens)
    assert len(set(frequent.tokens)) > len(set(base.tokens))
    assert len(set(present.tokens)) == len(present.tokens)
    assert not set(apart.tokens) & {*PROMPT}
    engine.close()


def test_logprobs_are_those_of_the_model(tiny: Path) -> None:
    engine = load_engine(tiny)
    shaped = Sampling(max_tokens=8, ignore_eos=True, logit_bias=((50, 100.0),), bad_ids=((50, 50),))
    (done,) = finish(engine, [Request(PROMPT, shaped, logprobs=True)])
    (scored,) = finish(engine, [Request(PROMPT, score=done.tokens)])
    assert done.tokens[0] == 50
    assert done.tokens[1] != 50
    assert done.logprobs == scored.logprobs
    engine.close()


def test_a_processor_that_raises_ends_its_request_alone(tiny: Path) -> None:
    def broken(prompt: Any, output: Any, logits: Any) -> None:
        if len(output) == 2:
            raise KeyError("no such word")

    engine = load_engine(tiny)
    good = Request(PROMPT, Sampling(max_tokens=6, ignore_eos=True))
    bad = Request(PROMPT, Sampling(max_tokens=6, logits_processors=(broken,), ignore_eos=True))
    (right,) = finish(engine, [good])
    handles = [engine.submit(r) for r in (good, bad, good)]
    engine.run()
    first, failed, last = (h.completion for h in handles)
    assert first is not None
    assert failed is not None
    assert last is not None
    assert first.tokens == last.tokens == right.tokens
    assert failed.finish == "error"
    assert "KeyError" in (failed.error or "")
    assert len(failed.tokens) == 2
    engine.check()
    engine.close()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_grammar_and_the_rest_hold_together_and_the_grammar_goes_first(tiny: Path, temperature: float) -> None:
    with Engine.load(tiny) as engine:
        told: dict[str, Any] = {"temperature": temperature, "max_tokens": 9}
        texts = ["yes", "no", "maybe"]
        begins = [[i for i in range(290) if engine.tokenizer.decode([i])[:1] == text[0]] for text in texts]
        for i, only in enumerate(texts):
            others = [t for k, some in enumerate(begins) if k != i for t in some]
            rest, bias = [t for t in range(290) if t not in others], dict.fromkeys(begins[i], 99)
            for seed in range(3):
                told["seed"] = seed
                assert engine.generate(STORY, choice=texts, bad_ids=[[t] for t in others], **told).text == only
                assert engine.generate(STORY, choice=texts, allowed_ids=rest, **told).text == only
                assert engine.generate(STORY, choice=texts, logit_bias=bias, **told).text == only
        assert engine.generate(STORY, choice=texts, bad_ids=[[t] for t in range(290)], **told).text in texts
        assert engine.generate(STORY, choice=texts, allowed_ids=[5], **told).text in texts


# -- the user's engine -----------------------------------------------------------------------------------------


def test_words_and_mappings_as_options(tiny: Path) -> None:
    with Engine.load(tiny) as engine:
        words = spelt([" cat"], engine.tokenizer) + spelt(["cat"], engine.tokenizer)
        assert tuple(engine.tokenizer.encode(" cat")) in words
        assert tuple(engine.tokenizer.encode("cat")) in words
        told: dict[str, Any] = {"max_tokens": 20, "ignore_eos": True}
        free = engine.generate(STORY, **told)
        seen = engine.tokenizer.decode([free.tokens[0]])
        without = engine.generate(STORY, bad_ids=[[free.tokens[0]]], bad_words=["mat", "hat"], **told)
        assert free.tokens[0] not in without.tokens, seen
        up = engine.generate(STORY, logit_bias={"77": 100}, **told)
        assert set(up.tokens) == {77}
        assert engine.generate(STORY, logit_bias=[(77, 100.0)], **told).tokens == up.tokens
        assert set(engine.generate(STORY, allowed_ids=[3, 4], temperature=1.0, **told).tokens) <= {3, 4}
        with pytest.raises(ValueError, match="logit_bias has the key 'a'"):
            engine.generate(STORY, logit_bias={"a": 1.0})  # type: ignore[dict-item]
        with pytest.raises(ValueError, match="logit_bias has the key 7"):
            engine.generate(STORY, logit_bias={"7": 1.0, 7: 2.0})  # type: ignore[dict-item]
        with pytest.raises(ValueError, match="bad_words"):
            engine.generate(STORY, bad_words=[" "])


def test_best_of_gives_the_likeliest(tiny: Path) -> None:
    told: dict[str, Any] = {"temperature": 1.0, "max_tokens": 8, "ignore_eos": True, "seed": 3}
    with Engine.load(tiny) as engine:
        every = engine.generate(STORY, n=6, logprobs=True, **told)
        best = engine.generate(STORY, n=2, best_of=6, **told)
        order = sorted(every.completions, key=lambda c: -sum(c.logprobs or ()) / len(c.tokens))
        assert best.texts == tuple(c.text for c in order[:2])
        assert best.completions[0].logprobs is None, "nobody asked for them"
        kept = engine.generate(STORY, best_of=6, logprobs=True, prompt_logprobs=True, **told)
        assert kept.completions[0].logprobs == order[0].logprobs
        assert kept.completions[0].prompt_logprobs is not None
        assert engine.generate(STORY, n=6, best_of=6, **told).texts == every.texts
        with pytest.raises(ValueError, match="best_of is 1; give at least n, which is 2"):
            engine.generate(STORY, n=2, best_of=1)
        with pytest.raises(ValueError, match="a stream is one generation"):
            engine.stream(STORY, best_of=2)


def test_the_likeliest_has_tokens_and_did_not_fail() -> None:
    def made(finish: Any, *logprobs: float) -> Completion:
        return Completion(tuple(range(len(logprobs))), "", finish, logprobs=logprobs)

    none, late, long, short = made("stop"), made("timeout", -0.1), made("length", -1.0, -1.0, -1.0), made("stop", -1.5)
    assert likeliest_of([none, late, short, long], 2) == [long, short]
    assert likeliest_of([none, late], 2) == [none, late]


def test_options_of_lines_are_read() -> None:
    want = wanted(None, {"logit_bias": {"5": -1}, "bad_ids": [[1, 2]], "allowed_ids": [4, 5]}, "a line")
    assert want.sampling == Sampling(logit_bias=((5, -1),), bad_ids=((1, 2),), allowed_ids=(4, 5))
