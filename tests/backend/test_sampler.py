"""Draws: determinism, filters against transformers, distribution, and rows that know nothing of each other."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lampc.backend.errors import BackendError
from lampc.backend.random_keys import fork_key, mix, prompt_key, uniform
from lampc.backend.request import Sampling
from lampc.backend.sampler import Draw, draw_rows, likeliest, log_probs

NONE: frozenset[int] = frozenset()
Row = NDArray[np.float32]


def row(*values: float) -> Row:
    return np.array(values, np.float32)


def draw(logits: Row, sampling: Sampling, key: int, index: int, banned: frozenset[int] = NONE) -> int:
    return draw_rows(logits[None], [Draw(sampling, key, index, banned)])[0]


def kept(logits: Row, sampling: Sampling, tries: int = 3000) -> set[int]:
    """Ids that come out, over many keys."""
    many = np.broadcast_to(logits, (tries, len(logits)))
    return set(draw_rows(many, [Draw(sampling, key, 0) for key in range(tries)]))


# -- keys ---------------------------------------------------------------------------------------------


def test_generator_is_fixed_for_all_time() -> None:
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the published first output of SplitMix64(0)
    assert [uniform(k, i) for k, i in ((0, 0), (1, 0), (2**64 - 1, 7))] == pytest.approx(
        [0.8833108082136426, 0.7497482413580301, 0.7741445495399422]
    )
    assert prompt_key(0, (1, 2, 3)) == prompt_key(0, [1, 2, 3]) == 12234059789454968043
    assert [fork_key(5, 0), fork_key(5, 1)] == [5, 7173803000746797115]


def test_uniform_numbers_look_uniform() -> None:
    numbers = np.array([uniform(key, i) for key in range(50) for i in range(100)])
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.05


def test_forks_and_prompts_have_streams_of_their_own() -> None:
    keys = [fork_key(key, fork) for key in (0, 1, 2**64 - 1) for fork in range(300)]
    keys += [prompt_key(seed, ids) for seed in (0, 1, 10) for ids in ((1,), (11,), (1, 1), (0, 1), ())]
    assert len(set(keys)) == len(keys)
    numbers = np.array([[uniform(key, i) for i in range(40)] for key in keys[:300]])
    assert np.abs(np.corrcoef(numbers.T)[np.triu_indices(40, 1)]).max() < 0.3
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.05


# -- greedy, distribution -----------------------------------------------------------------------------


def test_greedy_takes_the_first_of_equals() -> None:
    assert draw(row(1, 3, 3, 2), Sampling(), 5, 0) == 1
    assert draw(row(1, 3, 3, 2), Sampling(), 5, 0, frozenset({1, 99})) == 2


CASES = [
    (Sampling(temperature=1.0), [0.1, 0.2, 0.3, 0.4]),
    (Sampling(temperature=0.5), [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
    (Sampling(temperature=1.0, top_k=2), [0, 0, 3 / 7, 4 / 7]),
    (Sampling(temperature=1.0, top_k=99), [0.1, 0.2, 0.3, 0.4]),
    (Sampling(temperature=1.0, top_p=0.8), [0, 2 / 9, 3 / 9, 4 / 9]),
    (Sampling(temperature=1.0, top_p=0.01), [0, 0, 0, 1]),
    (Sampling(temperature=1.0, top_k=3, top_p=0.5), [0, 0, 3 / 7, 4 / 7]),
    (Sampling(temperature=1.0, min_p=0.6), [0, 0, 3 / 7, 4 / 7]),
    (Sampling(temperature=1.0, min_p=1.0), [0, 0, 0, 1]),
    (Sampling(temperature=0.5, min_p=0.2), [0, 4 / 29, 9 / 29, 16 / 29]),
    (Sampling(temperature=1.0, top_p=0.8, min_p=0.6), [0, 0, 3 / 7, 4 / 7]),
]


@pytest.mark.parametrize(("sampling", "expected"), CASES)
def test_draws_have_the_wanted_distribution(sampling: Sampling, expected: list[float]) -> None:
    """Pearson's chi-square over 20,000 fixed keys, below the 99.9 % quantile."""
    tries = 20_000
    logits = np.broadcast_to(np.log(row(0.1, 0.2, 0.3, 0.4)), (tries, 4))
    drawn = draw_rows(logits, [Draw(sampling, mix(key), key % 7) for key in range(tries)])
    counts = np.bincount(drawn, minlength=4)
    likely = [i for i, p in enumerate(expected) if p > 0]
    assert counts.sum() == counts[likely].sum()
    chi = sum((counts[i] - tries * expected[i]) ** 2 / (tries * expected[i]) for i in likely)
    assert chi < {0: 1e-9, 1: 10.83, 2: 13.82, 3: 16.27}[len(likely) - 1]


def test_two_tokens_of_one_request_are_independent() -> None:
    """Chi-square of 2 x 2 tokens drawn one after the other against the product of their probabilities."""
    tries = 8000
    logits = np.log(row(0.5, 0.2, 0.3))
    pairs = np.zeros((3, 3))
    for key in range(tries):
        a, b = draw_rows(np.stack([logits, logits]), [Draw(Sampling(temperature=1.0), key, i) for i in (0, 1)])
        pairs[a, b] += 1
    p = np.exp(logits.astype(np.float64))
    expected = tries * np.outer(p, p)
    assert ((pairs - expected) ** 2 / expected).sum() < 26.12  # 8 degrees of freedom, 99.9 %


# -- filters against transformers -----------------------------------------------------------------------


def reference(logits: Row, sampling: Sampling) -> NDArray[np.float64]:
    """Probabilities by transformers' processors, in its order, in float64."""
    import torch
    from transformers import LogitsProcessorList
    from transformers.generation import logits_process as p

    steps = LogitsProcessorList([p.TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        steps.append(p.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        steps.append(p.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(p.MinPLogitsWarper(sampling.min_p))
    scores = steps(torch.zeros(1, 1, dtype=torch.int64), torch.from_numpy(logits.astype(np.float64))[None])
    result: NDArray[np.float64] = torch.softmax(scores, -1)[0].numpy()
    return result


def probabilities(logits: Row, sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """What `draw_rows` gives each token, read off the sums that it inverts."""
    import lampc.backend.sampler as sampler

    found = np.zeros(len(logits))
    pick = sampler._pick
    seen: list[NDArray[np.float64]] = []

    def spy(sums: NDArray[np.float64], u: float) -> int:
        seen.append(sums)
        return pick(sums, u)

    monkeypatch.setattr(sampler, "_pick", spy)
    draw(logits, sampling, 0, 0)
    (sums,) = seen
    shares = np.diff(sums, prepend=0.0) / sums[-1]
    # Which token owns which share: put the uniform number into the middle of each.
    for share, left in zip(shares, sums - np.diff(sums, prepend=0.0), strict=True):
        if share > 1e-12:
            monkeypatch.setattr(sampler, "uniform", lambda key, index, u=(left / sums[-1] + share / 2): u)
            found[draw(logits, sampling, 0, 0)] = share
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("vocab", [7, 300, 5000])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.3, top_k=5),
        Sampling(temperature=1.0, top_p=0.9),
        Sampling(temperature=2.5, top_p=0.97),
        Sampling(temperature=1.0, min_p=0.05),
        Sampling(temperature=0.8, top_k=40, top_p=0.8),
        Sampling(temperature=1.5, top_p=0.95, min_p=0.1),
        Sampling(temperature=1.2, top_k=6, top_p=0.99, min_p=0.02),
        Sampling(temperature=1.0, top_p=0.999, min_p=0.001),
    ],
    ids=lambda s: f"T{s.temperature} k{s.top_k} p{s.top_p} m{s.min_p}",
)
def test_filters_are_those_of_transformers(vocab: int, sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(vocab).normal(0, 2.5, vocab).astype(np.float32)
    expected = reference(logits, sampling)
    found = probabilities(logits, sampling, monkeypatch)
    assert set(np.flatnonzero(found)) == set(np.flatnonzero(expected > 1e-12))
    assert found == pytest.approx(expected, abs=1e-9)


def test_ties_at_the_edge_of_a_filter_go_to_the_lowest_ids() -> None:
    """transformers keeps all tokens that tie with the k-th; here k are kept."""
    logits = row(1, 2, 2, 2, 0)
    assert kept(logits, Sampling(temperature=1.0, top_k=2)) == {1, 2}
    assert kept(logits, Sampling(temperature=1.0, top_p=0.5)) == {1, 2}
    assert likeliest(logits, 3).tolist() == [1, 2, 3]
    assert likeliest(logits, 9).tolist() == [1, 2, 3, 0, 4]


@given(
    values=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20),
    temperature=st.floats(1e-4, 100),
    top_k=st.integers(0, 25),
    top_p=st.floats(0.001, 1.0),
    min_p=st.floats(0.0, 1.0),
    key=st.integers(0, 2**64 - 1),
)
def test_never_draws_what_is_filtered(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float, key: int
) -> None:
    logits = row(*values)
    banned = frozenset({0}) if len(values) > 1 else NONE
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    token = draw(logits, sampling, key, 0, banned)
    assert 0 <= token < len(values)
    assert token not in banned
    allowed = np.delete(logits, list(banned))
    if top_k:
        assert (allowed > logits[token]).sum() < top_k
    assert math.exp((float(logits[token]) - float(allowed.max())) / temperature) >= min_p


# -- rows together --------------------------------------------------------------------------------------

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.0, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 7, 400]),
    top_p=st.sampled_from([1.0, 0.5, 0.95]),
    min_p=st.sampled_from([0.0, 0.05]),
)


@settings(deadline=None, max_examples=60)
@given(
    draws=st.lists(
        st.builds(
            Draw,
            SAMPLINGS,
            st.integers(0, 2**64 - 1),
            st.integers(0, 9),
            st.sampled_from([NONE, NONE, frozenset({0, 5})]),
        ),
        min_size=1,
        max_size=20,
    ),
    vocab=st.sampled_from([9, 301, 40_000]),
    seed=st.integers(0, 99),
)
def test_a_row_of_a_batch_is_the_row_alone(draws: list[Draw], vocab: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (len(draws), vocab)).astype(np.float32)
    before = logits.copy()
    together = draw_rows(logits, draws)
    assert np.array_equal(before, logits), "the logits are left as they were"
    assert together == [draw_rows(logits[i : i + 1].copy(), [d])[0] for i, d in enumerate(draws)]
    tokens = [(7 * i) % vocab for i in range(len(draws))]
    tops = [i % 4 for i in range(len(draws))]
    found, best = log_probs(logits, tokens, tops)
    for i in range(len(draws)):
        one, few = log_probs(logits[i : i + 1].copy(), tokens[i : i + 1], tops[i : i + 1])
        assert one == found[i : i + 1], "to the last bit"
        assert few == best[i : i + 1]


def test_broken_logits_raise() -> None:
    for values in ((1.0, float("nan")), (float("-inf"), float("-inf"))):
        with pytest.raises(BackendError, match="not finite"):
            draw_rows(np.stack([row(1, 2), row(*values)]), [Draw(Sampling(), 0, 0)] * 2)


def test_log_probs() -> None:
    logits = np.log(row(0.1, 0.2, 0.7))[None]
    found, best = log_probs(logits, [2], [2])
    assert found == pytest.approx([np.log(0.7)])
    assert [i for i, _ in best[0]] == [2, 1]
    assert [p for _, p in best[0]] == pytest.approx([np.log(0.7), np.log(0.2)])
    assert best[0][0][1] == found[0]
    wild = np.random.default_rng(3).normal(0, 5, (1, 4000)).astype(np.float32)
    found, best = log_probs(wild, [0], [4000])
    chances = [p for _, p in best[0]]
    assert math.fsum(math.exp(p) for p in chances) == pytest.approx(1.0)
    assert all(a >= b for a, b in pairwise(chances))
    assert dict(best[0])[0] == found[0]
