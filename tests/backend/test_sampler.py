"""Draws: determinism, distribution, filters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend.errors import BackendError
from lampc.backend.request import Sampling
from lampc.backend.sampler import draw, log_prob, mix, uniform

NONE: frozenset[int] = frozenset()


def row(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_generator_is_fixed_for_all_time() -> None:
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the published first output of SplitMix64(0)
    assert [uniform(k, i) for k, i in ((0, 0), (1, 0), (2**64 - 1, 7))] == pytest.approx(
        [0.8833108082136426, 0.7497482413580301, 0.7741445495399422]
    )


def test_uniform_numbers_look_uniform() -> None:
    numbers = np.array([uniform(key, i) for key in range(50) for i in range(100)])
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.05


def test_greedy_takes_the_first_of_equals() -> None:
    assert draw(row(1, 3, 3, 2), Sampling(), 5, 0, NONE) == 1
    assert draw(row(1, 3, 3, 2), Sampling(), 5, 0, frozenset({1, 99})) == 2


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0), [0.1, 0.2, 0.3, 0.4]),
        (Sampling(temperature=0.5), [1 / 30, 4 / 30, 9 / 30, 16 / 30]),
        (Sampling(temperature=1.0, top_k=2), [0, 0, 3 / 7, 4 / 7]),
        (Sampling(temperature=1.0, top_p=0.8), [0, 2 / 9, 3 / 9, 4 / 9]),
        (Sampling(temperature=1.0, top_p=0.01), [0, 0, 0, 1]),
        (Sampling(temperature=1.0, top_k=3, top_p=0.5), [0, 0, 3 / 7, 4 / 7]),
    ],
)
def test_frequencies(sampling: Sampling, expected: list[float]) -> None:
    logits = np.log(row(0.1, 0.2, 0.3, 0.4))
    counts = np.bincount([draw(logits, sampling, key, 3, NONE) for key in range(6000)], minlength=4)
    assert counts / 6000 == pytest.approx(expected, abs=0.025)
    assert all(counts[i] == 0 for i, p in enumerate(expected) if p == 0)


@given(
    values=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=20),
    temperature=st.floats(1e-4, 100),
    top_k=st.integers(0, 25),
    top_p=st.floats(0.001, 1.0),
    key=st.integers(0, 2**64 - 1),
)
def test_never_draws_what_is_filtered(
    values: list[float], temperature: float, top_k: int, top_p: float, key: int
) -> None:
    logits = row(*values)
    banned = frozenset({0}) if len(values) > 1 else NONE
    token = draw(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p), key, 0, banned)
    assert 0 <= token < len(values)
    assert token not in banned
    if top_k:
        allowed = np.delete(logits, list(banned))
        assert (allowed > logits[token]).sum() < top_k


def test_broken_logits_raise() -> None:
    for values in ((1.0, float("nan")), (float("-inf"), float("-inf"))):
        with pytest.raises(BackendError, match="not finite"):
            draw(row(*values), Sampling(), 0, 0, NONE)


def test_log_prob() -> None:
    assert log_prob(np.log(row(0.1, 0.2, 0.7)), 2) == pytest.approx(np.log(0.7))
