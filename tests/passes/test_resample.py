"""Means of groups drawn anew: the numbers of few groups, the law and the work of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from lampc.passes import resample
from lampc.passes.resample import resampled_group_means, resampled_means

SMALL = [[0.0, 1.0, 1.0, 0.0], [1.0, 0.5, 0.25], [0.0, 0.0, 1.0]]
LONG = [[i * 0.01 + j * 0.37 % 1 for j in range(80)] for i in range(4)]


def test_few_groups_give_the_numbers_that_they_always_gave() -> None:
    assert resampled_group_means(SMALL, 6, 3) == pytest.approx(
        [0.611111111111, 0.583333333333, 0.361111111111, 0.555555555556, 0.527777777778, 0.555555555556]
    )
    assert resampled_group_means(LONG, 4, 5) == pytest.approx([0.48034375, 0.4906875, 0.48990625, 0.48440625])


@pytest.mark.parametrize("kinds", [3, 100])
def test_many_groups_have_the_law_that_few_have(kinds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    groups = [(rng.integers(0, kinds, size) / kinds).tolist() for size in rng.integers(5, 120, 12)]
    draws = 20_000
    few = resampled_group_means(groups, draws, 1)
    monkeypatch.setattr(resample, "_FEW", 0)
    many = resampled_group_means(groups, draws, 2)
    assert not np.array_equal(few, many)
    spread = few.std()
    assert abs(few.mean() - many.mean()) < 5 * spread * (2 / draws) ** 0.5
    assert many.std() == pytest.approx(spread, rel=0.03)
    for q in (2.5, 25, 75, 97.5):
        assert np.percentile(many, q) == pytest.approx(np.percentile(few, q), abs=0.08 * spread)
    # places of one mean are drawn apart: their variances add up
    parts = [np.var(g) / len(g) for g in groups]
    within, between = float(np.mean(parts)), float(np.var([np.mean(g) for g in groups]))
    assert many.var() == pytest.approx((within + between) / len(groups), rel=0.05)


def test_work_grows_with_the_groups_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted(values: Sequence[float], draws: int, seed: int) -> Any:
        made.append(draws)
        return resampled_means(values, draws, seed)

    monkeypatch.setattr(resample, "resampled_means", counted)
    for count in (50, 200):
        made.clear()
        found = resampled_group_means([[0.0, float(i)] for i in range(count)], 100, 0)
        assert found.shape == (100,)
        assert sum(made) == 100 * count
        assert len(made) <= count
    assert np.array_equal(found, resampled_group_means([[0.0, float(i)] for i in range(200)], 100, 0))


def test_one_draw_of_many_long_groups() -> None:
    assert resampled_group_means([list(map(float, range(100)))] * 40, 1, 0).shape == (1,)


@pytest.mark.parametrize("groups", [[], [[]], [[1.0], []], [[1.0]] * 30 + [[]]])
def test_groups_have_values(groups: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one value"):
        resampled_group_means(groups, 10, 0)
