"""The rate as torch's schedulers change it from step to step, for compositions that have no formula."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from fastlr.schedules import Schedule

Link = Callable[[int, float], float]  # from a step and the rate before it to the rate after it


def driven(base: float, links: Sequence[Link], steps: int) -> list[float]:
    """The rates of steps 0 to `steps`, each link acting on the rate at each of them."""
    advance, rates = composed(links), [base]
    for t in range(steps + 1):
        rates.append(advance(t, rates[-1]))
    return rates[1:]


def composed(links: Sequence[Link]) -> Link:
    """One after the other, at every step."""

    def advance(t: int, rate: float) -> float:
        for link in links:
            rate = link(t, rate)
        return rate

    return advance


def absolute(schedule: Schedule, steps: int) -> Link:
    """Sets the rate."""
    values: list[float] = schedule(np.arange(steps + 1)).tolist()
    return lambda t, rate: values[t]


def multiplier(factor: Schedule, steps: int) -> Link:
    """Multiplies the rate by what the factor has changed since the step before; once 0, it changes no more."""
    values: list[float] = factor(np.arange(steps + 1)).tolist()
    ratios = [now / before if before != 0.0 else 1.0 for before, now in zip([1.0, *values], values, strict=False)]
    return lambda t, rate: rate * ratios[t]


def cosine(base: float, period: float, end: float) -> Link:
    """Keeps the rate's height above the end in proportion to the cosine; from its zero on, adds base's height."""

    def height(t: float) -> float:
        return (1.0 + math.cos(math.pi * t / period)) / 2.0

    def advance(t: int, rate: float) -> float:
        if t == 0:
            return rate
        if (t - 1 - period) % (2 * period) == 0:
            return rate + (base - end) * height(period - 1)
        return end + (rate - end) * (height(t) / height(t - 1))

    return advance


def switch(milestones: Sequence[int], links: Sequence[Link], firsts: Sequence[float]) -> Link:
    """Hands over at milestones, where the rate is set to what the next one begins with."""
    starts = [0, *milestones]

    def advance(t: int, rate: float) -> float:
        index = bisect_right(milestones, t)
        since = t - starts[index]
        return firsts[index] if since == 0 else links[index](since, rate)

    return advance
