"""Which replicas go on: those that diverge are stopped, and at the rungs of successive halving the worse ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RISEN = 2.0  # times the first loss: batches differ
EARLIEST = 0.1  # of all steps: no rung before, where warm-ups still go on
WINDOW = 0.25  # of the steps before a rung whose losses count


def diverged(losses: Floats, start: float, factor: float | None) -> NDArray[np.bool_]:
    """Which losses of one batch are not finite, or above `factor` times the best and above twice the first, `start`.

    What learns slowly stays near the first loss however good the best is. A best of 0 or below says nothing.

    >>> diverged(np.array([0.1, 2.0, 9.0, np.inf]), start=3.0, factor=10.0).tolist()
    [False, False, True, True]
    """
    finite = np.isfinite(losses)
    if factor is None or not finite.any():
        return ~finite
    best = losses[finite].min()
    return ~finite | ((losses > max(factor * best, RISEN * start)) if best > 0.0 else False)


def rungs(steps: int, count: int, factor: int) -> dict[int, int]:
    """After how many steps how many replicas go on: fewer by `factor` each time, the last rung at `steps / factor`.

    >>> rungs(steps=200, count=16, factor=2)
    {25: 8, 50: 4, 100: 2}
    """
    levels, left = 0, count
    while left > factor:
        levels, left = levels + 1, math.ceil(left / factor)
    found: dict[int, int] = {}
    for level in range(levels):
        step = math.floor(steps / factor ** (levels - level))
        if step >= max(1, EARLIEST * steps):
            found[step] = math.ceil(count / factor ** (level + 1))
    return found


def scores(losses: Floats, step: int) -> Floats:
    """The mean loss of each column over the last part of the steps before `step`."""
    first = step - max(1, math.floor(WINDOW * step))
    result: Floats = losses[first:step].mean(axis=0)
    return result


def worst(scores: Floats, keep: int) -> list[int]:
    """All but the `keep` lowest; of equal ones the first are kept, NaN counts as the highest."""
    order = np.argsort(np.where(np.isnan(scores), np.inf, scores), kind="stable")
    return sorted(int(place) for place in order[keep:])
