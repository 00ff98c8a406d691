"""Tokens drawn by the kernel are those that numpy draws, whatever filters, masks and edits they are drawn under."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lampc.backend.bare_draws import BARE, bare_of
from lampc.backend.errors import BackendError
from lampc.backend.grammar.matcher import allows
from lampc.backend.native.build import NoKernels
from lampc.backend.native.drawing import native_kernel
from lampc.backend.native.shared_library import load
from lampc.backend.random_keys import mix
from lampc.backend.request import Sampling
from lampc.backend.sampler import NUMPY, TRIES, Draw, Kernel, draw_rows, likeliest, log_probs
from lampc.backend.shaping import Edits

SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 1e-4, 0.3, 1.0, 3.0, 100.0]),
    top_k=st.sampled_from([0, 0, 1, 7, 400, 10**6]),
    top_p=st.sampled_from([1.0, 1.0, 1e-6, 0.5, 0.95, 0.9999]),
    min_p=st.sampled_from([0.0, 0.0, 1e-6, 0.05, 1.0]),
)
KINDS = ["normal", "narrow", "wide", "ties", "one far below", "mostly forbidden"]


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    try:
        return native_kernel(load())
    except NoKernels as reason:
        pytest.skip(str(reason))


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def logits_of(kind: str, rows: int, vocab: int, seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed)
    made = noise.normal(0, {"narrow": 1e-6, "wide": 200}.get(kind, 3), (rows, vocab))
    if kind == "ties":
        made = np.round(made)
    if kind == "one far below":
        made[:, seed % vocab] = -3e38
    if kind == "mostly forbidden":
        made[:, np.arange(vocab) % 5 != seed % min(vocab, 5)] = -np.inf
    return made.astype(np.float32)


def mask_of(vocab: int, seed: int) -> NDArray[np.int32]:
    bits = np.random.default_rng(seed).integers(0, 4, vocab) == 0
    bits[seed % vocab] = True
    whole = np.zeros(-(-vocab // 32) * 32, np.uint8)
    whole[:vocab] = bits
    return np.packbits(whole, bitorder="little").view(np.int32)


@settings(deadline=None, max_examples=150)
@given(
    wishes=st.lists(
        st.tuples(SAMPLINGS, st.integers(0, 2**64 - 1), st.integers(1, 40), st.integers(0, 5)), min_size=1, max_size=8
    ),
    vocab=st.sampled_from([1, 17, 513, 2880]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 999),
)
def test_bare_draws_are_those_of_other_draws(
    kernel: Kernel, wishes: list[tuple[Sampling, int, int, int]], vocab: int, kind: str, seed: int
) -> None:
    """Token `index` after a prompt, at the position before it."""
    logits = logits_of(kind, len(wishes), vocab, seed)
    draws = np.array([bare_of(sampling, key, prompt) for sampling, key, prompt, _ in wishes], BARE)
    positions = np.array([prompt + index - 1 for _, _, prompt, index in wishes])
    same = [Draw(sampling, key, index) for sampling, key, _, index in wishes]
    for one in (NUMPY, kernel):
        first = one.draw(logits, same)
        assert one.draw_bare(logits, draws, positions, 1) == [first]
        assert one.draw_bare(logits, draws, positions, TRIES)[0] == first


def test_bare_rows_without_a_finite_logit_are_told(kernel: Kernel) -> None:
    draws = np.array([bare_of(Sampling(temperature), 7, 3) for temperature in (0.0, 1.0)], BARE)
    for bad in (np.nan, -np.inf):
        logits = logits_of("normal", 2, 50, 0)
        logits[1] = bad
        for one in (NUMPY, kernel):
            tries = one.draw_bare(logits, draws, np.array([2, 2]), 2)
            assert tries == [[int(logits[0].argmax()), -1], [-1, -1]]


@settings(deadline=None, max_examples=150)
@given(
    wishes=st.lists(
        st.tuples(SAMPLINGS, st.integers(0, 2**64 - 1), st.integers(1, 40), st.integers(0, 5)), min_size=1, max_size=8
    ),
    vocab=st.sampled_from([1, 2, 17, 513, 2880]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 999),
)
def test_tries_and_draws_under_masks_are_those_of_numpy(
    kernel: Kernel, wishes: list[tuple[Sampling, int, int, int]], vocab: int, kind: str, seed: int
) -> None:
    logits = logits_of(kind, len(wishes), vocab, seed)
    draws = np.array([bare_of(sampling, key, prompt) for sampling, key, prompt, _ in wishes], BARE)
    positions = np.array([prompt + index - 1 for _, _, prompt, index in wishes])
    tries = kernel.draw_bare(logits, draws, positions, TRIES)
    assert tries == NUMPY.draw_bare(logits, draws, positions, TRIES)
    for its in zip(*tries, strict=True):
        some = [token for token in its if token >= 0]
        assert len(set(some)) == len(some), "nothing is drawn twice"
    rows = list(range(0, len(wishes), 2))
    masks = [mask_of(vocab, seed + i) for i in rows]
    if all(np.isfinite(logits[i][[allows(mask, t) for t in range(vocab)]]).any() for i, mask in zip(rows, masks)):
        under = kernel.draw_under(logits, draws, positions, rows, masks)
        assert under == NUMPY.draw_under(logits, draws, positions, rows, masks)
        assert all(allows(mask, token) for mask, token in zip(masks, under, strict=True))


@settings(deadline=None, max_examples=150)
@given(
    samplings=st.lists(st.tuples(SAMPLINGS, st.integers(0, 2**64 - 1), st.integers(0, 5)), min_size=1, max_size=8),
    vocab=st.sampled_from([1, 2, 15, 16, 17, 500, 513, 2880, 20_000]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 999),
)
def test_the_kernel_draws_what_numpy_draws(
    kernel: Kernel, samplings: list[tuple[Sampling, int, int]], vocab: int, kind: str, seed: int
) -> None:
    logits = logits_of(kind, len(samplings), vocab, seed)
    draws: list[Draw | None] = []
    for sampling, key, how in samplings:
        banned = frozenset({seed % 7, 10**6}) if how == 1 and vocab > 7 and kind != "mostly forbidden" else frozenset()
        mask = mask_of(vocab, seed) if how == 2 and kind != "mostly forbidden" else None
        draws.append(None if how == 3 else Draw(sampling, key, how, banned, mask))
    before = logits.copy()
    found = kernel.draw(logits, draws)
    assert np.array_equal(before, logits), "the logits are left as they were"
    assert found == draw_rows(logits, draws)
    assert found == [kernel.draw(logits[i : i + 1].copy(), [d])[0] for i, d in enumerate(draws)]


def test_edits_come_before_bans_and_masks(kernel: Kernel) -> None:
    logits = np.array([[5, 4, 3, 2, 1]], np.float32)
    some, none = np.array([4, 2], np.int64), np.zeros(0, np.int64)
    one = np.float32(1)
    edits = Edits(some, np.array([90, 9], np.float32), none, np.zeros(0, np.float32), one, one, one)
    draw = Draw(Sampling(), 0, 0, frozenset({0}), np.array([0b01111], np.int32), edits)
    assert kernel.draw(logits, [draw]) == draw_rows(logits, [draw]) == [2]


def test_ids_beyond_a_mask_are_not_drawn(kernel: Kernel) -> None:
    """A model's vocabulary may be larger than its tokenizer's."""
    logits = np.zeros((1, 100), np.float32)
    mask = np.array([1 << 20], np.int32)
    for sampling in (Sampling(), Sampling(1.0), Sampling(1.0, top_k=9), Sampling(1.0, top_p=0.5)):
        assert kernel.draw(logits, [Draw(sampling, 1, 2, mask=mask)]) == [20]


@pytest.mark.parametrize(
    "sampling", [Sampling(1.0), Sampling(0.5, top_p=0.8), Sampling(2.0, top_k=3), Sampling(1.0, min_p=0.3)]
)
def test_draws_have_the_wanted_distribution(kernel: Kernel, sampling: Sampling) -> None:
    """Against the shares that are left after the filters, Pearson's chi-square below the 99.9 % quantile."""
    tries, chances = 20_000, np.array([0.1, 0.2, 0.3, 0.4])
    weights = chances ** (1 / sampling.temperature)
    order = np.argsort(-weights)
    sums = np.cumsum(weights[order]) / weights.sum()
    keep = order[: sampling.top_k or int(np.searchsorted(sums, sampling.top_p)) + 1]
    keep = keep[weights[keep] >= sampling.min_p * weights.max()]
    expected = tries * weights[keep] / weights[keep].sum()
    logits = np.broadcast_to(np.log(chances).astype(np.float32), (tries, 4))
    drawn = kernel.draw(logits, [Draw(sampling, mix(key), key % 7) for key in range(tries)])
    counts = np.bincount(drawn, minlength=4)
    assert counts[keep].sum() == tries
    chi = float(((counts[keep] - expected) ** 2 / expected).sum())
    assert chi < {2: 10.83, 3: 13.82, 4: 16.27}[len(keep)]


@pytest.mark.parametrize("values", [[1, math.nan, 2], [-math.inf] * 3, [1, math.inf, 2]])
def test_broken_logits_raise(kernel: Kernel, values: list[float]) -> None:
    logits = np.array([[1, 2, 3], values], np.float32)
    for sampling in (Sampling(), Sampling(1.0), Sampling(1.0, top_k=2)):
        with pytest.raises(BackendError, match="not finite"):
            kernel.draw(logits, [Draw(sampling, 0, 0)] * 2)
    all_denied = np.zeros(1, np.int32)
    with pytest.raises(BackendError, match="not finite"):
        kernel.draw(logits[:1], [Draw(Sampling(1.0), 0, 0, mask=all_denied)])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([1, 16, 513, 20_000]), st.sampled_from(KINDS), st.integers(0, 99))
def test_log_probabilities_are_those_of_numpy(kernel: Kernel, vocab: int, kind: str, seed: int) -> None:
    logits = logits_of(kind, 5, vocab, seed)
    tokens = logits.argmax(1).tolist()
    (found, best), (right, tops) = (log_probs(logits, tokens, [3] * 5, *kernels) for kernels in ((kernel,), ()))
    assert found == pytest.approx(right, rel=1e-13, abs=1e-13)
    assert [[i for i, _ in row] for row in best] == [[i for i, _ in row] for row in tops]
    assert found == [row[0][1] for row in best]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([1, 16, 33, 20_000]), st.sampled_from(KINDS), st.integers(0, 99), st.integers(1, 100))
def test_the_likeliest_are_those_of_numpy(kernel: Kernel, vocab: int, kind: str, seed: int, count: int) -> None:
    (logits,) = logits_of(kind, 1, vocab, seed)
    assert kernel.likeliest(logits, count).tolist() == likeliest(logits, count).tolist()
