"""Scores, intervals, the stable and the good rates, against numbers that are known otherwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastlr.sweeping import statistics
from fastlr.sweeping.calibration import Choice
from fastlr.sweeping.result import Sweep


def naive(losses: np.ndarray[Any, Any], confidence: float, resamples: int) -> np.ndarray[Any, Any]:
    """The textbook's bootstrap, one resample after another."""
    generator = np.random.default_rng(99)
    means = []
    for _ in range(resamples):
        means.append(losses[generator.integers(len(losses), size=len(losses))].mean(axis=0))
    low = (1 - confidence) / 2
    return np.quantile(np.array(means), [low, 1 - low], axis=0).T


def test_intervals_are_those_of_a_plain_bootstrap() -> None:
    losses = np.random.default_rng(0).gamma(2.0, size=(40, 3)) * [1.0, 2.0, 0.1]
    found = statistics.bootstrap(losses, 0.9, resamples=20_000)
    np.testing.assert_allclose(found.means, losses.mean(axis=0))
    np.testing.assert_allclose(found.intervals, naive(losses, 0.9, 20_000), rtol=0.02)


def test_intervals_hold_the_mean_of_a_known_distribution_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(400):
        losses = generator.normal(3.0, 1.0, size=(60, 1))
        ((low, high),) = statistics.bootstrap(losses, 0.9, resamples=500, seed=trial).intervals
        hits += low <= 3.0 <= high
    assert 0.84 < hits / 400 < 0.94  # of 0.9, less what a bootstrap of 60 falls short by; 3 standard errors are 0.045


def test_all_columns_share_the_resampled_batches() -> None:
    batch = np.random.default_rng(2).normal(0.0, 10.0, size=(30, 1))
    losses = np.hstack([batch, batch + 0.001])
    found = statistics.bootstrap(losses, 0.9)
    assert found.intervals[0, 1] > found.intervals[1, 0]  # they overlap widely
    assert statistics.confidence_in(found.resampled, 0, 1) == 1.0
    assert statistics.confidence_in(found.resampled, 1, 0) == 0.0
    assert statistics.confidence_in(found.resampled, 0, 0) == 0.5


def test_confidence_in_a_difference_is_that_of_a_normal_one() -> None:
    generator = np.random.default_rng(3)
    apart = generator.normal(0.0, 1.0, size=200)
    apart += 0.1 - apart.mean()  # the mean difference is 0.1, its standard error known
    losses = np.stack([np.zeros(200), apart], axis=1)
    found = statistics.confidence_in(statistics.bootstrap(losses, 0.9, resamples=20_000).resampled, 0, 1)
    error = apart.std() / math.sqrt(200)
    assert found == pytest.approx(0.5 * (1 + math.erf(0.1 / error / math.sqrt(2))), abs=0.01)


def test_weights_are_those_of_the_mean() -> None:
    losses, weights = np.array([[1.0], [4.0]]), np.array([3.0, 1.0])
    found = statistics.bootstrap(losses, 0.5, weights)
    assert found.means.tolist() == [1.75]
    assert set(np.round(found.resampled[:, 0], 12)) == {1.0, 1.75, 4.0}


def test_one_batch_says_nothing_about_the_spread() -> None:
    found = statistics.bootstrap(np.array([[1.0, 2.0]]), 0.9)
    assert found.means.tolist() == [1.0, 2.0]
    assert np.isnan(found.intervals).all()
    assert statistics.confidence_in(found.resampled, 0, 1) is None


def test_it_is_the_same_every_time() -> None:
    losses = np.random.default_rng(0).normal(size=(20, 2))
    first, again = (statistics.bootstrap(losses, 0.9).intervals for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, statistics.bootstrap(losses, 0.9, seed=1).intervals)


NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "diverged", "start", "expected"),
    [
        ([0.5, 0.3, 0.9, NAN], [0, 0, 0, 1], 1.0, 2),
        ([0.5, 0.3, 1.1, 0.2], [0, 0, 0, 0], 1.0, 1),  # not beyond the first that is unstable
        ([0.5, NAN, 0.4, NAN], [0, 0, 0, 1], 1.0, 2),  # halved away, not unstable
        ([NAN, NAN], [1, 1], 1.0, None),
        ([1.2, 1.1, 1.3], [0, 0, 0], 1.0, 1),  # from a minimum every loss is above the start
        ([NAN, 0.5], [1, 0], 1.0, None),
    ],
)
def test_the_largest_stable(scores: list[float], diverged: list[int], start: float, expected: int | None) -> None:
    assert statistics.largest_stable(np.array(scores), [bool(one) for one in diverged], start) == expected


def test_the_basin_of_lines_over_the_logarithm() -> None:
    """Scores that rise by a line from 1 at the rate 1 on both sides, twice as steep to the right; from the start 11."""
    rates = 10.0 ** np.arange(-3.0, 4.0)
    logs = np.log10(rates)
    scores = 1.0 + np.where(logs < 0, -logs, 2 * logs)
    low, high = statistics.basin(rates, scores, 3, 11.0)
    assert (low, high) == pytest.approx((0.1, 10**0.5))
    finer = 10.0 ** np.arange(-3.0, 3.1, 0.125)
    logs = np.log10(finer)
    assert statistics.basin(finer, 1.0 + np.where(logs < 0, -logs, 2 * logs), 24, 11.0) == pytest.approx((low, high))


def test_a_basin_ends_with_the_sweep_and_before_what_diverged() -> None:
    rates = np.array([0.1, 0.2, 0.4, 0.8])
    assert statistics.basin(rates, np.array([1.0, 1.0, 1.05, NAN]), 0, 2.0) == (0.1, 0.4)
    assert statistics.basin(rates, np.array([9.0, NAN, 1.0, 9.0]), 2, 1.0)[0] == 0.4
    # Where the best is no progress, what counts is a tenth above it.
    assert statistics.basin(rates, np.array([3.0, 2.1, 2.0, 2.19]), 2, 1.0)[1] == 0.8


@pytest.mark.parametrize(("steps", "expected"), [(1, 1), (7, 7), (50, 10), (100, 10), (200, 20), (205, 21)])
def test_the_window_of_the_score(steps: int, expected: int) -> None:
    assert statistics.window(steps) == expected


def of_losses(rates: list[float], losses: np.ndarray[Any, Any], **more: Any) -> Sweep:
    count = len(rates)
    given: dict[str, Any] = {
        "entries": tuple(rates),
        "rates": np.array(rates),
        "losses": losses,
        "start": float(losses[0, 0]),
        "diverged": (None,) * count,
        "dropped": (None,) * count,
        "validated": (),
        "validation": np.zeros((0, count)),
        "last_validation": None,
        "engine": Choice("sequential"),
        "notes": (),
        "confidence": 0.9,
    }
    return Sweep(**{**given, **more})


def test_a_result_scores_the_last_tenth_and_ranks_by_it() -> None:
    losses = np.full((200, 3), 5.0)
    losses[180:] = [2.0, 1.0, 3.0]
    losses[50, 2] = 0.0
    found = of_losses([0.1, 0.2, 0.4], losses)
    assert found.scores.tolist() == [2.0, 1.0, 3.0]
    assert (found.best, found.best_index) == (0.2, 1)
    assert found.confidences == {0: 1.0, 2: 1.0}
    assert found.largest_stable == 0.4
    # Limit 1.4: 0.4 of the way to the left neighbour, 0.2 of it to the right one, in the logarithm.
    assert found.basin == pytest.approx((0.2 * 0.5**0.4, 0.2 * 2**0.2))
    assert found.basin_width == pytest.approx(math.log10(2**0.6))


def test_neighbours_are_the_nearest_that_have_a_score() -> None:
    losses = np.tile([2.0, 9.0, 1.0, 9.0, 3.0], (20, 1))
    found = of_losses([1.0, 2.0, 3.0, 4.0, 5.0], losses, dropped=(None, 5, None, 5, None))
    assert found.confidences == {0: 1.0, 4: 1.0}


def test_entries_that_do_not_increase_have_no_neighbours() -> None:
    losses = np.tile([2.0, 1.0, 3.0], (20, 1))
    found = of_losses([0.3, 0.1, 0.3], losses)
    assert (found.best, found.largest_stable, found.basin, found.basin_width) == (0.1, None, None, None)
    assert found.confidences == {0: 1.0, 2: 1.0}
    assert "do not increase" in str(found)
