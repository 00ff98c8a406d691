"""Bias, penalties, allowed and bad ids: the formulas against transformers and a naive twin, one row at a time."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.generation import logits_process as theirs

from lampc.backend.api import EngineInfo
from lampc.backend.errors import BackendError
from lampc.backend.job import Job, check_request
from lampc.backend.plan import Want
from lampc.backend.request import Handle, Request, Sampling
from lampc.backend.sampler import resolve
from lampc.backend.shaping import Shaper, edit
from lampc.backend.tokenizer import ByteTokenizer

VOCAB = 260
INFO = EngineInfo("test", VOCAB, 4000, 0, 16, True, "test")
Row = NDArray[np.float32]


def shaped(logits: Row, sampling: Sampling, prompt: tuple[int, ...], output: list[int]) -> Row:
    """What is drawn from: the logits with everything done to them, forbidden ones -inf."""
    shaper = Shaper(sampling, prompt, len(logits))
    row = logits.copy()
    edits = shaper.edits(output)
    if edits is not None:
        edit(row, edits)
    mask, banned = shaper.narrowed(output, None, frozenset())
    row[list(banned)] = -np.inf
    if mask is not None:
        row[np.unpackbits(mask.view(np.uint8), count=len(row), bitorder="little") == 0] = -np.inf
    return row


def naive(logits: Row, s: Sampling, prompt: tuple[int, ...], output: list[int]) -> Row:
    """The twin: every token of the vocabulary by itself, all of the history looked through for it."""
    row = logits.copy()
    bias = dict(s.logit_bias)
    for i in range(len(row)):
        z = row[i] + np.float32(bias.get(i, 0.0))
        if i in prompt or i in output:
            r = np.float32(s.repetition_penalty)
            z = z * r if z < 0 else z / r
        z -= np.float32(s.frequency_penalty) * np.float32(output.count(i))
        z -= np.float32(s.presence_penalty) * np.float32(i in output)
        said = [*prompt, *output, i]
        if any(said[len(said) - len(word) :] == list(word) for word in s.bad_ids if len(word) <= len(said)):
            z = np.float32(-np.inf)
        row[i] = z if s.allowed_ids is None or i in s.allowed_ids else -np.inf
    return row


def noise(seed: int = 0) -> Row:
    return np.random.default_rng(seed).normal(0, 4, VOCAB).astype(np.float32)


def processed(processor: Any, ids: list[int], logits: Row) -> Row:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Row = processor(torch.tensor([ids]), torch.from_numpy(logits)[None])[0].numpy()
    return found


# -- against transformers and OpenAI's formula -----------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.5, 1.1, 1.3, 7.0])
def test_repetition_penalty_is_that_of_transformers_to_the_bit(penalty: float) -> None:
    prompt, output = (5, 9, 9, 100), [7, 5, 259]
    right = processed(theirs.RepetitionPenaltyLogitsProcessor(penalty), [*prompt, *output], noise())
    assert (shaped(noise(), Sampling(repetition_penalty=penalty), prompt, output) == right).all()


def test_bias_is_that_of_transformers_to_the_bit() -> None:
    bias = ((3, 2.5), (8, -1.75), (200, -100.0))
    right = processed(theirs.SequenceBiasLogitsProcessor([[[i], b] for i, b in bias]), [1, 2], noise())
    assert (shaped(noise(), Sampling(logit_bias=bias), (1,), [2]) == right).all()


@pytest.mark.parametrize("ids", [[5], [5, 6], [5, 6, 7], [6, 7], [1, 2, 3, 5, 6, 7], [9, 5, 6]], ids=str)
@pytest.mark.parametrize("split", [1, 2, 99])
def test_bad_ids_are_those_of_transformers(ids: list[int], split: int) -> None:
    words = ((5,), (6, 7), (5, 6, 7), (5, 6, 8), (3, 5, 6, 7, 1), (0, 0, 0, 0, 0, 0, 0, 0, 4))
    prompt, output = tuple(ids[:split]), ids[split:]
    right = processed(theirs.NoBadWordsLogitsProcessor([list(w) for w in words]), ids, noise())
    assert (shaped(noise(), Sampling(bad_ids=words), prompt, output) == right).all()


def test_allowed_ids_are_those_of_a_prefix_that_transformers_constrains() -> None:
    allowed = (0, 31, 32, 63, 259)
    right = processed(theirs.PrefixConstrainedLogitsProcessor(lambda batch, ids: list(allowed), 1), [4], noise())
    assert (shaped(noise(), Sampling(allowed_ids=allowed), (4,), []) == right).all()


def test_presence_and_frequency_are_those_of_openai() -> None:
    """mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence, with c of the generated text alone."""
    output = [7, 7, 7, 5, 9]
    count = np.bincount(output, minlength=VOCAB)
    right = noise().astype(np.float64) - count * 0.6 - (count > 0) * -0.35
    sampling = Sampling(presence_penalty=-0.35, frequency_penalty=0.6)
    assert shaped(noise(), sampling, (11, 7), output) == pytest.approx(right, abs=1e-6)


def test_the_order_is_that_of_transformers() -> None:
    """Bias, then repetition, then what is forbidden."""
    ids, bias, words = [5, 9, 30], ((9, 3.0), (12, -2.0)), ((30, 4), (2,))
    right = noise(3)
    for step in (
        theirs.SequenceBiasLogitsProcessor([[[i], b] for i, b in bias]),
        theirs.RepetitionPenaltyLogitsProcessor(1.4),
        theirs.NoBadWordsLogitsProcessor([list(w) for w in words]),
    ):
        right = processed(step, ids, right)
    sampling = Sampling(logit_bias=bias, repetition_penalty=1.4, bad_ids=words)
    assert (shaped(noise(3), sampling, (5,), [9, 30]) == right).all()


# -- against the naive twin ------------------------------------------------------------------------------

SHAPES = st.builds(
    Sampling,
    presence_penalty=st.sampled_from([0.0, 0.7, -1.5]),
    frequency_penalty=st.sampled_from([0.0, 0.3, -0.2]),
    repetition_penalty=st.sampled_from([1.0, 1.2, 0.8]),
    logit_bias=st.sampled_from([(), ((3, 1.5), (7, -2.25))]),
    allowed_ids=st.sampled_from([None, None, (2, 3, 4, 33), tuple(range(0, 40, 3))]),
    bad_ids=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
)


@settings(deadline=None, max_examples=80)
@given(
    sampling=SHAPES,
    prompt=st.lists(st.integers(0, 8), min_size=1, max_size=6).map(tuple),
    output=st.lists(st.integers(0, 8), max_size=12),
    jumps=st.integers(1, 4),
)
def test_growing_state_says_what_the_whole_history_does(
    sampling: Sampling, prompt: tuple[int, ...], output: list[int], jumps: int
) -> None:
    logits = noise(len(output))[:40]
    shaper = Shaper(sampling, prompt, 40)
    for end in range(0, len(output) + 1, jumps):  # the same place twice, as after a step that was taken back
        for _ in range(2):
            row, edits = logits.copy(), shaper.edits(output[:end])
            if edits is not None:
                edit(row, edits)
        mask, banned = shaper.narrowed(output[:end], None, frozenset())
        row[list(banned)] = -np.inf
        if mask is not None:
            row[np.unpackbits(mask.view(np.uint8), count=40, bitorder="little") == 0] = -np.inf
        assert (row == naive(logits, sampling, prompt, output[:end])).all()


def test_many_tokens_are_counted() -> None:
    output = [(i * i) % 250 for i in range(900)]
    sampling = Sampling(frequency_penalty=0.1, repetition_penalty=1.1)
    assert (shaped(noise(), sampling, (1, 2), output) == naive(noise(), sampling, (1, 2), output)).all()


def test_an_interrupt_while_it_counts_counts_nothing_twice() -> None:
    class Interrupted(list[int]):
        def __iter__(self) -> Iterator[int]:
            yield from (3, 3)
            raise KeyboardInterrupt

        def __getitem__(self, at: Any) -> Any:
            return self

    sampling = Sampling(frequency_penalty=0.5, repetition_penalty=1.1)
    shaper = Shaper(sampling, (1, 2), VOCAB)
    with pytest.raises(KeyboardInterrupt):
        shaper.edits(Interrupted())
    row, edits = noise(), shaper.edits([3, 3, 4])
    assert edits is not None
    edit(row, edits)
    assert (row == naive(noise(), sampling, (1, 2), [3, 3, 4])).all()


# -- processors --------------------------------------------------------------------------------------------


def draw(sampling: Sampling, logits: Row, output: tuple[int, ...] = ()) -> int:
    job = Job(Handle(0, Request((1, 2), sampling, forced=output)), ByteTokenizer(), INFO)
    (drawn,) = resolve([Want(job, len(job.ids) - 1, [0], True)], logits[None])
    assert drawn.token is not None
    return drawn.token


def test_processors_are_told_everything_and_run_one_after_the_other() -> None:
    told = []

    def lift(prompt: Any, output: Any, logits: Row) -> None:
        told.append((prompt, output))
        logits[200] += 1000

    def move(prompt: Any, output: Any, logits: Row) -> Any:
        return torch.from_numpy(logits).roll(1)

    before = noise()
    assert draw(Sampling(logits_processors=(lift, move)), before, (7, 8)) == 201
    assert told == [((1, 2), (7, 8))]
    assert (before == noise()).all(), "the model's logits are left as they were"
    with pytest.raises(BackendError, match=r"gave values \(3,\); it was given logits \(260,\)"):
        draw(Sampling(logits_processors=(lambda *told: np.zeros(3),)), noise())


def test_what_is_forbidden_no_processor_can_allow() -> None:
    def wish(prompt: Any, output: Any, logits: Row) -> None:
        logits[:] = 0
        logits[3] = 9

    assert draw(Sampling(logits_processors=(wish,)), noise()) == 3
    assert draw(Sampling(logits_processors=(wish,), bad_ids=((2, 3),)), noise()) == 0
    assert draw(Sampling(logits_processors=(wish,), bad_ids=((9, 3),)), noise()) == 3
    assert draw(Sampling(logits_processors=(wish,), allowed_ids=(7, 8)), noise()) == 7


def test_forbidding_everything_is_an_error_that_says_so() -> None:
    with pytest.raises(BackendError, match="options forbid everything"):
        draw(Sampling(allowed_ids=(7,), bad_ids=((7,),)), noise())


# -- what can be asked for -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"presence_penalty": float("nan")}, "presence_penalty is nan; give a number"),
        ({"frequency_penalty": "2"}, "frequency_penalty is '2'"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; give a number above 0"),
        ({"logit_bias": {3: 1.0}}, "give pairs of a token id and a number"),
        ({"logit_bias": ((3, float("inf")),)}, "logit_bias of token 3 is inf"),
        ({"logit_bias": ((-3, 1.0),)}, "the key -3; give token ids"),
        ({"logit_bias": ((3, 1.0), (3, 2.0))}, "each token id once"),
        ({"allowed_ids": ()}, "allowed_ids is"),
        ({"allowed_ids": [1, 2]}, "give a tuple of token ids, at least one"),
        ({"bad_ids": ((1, 2), ())}, r"bad_ids\[1\] is \(\)"),
        ({"bad_ids": (1, 2)}, r"bad_ids\[0\] is 1"),
        ({"logits_processors": ("upper",)}, "give a tuple of functions"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


@pytest.mark.parametrize("name", ["logit_bias", "allowed_ids", "bad_ids"])
def test_ids_past_the_vocabulary_are_refused(name: str) -> None:
    value: Any = {"logit_bias": ((260, 1.0),), "allowed_ids": (260,), "bad_ids": ((3, 260),)}[name]
    with pytest.raises(ValueError, match=rf"{name}.* is 260; the vocabulary has ids 0 to 259"):
        check_request(Request((1,), Sampling(**{name: value})), INFO)


def test_who_asks_for_nothing_pays_nothing() -> None:
    job = Job(Handle(0, Request((1,), Sampling())), ByteTokenizer(), INFO)
    assert job.shaper is None
    assert job.plain
    still = Job(Handle(0, Request((1,), Sampling(logit_bias=((1, 2.0),), bad_ids=((5,),)))), ByteTokenizer(), INFO)
    assert not still.plain
    assert not still.synchronous, "what needs no tokens on the host is launched ahead"
    assert Job(Handle(0, Request((1,), Sampling(presence_penalty=1.0))), ByteTokenizer(), INFO).synchronous
