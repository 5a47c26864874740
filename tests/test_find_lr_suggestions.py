"""Smoothing and suggestions on curves whose answers are known, and the defects of other finders."""

import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastlr.finder.curve import Curve
from fastlr.finder.smoothing import left_over, noise, smoothed, without_spikes
from fastlr.finder.suggestions import METHODS, fallen, suggest
from fastlr.finder.watching import Watch

Array = NDArray[np.float64]

CENTRE, SHARPNESS = -2.0, 4.0  # of the fall, over the rate's decimal logarithm


def rates(low: float = 1e-7, high: float = 10.0, per_decade: float = 12.5) -> Array:
    return np.geomspace(low, high, round(math.log10(high / low) * per_decade))


def sigmoid(at: Array, height: float = 2.0) -> Array:
    """Falls from 2.3 by `height`, fastest at a rate of 0.01."""
    fallen: Array = 1 / (1 + np.exp(-SHARPNESS * (np.log10(at) - CENTRE)))
    return 2.3 - height * fallen


def diverging(at: Array) -> Array:
    """Falls as `sigmoid` and rises beyond all bounds from a rate of 0.3 on."""
    return sigmoid(at) + np.where(at > 0.3, (at / 0.3) ** 3 - 1, 0.0)


def suggested(at: Array, losses: Array, method: str, smoothing: float = 0.7, stopped: str | None = None) -> float:
    found = suggest([Curve(at, losses, 2.3, stopped, smoothing)], method).lr
    assert found is not None
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("size", [1, 2, 31, 257])
def test_smoothing_is_the_weighted_mean_on_both_sides(size: int, smoothing: float) -> None:
    losses = np.random.default_rng(size).standard_normal(size)
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    weights = np.where(distance == 0, 1.0, smoothing ** distance.astype(float))
    expected = weights @ losses / weights.sum(axis=1)
    assert smoothed(losses, smoothing) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("smoothing", [0.5, 0.98])
def test_a_constant_loss_stays_what_it_is(smoothing: float) -> None:
    # Lightning's goes .505, .673, ...; torch-lr-finder's is not debiased
    assert smoothed(np.ones(50), smoothing) == pytest.approx(np.ones(50), rel=1e-14)


def test_smoothing_does_not_lag() -> None:
    losses = sigmoid(rates())
    assert smoothed(losses[::-1], 0.9)[::-1] == pytest.approx(smoothed(losses, 0.9), rel=1e-12)


def test_what_smoothing_leaves_of_noise() -> None:
    losses = np.random.default_rng(0).standard_normal(30_000)
    assert noise(losses) == pytest.approx(1.0, rel=0.03)
    for smoothing in (0.0, 0.5, 0.9):
        assert float(np.std(smoothed(losses, smoothing))) == pytest.approx(left_over(smoothing), rel=0.03)


def test_single_spikes_go_and_edges_stay() -> None:
    losses = np.array([9.0, 2.0, 2.0, 7.0, 2.0, -5.0, 2.0, 1.0, 1.0, 1.0, 0.0])
    assert without_spikes(losses).tolist() == [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_known_rates_on_a_curve_without_noise() -> None:
    at = rates(per_decade=100)
    assert suggested(at, sigmoid(at), "valley", 0.0) == pytest.approx(
        10 ** (CENTRE + math.log(4) / SHARPNESS), rel=0.01
    )
    assert suggested(at, sigmoid(at), "steepest", 0.0) == pytest.approx(10**CENTRE, rel=0.02)
    assert suggested(at, sigmoid(at), "slide", 0.0) == pytest.approx(10 ** (CENTRE - 0.5), rel=0.2)
    bowl = 1 + (np.log10(at) + 1) ** 2
    assert suggested(at, bowl, "minimum", 0.0) == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_suggestions_with_noise_and_divergence(method: str) -> None:
    at = rates()
    expected = suggested(at, diverging(at), method)
    for seed in range(20):
        losses = diverging(at) + 0.1 * np.random.default_rng(seed).standard_normal(at.size)
        assert expected / 3 < suggested(at, losses, method, stopped="diverged") < expected * 3, seed


def test_slopes_are_per_logarithm_of_the_rate() -> None:
    at = rates()
    per_rate = at[np.gradient(sigmoid(at), at).argmin()]  # as Lightning takes it
    assert per_rate < 10**CENTRE / 2
    assert suggested(at, sigmoid(at), "steepest") == pytest.approx(10**CENTRE, rel=0.2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", [0, 1, 7, 30])
@pytest.mark.parametrize("spike", [1e9, 50.0, -50.0])
def test_a_spike_fools_none(method: str, place: int, spike: float) -> None:
    at = rates()
    losses = diverging(at)
    losses[place] = spike
    assert suggested(at, losses, method) == pytest.approx(suggested(at, diverging(at), method), rel=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_the_range_below_the_fall_does_not_matter(method: str) -> None:
    # fastai's valley is the middle of the run's steps, flat ones included
    wide, narrow = rates(low=1e-9), rates(low=1e-5)
    assert suggested(wide, diverging(wide), method) == pytest.approx(
        suggested(narrow, diverging(narrow), method), rel=0.3
    )


@pytest.mark.parametrize("method", METHODS)
def test_how_far_the_loss_diverges_does_not_matter(method: str) -> None:
    at = rates()
    found = [suggested(at, np.minimum(diverging(at), ceiling), method) for ceiling in (5.0, 1e4, 1e30)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)


@pytest.mark.parametrize("method", ["valley", "slide"])
def test_a_dip_before_the_fall_is_not_it(method: str) -> None:
    at = rates()
    losses = diverging(at)
    losses[13:19] = 0.2  # batches of another kind
    assert suggested(at, losses, method) == pytest.approx(suggested(at, diverging(at), method), rel=0.5)


def test_every_part_of_a_fall_is_somewhere_on_the_way() -> None:
    at = rates()
    for seed in range(100):
        curve = Curve(at, diverging(at) + 0.3 * np.random.default_rng(seed).standard_normal(at.size), 2.3, None, 0.7)
        found = [fallen(curve, part) for part in (0.1, 0.5, 0.8, 0.98, 1.0)]
        assert found == sorted(found), seed
        assert found[-1] <= at[curve.fall[-1]] * (1 + 1e-12)


def test_a_curve_that_recovers_after_a_bump_keeps_its_first_fall() -> None:
    at = rates()
    losses = sigmoid(at) + np.where((at > 0.3) & (at < 3.0), 1.5, 0.0) - np.where(at > 3.0, 0.1, 0.0)
    assert 0.01 < suggested(at, losses, "valley") < 0.05


@pytest.mark.parametrize("offset", [-1000.0, 0.0, 1000.0])
def test_losses_of_any_sign(offset: float) -> None:
    at = rates()
    found = suggest([Curve(at, diverging(at) + offset, 2.3 + offset, None, 0.7)], "valley").lr
    assert found == pytest.approx(suggested(at, diverging(at), "valley"), rel=1e-6)


def test_noise_is_no_fall() -> None:
    at = rates()
    found = 0
    for seed in range(200):
        losses = 2.3 + 0.1 * np.random.default_rng(seed).standard_normal(at.size)
        found += suggest([Curve(at, losses, 2.3, None, 0.7)], "valley").lr is not None
    assert found <= 6


CASES: list[tuple[Any, str | None, str]] = [
    (np.full(100, 2.3), None, "does not fall.*Raise `high`"),
    (np.linspace(2.3, 9.0, 50), "it diverged", "does not fall.*then it diverged.*Lower `low`"),
    (np.array([9.0, 90.0, 900.0]), "it diverged", "it diverged after update 3.*Lower `low`"),
    (np.array([np.nan]), "the loss is not finite: nan", "not finite: nan after update 1,"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("losses", "stopped", "reason"), CASES)
def test_no_rate_has_a_reason(losses: Array, stopped: str | None, reason: str, method: str) -> None:
    found = suggest([Curve(rates()[: losses.size], losses, 2.3, stopped, 0.7)], method)
    assert found.lr is None
    assert re.search(reason, found.reason), found.reason


def test_several_runs_have_a_median_a_spread_and_a_confidence() -> None:
    at = rates()
    curves = [Curve(at * factor, diverging(at), 2.3, None, 0.7) for factor in (1.0, 2.0, 8.0)]
    flat = Curve(at, np.full(at.size, 2.3), 2.3, None, 0.7)
    one = suggested(at, diverging(at), "valley")
    found = suggest(curves, "valley")
    assert found.runs == pytest.approx((one, 2 * one, 8 * one))
    assert (found.lr, found.spread) == (pytest.approx(2 * one), pytest.approx((one, 8 * one)))
    assert found.confidence == pytest.approx(0.125)
    some = suggest([*curves[:2], flat], "valley")
    assert (some.lr, some.confidence) == (pytest.approx(one * 2**0.5), pytest.approx(0.5 * 2 / 3))
    none = suggest([curves[0], flat], "valley")
    assert none.lr is None
    assert "does not fall" in none.reason
    assert (suggest([flat, flat], "valley").confidence, suggest(curves[:1], "valley").confidence) == (0.0, None)


WATCHED: list[tuple[float, list[float], float | None, int | None]] = [
    (2.0, [2.0, 1.0, 9.0, 9.0, 9.0], 4.0, 4),  # above 1 + 3 * 2
    (2.0, [2.0, 1.0, 6.9, 6.9, 6.9, 6.9], 4.0, None),
    (2.0, [2.0, 9.0, 9.0, 2.0, 9.0, 9.0, 2.0], 4.0, None),  # never three in a row
    (2.0, [0.01, 0.01, 0.2, 0.2, 0.2], 4.0, None),  # 20 times the best, and still far below the start
    (-5.0, [-9.0, -9.0, -9.0, 7.0, 7.0, 7.0], 4.0, 5),  # above -9 + 3 * 5
    (0.1, [-20.0, -20.0, -20.0, -15.0, -15.0, -15.0], 4.0, None),  # falls without bound
    (2.0, [1e30, 1e30, 1e30, 1e30], None, None),
    (2.0, [1.0, float("inf")], None, 1),
    (2.0, [float("nan")], 4.0, 0),
]


@pytest.mark.parametrize(("start", "losses", "limit", "stops"), WATCHED)
def test_when_a_test_stops(start: float, losses: list[float], limit: float | None, stops: int | None) -> None:
    watch = Watch(start, limit)
    reasons = [watch.diverged(loss) for loss in losses]
    assert next((index for index, reason in enumerate(reasons) if reason), None) == stops
