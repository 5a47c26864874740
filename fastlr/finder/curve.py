"""The curve of one range test, cleaned of outliers and noise, and the stretch in which its loss falls."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastlr.finder.smoothing import Array, left_over, noise, smoothed, without_spikes

FIRST = 4  # losses that, with the one before any update, say where the curve begins
CLEAR = 7.0  # a fall of that many standard deviations of what noise is left is one
SMALLEST = 1e-4  # and it is at least that part of the loss
AT_ONCE = 5  # a test that ended after so few rates began too high


@dataclass(frozen=True, eq=False)
class Curve:
    """One range test: ``losses[i]`` is the loss after the update at ``rates[i]``, `start` that before any.

    `stopped` says why it ended before the last rate, which is None where it did not.
    """

    rates: Array
    losses: Array
    start: float
    stopped: str | None
    smoothing: float

    @cached_property
    def _finite(self) -> Array:
        return without_spikes(self.losses[np.isfinite(self.losses)])

    @cached_property
    def level(self) -> float:
        """Where the loss begins."""
        return float(np.median([self.start, *self._finite[:FIRST]]))

    @cached_property
    def smoothed(self) -> Array:
        """The losses without single spikes, at most as far above the level as the lowest is below, then smoothed.

        Where the loss diverges it may grow by any factor, which must not reach back into the part that counts.
        """
        lowest = min(self.level, float(self._finite.min(initial=self.level)))
        return smoothed(np.minimum(self._finite, 2.0 * self.level - lowest), self.smoothing)

    @cached_property
    def fall(self) -> list[int]:
        """The longest sequence of steps, not all next to each other, in which the smoothed loss falls at each."""
        ends: list[float] = []  # of the sequences of each length, the highest last loss, negated
        tails: list[int] = []  # and its step
        before: list[int] = []
        for step, loss in enumerate(self.smoothed):
            length = bisect_left(ends, -loss)
            before.append(tails[length - 1] if length else -1)
            ends[length:] = [-loss, *ends[length + 1 :]]
            tails[length:] = [step, *tails[length + 1 :]]
        found: list[int] = []
        step = tails[-1] if tails else -1
        while step >= 0:
            found.append(step)
            step = before[step]
        return found[::-1]

    @cached_property
    def slopes(self) -> Array:
        """Of the smoothed loss, per factor e of the rate."""
        return np.asarray(np.gradient(self.smoothed, np.log(self.rates[: self.smoothed.size])), dtype=np.float64)

    @cached_property
    def problem(self) -> str | None:
        """Why no rate can be read off the curve; None where one can."""
        tested = self.losses.size
        if self.stopped is not None and tested <= AT_ONCE:
            return f"{self.stopped} after update {tested}, with rates from {self.rates[0]:.3g} on. Lower `low`."
        top, bottom = self.smoothed[self.fall[0]], self.smoothed[self.fall[-1]]
        left = noise(self.losses[np.isfinite(self.losses)]) * left_over(self.smoothing)
        if top - bottom > max(CLEAR * left, SMALLEST * abs(self.level)):
            return None
        what = f"the loss does not fall clearly below {self.level:.3g} at rates up to {self.rates[tested - 1]:.3g}"
        return f"{what}. Raise `high`." if self.stopped is None else f"{what}, then {self.stopped}. Lower `low`."
