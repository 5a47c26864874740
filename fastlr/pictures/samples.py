"""At which steps a schedule is drawn: few, but losing no spike, and on both sides of every jump."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlr.pictures.marks import LOOKED_AT, first_marks, marks
from fastlr.schedules import Schedule, checks

EVEN = 2000  # evenly spaced steps
MOST = 20_000
SHORT = 200  # up to this many steps, each is drawn as the constant that it is
SHOWN_CYCLES = 5
DEFAULT_SPAN = 1000


class Curve(NamedTuple):
    """Rising steps, and the value at each."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


def whole_span(schedules: Iterable[Schedule], steps: int | None) -> int:
    """The last step shown: the given one, or the longest length, or what endless schedules need to show their shape."""
    if steps is not None:
        return checks.integer("plot steps", steps)
    known = list(schedules)
    lengths = [one.length for one in known if one.length is not None]
    return max(lengths) if lengths else max((endless_span(one) for one in known), default=DEFAULT_SPAN)


def endless_span(schedule: Schedule) -> int:
    """Some cycles of a cyclic schedule; of another, until it has come near the value that it tends to."""
    found = first_marks(schedule)
    if len(found) == LOOKED_AT:
        starts = sorted({one.begin for one in found})
        return min(math.ceil(starts[SHOWN_CYCLES]), checks.MAX_LENGTH)
    grid = np.array([0, *(2**i for i in range(50))])
    try:
        with np.errstate(invalid="ignore"):
            apart = np.abs(schedule(grid) - schedule.end_value)
    except ValueError:  # far away it is infinity times zero
        return DEFAULT_SPAN
    far = np.flatnonzero(apart > 0.2 * apart.max())
    return int(5 * grid[far[-1]]) if far.size and far[-1] > 0 else DEFAULT_SPAN


def last_step(schedule: Schedule, span: int) -> int:
    """The span, or the length of a schedule that has no value after it."""
    try:
        schedule(span)
    except ValueError:
        return span if schedule.length is None else min(span, schedule.length)
    return span


def sample(schedule: Schedule, span: int) -> Curve:
    """The schedule at even distances, on both sides of every turn and mark, and closely where it jumps."""
    last = last_step(schedule, span)
    found = marks(schedule, last)
    turns = np.array(schedule._turns(), dtype=np.int64)
    turns = turns[turns <= last][:EVEN]
    special = np.concatenate([turns, np.floor(np.array([*found.starts, *sum(found.warmups, ())])).astype(np.int64)])
    even = np.linspace(0, last, EVEN + 1).astype(np.int64)
    steps = np.unique(np.concatenate([even, special - 1, special, special + 1]))
    steps = steps[(steps >= 0) & (steps <= last)]
    values = schedule(steps)
    while steps.size < MOST:
        middles = between_jumps(steps, values)
        if not middles.size:
            break
        steps = np.union1d(steps, middles)
        values = schedule(steps)
    return Curve(steps, values)


def between_jumps(steps: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Steps halfway between neighbours whose values lie far apart."""
    finite = values[np.isfinite(values)]
    extent = np.ptp(finite) if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        wide = (np.abs(np.diff(values)) > extent / 200) & (np.diff(steps) > 1)
    middles: NDArray[np.int64] = steps[:-1][wide] + np.diff(steps)[wide] // 2
    return middles
