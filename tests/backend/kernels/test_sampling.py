"""Sampling on the device against the CPU's sampler and against the twin.

Equal are the uniform numbers (test_uniform), greedy tokens, and drawn tokens unless a number lies within rounding of
the boundary between two tokens: `agree` says so, and does not forgive anything else.
"""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from lampc.backend.kernels.sampling import SamplingRows, SamplingSpace, sample, sample_torch
from lampc.backend.random_keys import uniform
from lampc.backend.request import Sampling
from lampc.backend.sampler import Draw, draw_rows

ROUNDING = 1e-12  # of a row's total weight

PLAIN = [Sampling(temperature=1.0), Sampling(temperature=0.6), Sampling(temperature=1.2, min_p=0.05)]
FILTERED = [
    Sampling(temperature=1.0, top_k=1),
    Sampling(temperature=0.9, top_k=40),
    Sampling(temperature=0.7, top_p=0.9),
    Sampling(temperature=1.5, top_k=50, top_p=0.8),
    Sampling(temperature=1.0, top_p=0.99, min_p=0.02),
    Sampling(temperature=1.0, top_k=30, top_p=0.9, min_p=0.3),
    Sampling(temperature=1.0, top_p=1e-9),
]


def run(logits: torch.Tensor, draws: Sequence[Draw | None], device: torch.device) -> list[int]:
    """Tokens of the device; the twin must find the same, or be within rounding."""
    rows = SamplingRows.of(draws, device)
    space = SamplingSpace(len(draws) + 1, logits.shape[1], device)
    tokens: list[int] = sample(logits.to(device), rows, space).tolist()
    twins: list[int] = sample_torch(logits.to(device), rows).tolist()
    for i, draw in enumerate(draws):
        assert agree(logits[i], draw, tokens[i], twins[i]), f"row {i}, {draw}: {tokens[i]}, the twin {twins[i]}"
    return tokens


def agree(logits: torch.Tensor, draw: Draw | None, got: int, want: int) -> bool:
    """Whether two tokens are the same, or neighbours between which the row's number lies within rounding."""
    if got == want or draw is None or draw.sampling.temperature == 0.0:
        return got == want
    s, wide = draw.sampling, logits.double().numpy()
    weights = np.exp((wide - wide.max()) / s.temperature)
    order = np.arange(len(wide))
    if 0 < s.top_k < len(wide) or s.top_p < 1.0:
        order = np.argsort(-wide, kind="stable")[: s.top_k or len(wide)]
        sums = np.cumsum(weights[order])
        order = order[: int((sums < s.top_p * sums[-1]).sum()) + 1] if s.top_p < 1.0 else order
    order = order[(weights[order] >= s.min_p) & (weights[order] > 0.0)]
    places = [int(np.flatnonzero(order == token)[0]) for token in (got, want) if token in order]
    if len(places) < 2 or abs(places[0] - places[1]) != 1:
        return False
    total = math.fsum(weights[order])
    boundary = math.fsum(weights[order[: max(places)]])
    return abs(uniform(draw.key, draw.index) * total - boundary) <= ROUNDING * total


def check(logits: torch.Tensor, draws: Sequence[Draw | None], device: torch.device) -> list[int]:
    """Tokens of the device, held against the CPU's sampler too."""
    tokens = run(logits, draws, device)
    for i, want in enumerate(draw_rows(logits.numpy().copy(), draws)):
        assert agree(logits[i], draws[i], tokens[i], want), f"row {i}, {draws[i]}: {tokens[i]}, not {want}"
    return tokens


def noise(rows: int, vocab: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(vocab))


@pytest.mark.parametrize("vocab", [2, 300, 33000])
def test_unfiltered_rows_draw_as_on_the_cpu(vocab: int, device: torch.device) -> None:
    settings = [None, *PLAIN, *PLAIN, *PLAIN]
    draws = [None if s is None else Draw(s, key=(i * 7919) << 40, index=i) for i, s in enumerate(settings)]
    check(noise(len(draws), vocab), draws, device)


@pytest.mark.parametrize("vocab", [2, 9000])
def test_filtered_rows_draw_as_on_the_cpu(vocab: int, device: torch.device) -> None:
    draws = [Draw(s, key=i << 50, index=17 * i + vocab) for i, s in enumerate(FILTERED)]
    check(noise(len(draws), vocab), draws, device)


def test_greedy_takes_the_first_of_equals(device: torch.device) -> None:
    logits = torch.zeros(4, 9000)
    logits[1, [8999, 5000]] = 2.0
    logits[2] = -torch.inf
    logits[2, 4096] = -1e30
    logits[3, :4] = torch.tensor([-0.0, 0.0, -0.0, 0.0])
    zero = Draw(Sampling(temperature=0.0, top_k=3), 1, 2)
    assert check(logits, [None, zero, None, None], device) == [0, 5000, 4096, 0]


def test_equal_weights_are_exact_at_every_boundary(device: torch.device) -> None:
    logits = torch.full((12, 8192), 1.5)
    draws = [Draw(Sampling(temperature=0.7), key, index=3) for key in range(12)]
    assert check(logits, draws, device) == [int(uniform(key, 3) * 8192) for key in range(12)]


def test_ties_are_cut_and_drawn_in_order_of_ids(device: torch.device) -> None:
    logits = torch.randint(-2, 3, (6, 400), generator=torch.Generator().manual_seed(5)).float()
    logits[:, ::7] = -0.0
    settings = [
        Sampling(temperature=1.0, top_k=25),
        Sampling(temperature=1.0, top_k=120),
        Sampling(temperature=2.0, top_p=0.35),
        Sampling(temperature=0.5, top_k=300, top_p=0.9),
        Sampling(temperature=1.0, top_p=0.999),
        Sampling(temperature=1.0, top_k=200, min_p=0.2),
    ]
    check(logits, [Draw(s, key=3 * i + 1, index=i) for i, s in enumerate(settings)], device)


def test_both_zeros_are_one_logit(device: torch.device) -> None:
    logits = torch.zeros(5, 400)
    logits[:, ::2] = -0.0
    draws = [Draw(Sampling(temperature=1.0, top_k=64), key, index=1) for key in range(5)]
    assert check(logits, draws, device) == [int(uniform(key, 1) * 64) for key in range(5)]


def test_top_p_counts_what_min_p_drops(device: torch.device) -> None:
    logits = torch.full((5, 300), -3.5)
    logits[:, :3] = torch.tensor([-0.2, -0.1, 0.0])
    sampling = Sampling(temperature=1.0, top_k=250, top_p=0.5, min_p=0.1)
    assert set(check(logits, [Draw(sampling, key, index=1) for key in range(2, 7)], device)) == {0, 1, 2}


def test_masked_and_extreme_logits_are_never_drawn(device: torch.device) -> None:
    logits = noise(5, 500)
    logits[:, torch.randperm(500, generator=torch.Generator().manual_seed(1))[:440]] = -torch.inf
    logits[3] *= 1e30
    settings = [
        Sampling(temperature=1.0, top_k=100),  # more than there are
        Sampling(temperature=1e6, top_p=0.9),
        Sampling(temperature=100.0),
        Sampling(temperature=1.0, top_p=0.5),
        Sampling(temperature=1e-6, top_k=7),
    ]
    tokens = check(logits, [Draw(s, key=i, index=1) for i, s in enumerate(settings)], device)
    assert all(logits[i, token].isfinite() for i, token in enumerate(tokens))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter computes inf - inf
def test_rows_without_a_best_are_told(device: torch.device) -> None:
    logits = noise(4, 5000)
    logits[0, 4500] = torch.nan
    logits[1] = -torch.inf
    logits[2, 7] = torch.inf
    draws = [Draw(Sampling(temperature=1.0, top_k=k), 1, 1) for k in (0, 5, 0)]
    assert run(logits, [*draws, None], device)[:3] == [-1, -1, -1]


def test_a_row_is_the_same_alone_and_among_others(device: torch.device) -> None:
    logits = noise(4, 5000)
    draws = [Draw(s, key=i, index=i) for i, s in enumerate([PLAIN[0], FILTERED[2], FILTERED[5], PLAIN[2]])]
    whole = run(logits, draws, device)
    for i, draw in enumerate(draws):
        assert run(logits[i : i + 1], [draw], device) == [whole[i]]


def test_draws_have_the_frequencies_of_their_weights(device: torch.device) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]]).expand(1200, 4).contiguous()
    draws = [Draw(Sampling(temperature=1.0), key=5, index=i) for i in range(1200)]
    rows = SamplingRows.of(draws, torch.device("cpu"))
    drawn = sample_torch(logits, rows)  # the twin: the kernels are held to it above, and draw slowly when interpreted
    shares = torch.bincount(drawn, minlength=4) / 1200
    assert (shares - logits[0].softmax(0)).abs().max() < 0.05


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    rows, space = SamplingRows.of([None], device), SamplingSpace(1, 10, device)
    with pytest.raises(ValueError, match="space"):
        sample(torch.zeros(1, 11, device=device), rows, space)
    with pytest.raises(ValueError, match="settings of 1"):
        sample(torch.zeros(2, 10, device=device), rows, SamplingSpace(2, 10, device))
    with pytest.raises(ValueError, match="float16"):
        sample(torch.zeros(1, 10, device=device).half(), rows, space)
    assert sample(torch.zeros(0, 10, device=device), SamplingRows.of([], device), space).shape == (0,)
