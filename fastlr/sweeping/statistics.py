"""What the losses of a sweep say: scores, intervals by bootstrap over paired batches, the stable and the good rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
SEED = 0
LAST_PART = 0.1  # of the steps: their losses are the score
FEWEST = 10  # steps of it, where there are as many
TOLERANCE = 0.1  # the basin: at most this part of the best one's progress is missing


class Bootstrap(NamedTuple):
    """Means over resampled batches, the same batches for all columns.

    Attributes:
        means: Of each column.
        intervals: The lowest and highest of the middle part of the resampled means, [R, 2].
        resampled: The means of each resample, [n, R].
    """

    means: Floats
    intervals: Floats
    resampled: Floats


def window(steps: int) -> int:
    """How many of the last steps the score is a mean of."""
    return min(steps, max(FEWEST, math.ceil(LAST_PART * steps)))


def bootstrap(
    losses: Floats, confidence: float, weights: Floats | None = None, resamples: int = RESAMPLES, seed: int = SEED
) -> Bootstrap:
    """Resample the batches, rows of `losses` with these weights in the mean, all columns together.

    One batch alone says nothing about the spread: the intervals are then NaN.

    >>> found = bootstrap(np.array([[1.0, 2.0], [3.0, 4.0]]), confidence=0.9)
    >>> found.means.tolist(), float(np.ptp(found.resampled[:, 1] - found.resampled[:, 0]))
    ([2.0, 3.0], 0.0)
    """
    count, columns = losses.shape
    weights = np.ones(count) if weights is None else weights
    means = weights @ losses / weights.sum()
    if count < 2:
        return Bootstrap(means, np.full((columns, 2), np.nan), means[np.newaxis])
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=resamples) * weights
    resampled = drawn @ losses / drawn.sum(axis=1, keepdims=True)
    half = (1.0 - confidence) / 2.0
    intervals = np.quantile(resampled, [half, 1.0 - half], axis=0).T
    return Bootstrap(means, intervals, resampled)


def best_of(scores: Floats) -> int | None:
    """The place of the lowest score; None where there is none."""
    return None if np.isnan(scores).all() else int(np.nanargmin(scores))


def neighbours(scores: Floats, place: int) -> list[int]:
    """The places next to one, on both sides, that have a score."""
    known = np.flatnonzero(~np.isnan(scores))
    below, above = known[known < place], known[known > place]
    return [int(side) for side in (*below[-1:], *above[:1])]


def confidence_in(resampled: Floats, place: int, other: int) -> float | None:
    """The part of the resamples in which the one is better than the other; equal ones count half."""
    if len(resampled) < 2:
        return None
    apart = resampled[:, other] - resampled[:, place]
    return float(np.mean((apart > 0.0) + 0.5 * (apart == 0.0)))


def largest_stable(scores: Floats, diverged: Sequence[bool], start: float) -> int | None:
    """The last place before the first that is unstable: that diverged, or whose score is above the start.

    Places without a score that have not diverged are passed over. The first one's score is allowed anyway, as a model
    may start from a minimum.
    """
    known = scores[~np.isnan(scores)]
    limit = max(start, float(known[0])) if known.size and not diverged[0] else start
    found = None
    for place, score in enumerate(scores):
        if diverged[place] or score > limit:
            break
        if not math.isnan(score):
            found = place
    return found


def basin(peaks: Floats, scores: Floats, place: int, start: float) -> tuple[float, float]:
    """From which rate to which at least nine tenths of the progress is made that the best, at this place, makes.

    Progress is what the score is below `start`; where the best makes none, scores count that are a tenth above it.
    Between two rates the score is taken as a line over the logarithm of the rate. The basin ends at the last rate in it
    where the next one has no score.

    >>> low, high = basin(np.array([0.01, 0.1, 1.0]), np.array([1.2, 1.0, np.nan]), place=1, start=2.0)
    >>> round(low, 5), high
    (0.03162, 0.1)
    """
    best = float(scores[place])
    limit = best + TOLERANCE * (start - best if start > best else abs(best))
    return _end(peaks, scores, place, limit, -1), _end(peaks, scores, place, limit, 1)


def _end(peaks: Floats, scores: Floats, place: int, limit: float, direction: int) -> float:
    """Where, on one side of a place, the scores rise above the limit."""
    while 0 <= place + direction < len(scores) and scores[place + direction] <= limit:
        place += direction
    outside = place + direction
    if not 0 <= outside < len(scores) or not math.isfinite(scores[outside]):
        return float(peaks[place])
    part = (limit - scores[place]) / (scores[outside] - scores[place])
    return float(peaks[place] * (peaks[outside] / peaks[place]) ** part)
