"""What a range test suggests: four ways to read a rate off its curve."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastlr.finder.curve import Curve

BEGUN = 0.1  # the part of the fall at which it is clear
DONE = 0.8  # the part of the fall at which the valley's rate stands
ENDED = 0.98  # and at which it is as good as over
FLAT = 0.1  # slopes that differ by less than this part of the steepest are the same
WINDOW = 10.0  # the factor between the rates at the ends of the sliding interval


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, or None, and why.

    Attributes:
        method: "valley", "steepest", "slide" or "minimum".
        lr: The rate; of several runs the median.
        reason: Where it stands on the curve, or what the matter is.
        runs: The rate of each run.
    """

    method: str
    lr: float | None
    reason: str
    runs: tuple[float | None, ...]

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest rate of the runs; None for a single run, of which it is not known."""
        known = [rate for rate in self.runs if rate is not None]
        return (min(known), max(known)) if len(self.runs) > 1 and known else None

    @property
    def confidence(self) -> float | None:
        """From 0 to 1: the part of the runs with a rate, divided by the factor from the lowest to the highest.

        None for a single run. 1 means that all agree, 0.5 for instance that they are a factor of 2 apart.
        """
        if self.spread is None:
            return None if len(self.runs) == 1 else 0.0
        low, high = self.spread
        return sum(rate is not None for rate in self.runs) / len(self.runs) * low / high


def valley(curve: Curve) -> tuple[float, str]:
    """Where four fifths of the fall are done, in the longest stretch in which the loss falls.

    fastai takes the middle of its steps, which moves with `low`: the flat part before the fall counts as well there.
    """
    first, last, end = *curve.smoothed[[curve.fall[0], curve.fall[-1]]], curve.rates[curve.fall[-1]]
    return fallen(curve, DONE), f"four fifths of the fall from {first:.3g} to {last:.3g}, which ends at {end:.3g}"


def fallen(curve: Curve, part: float) -> float:
    """The rate at which that part of the fall is done, on the way to where most of it is done first."""
    losses, wanted = curve.smoothed, _height(curve, part)
    end = _reached(curve, max(part, DONE))
    before = np.flatnonzero(losses[:end] > wanted)
    if not before.size:
        return float(curve.rates[end])
    step = int(before[-1])
    way = float((losses[step] - wanted) / (losses[step] - losses[step + 1]))
    return float(curve.rates[step] * (curve.rates[step + 1] / curve.rates[step]) ** way)


def _height(curve: Curve, part: float) -> float:
    first, last = curve.smoothed[[curve.fall[0], curve.fall[-1]]]
    return float(max(first - part * (first - last), last))


def _reached(curve: Curve, part: float) -> int:
    """The first step at which that part of the fall is done, after the last at which next to nothing of it was."""
    losses = curve.smoothed[: curve.fall[-1] + 1]
    begin = np.flatnonzero(losses > _height(curve, BEGUN))[-1]
    return int(begin + np.flatnonzero(losses[begin:] <= _height(curve, part))[0])


def steepest(curve: Curve) -> tuple[float, str]:
    """Where the loss falls fastest, per factor of the rate."""
    step = _steepest(curve)
    return float(curve.rates[step]), f"the loss falls fastest: by {_per_decade(curve, step):.3g} per factor 10"


def slide(curve: Curve) -> tuple[float, str]:
    """The left end of an interval of a factor 10, slid down from where the fall ends until both ends have one slope."""
    width = max(1, round(math.log(WINDOW) / math.log(curve.rates[1] / curve.rates[0])))
    limit = FLAT * abs(curve.slopes[_steepest(curve)])
    right = _reached(curve, ENDED)
    while right > width and curve.slopes[right] - curve.slopes[right - width] > limit:
        right -= 1
    left = max(0, right - width)
    return float(curve.rates[left]), f"the loss falls alike here and at {curve.rates[right]:.3g}"


def minimum(curve: Curve) -> tuple[float, str]:
    """A tenth of the rate at which the loss is lowest."""
    step = int(curve.smoothed.argmin())
    return float(curve.rates[step]) / 10.0, f"a tenth of {curve.rates[step]:.3g}, where the loss is lowest"


METHODS: dict[str, Callable[[Curve], tuple[float, str]]] = {
    "valley": valley,
    "steepest": steepest,
    "slide": slide,
    "minimum": minimum,
}


def suggest(curves: Sequence[Curve], method: str) -> Suggestion:
    """Read a rate off each curve, and take their median; None where half of them or more have none.

    Raises ValueError for a method that there is not.
    """
    if method not in METHODS:
        raise ValueError(f"Not a method: {method!r}. Use one of {', '.join(METHODS)}.")
    found = [(None, curve.problem) if curve.problem is not None else METHODS[method](curve) for curve in curves]
    rates = tuple(rate for rate, _ in found)
    known = [rate for rate in rates if rate is not None]
    if 2 * len(known) <= len(rates):
        ((reason, _),) = Counter(curve.problem for curve in curves if curve.problem is not None).most_common(1)
        return Suggestion(method, None, reason, rates)
    lr = math.exp(float(np.median(np.log(known))))
    nearest = min((run for run in found if run[0] is not None), key=lambda run: abs(math.log(run[0] / lr)))
    return Suggestion(method, known[0] if len(known) == 1 else lr, str(nearest[1]), rates)


def _steepest(curve: Curve) -> int:
    return int(curve.slopes[: curve.fall[-1] + 1].argmin())


def _per_decade(curve: Curve, step: int) -> float:
    return -float(curve.slopes[step]) * math.log(10.0)
