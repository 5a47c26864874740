"""Curves of losses made readable: outliers taken out, noise averaged, no lag."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def smoothed(losses: Array, smoothing: float) -> Array:
    """The mean of the losses around each, weighted by ``smoothing ** distance`` and divided by the weights' sum.

    So a constant stays what it is from the first loss on (no bias), and nothing moves to later steps (no lag), as an
    average of past losses alone does.

    >>> smoothed(np.ones(4), 0.9).tolist(), smoothed(np.array([0.0, 3.0, 0.0]), 0.5).tolist()
    ([1.0, 1.0, 1.0, 1.0], [0.8571428571428571, 1.5, 0.8571428571428571])
    """
    sums = one_sided(losses, smoothing) + one_sided(losses[::-1], smoothing)[::-1] - losses
    ones = np.ones_like(losses)
    weights = one_sided(ones, smoothing) + one_sided(ones, smoothing)[::-1] - ones
    return sums / weights


def one_sided(values: Array, smoothing: float) -> Array:
    """The sum of each value and all before it, weighted by ``smoothing ** distance``."""
    sums = np.empty_like(values)
    total = 0.0
    for index, value in enumerate(values):
        total = smoothing * total + value
        sums[index] = total
    return sums


def without_spikes(losses: Array) -> Array:
    """The median of each loss and its two neighbours (at the ends of three): one that stands out alone is gone.

    >>> without_spikes(np.array([3.0, 90.0, 3.0, 2.0, 1.0, 0.0])).tolist()
    [3.0, 3.0, 3.0, 2.0, 1.0, 1.0]
    """
    if losses.size < 3:
        return losses.copy()
    inner = np.median(np.lib.stride_tricks.sliding_window_view(losses, 3), axis=1)
    return np.concatenate([inner[:1], inner, inner[-1:]])


def noise(losses: Array) -> float:
    """The standard deviation of a loss around the curve, from neighbours' differences: few large ones do not matter."""
    if losses.size < 3:
        return 0.0
    return float(1.4826 * np.median(np.abs(np.diff(losses))) / np.sqrt(2.0))


def left_over(smoothing: float) -> float:
    """The part of the noise's standard deviation that `smoothed` leaves."""
    squares = (1 + smoothing**2) / (1 - smoothing**2)
    return float(np.sqrt(squares) * (1 - smoothing) / (1 + smoothing))
