"""Decays by a factor, which have no end: exponential, step and multistep."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule


def emit_powers(builder: _core.ProgramBuilder, start: float, gamma: float, period: int) -> None:
    """``start * gamma ** floor(t / period)``."""
    if start == 0.0:  # 0 * infinity would be NaN
        builder.constant(value=start)
    else:
        builder.exponential(start=start, gamma=gamma, period=float(period), staircase=True)


@dataclass(frozen=True, slots=True, repr=False)
class Exponential(Schedule):
    """A factor at every step, without end.

    Formula: ``start * gamma ** t``, as ``2 ** (t * log2(gamma))`` with twice float64's digits in the exponent.

    Raises ValueError for a start that is not finite or a gamma that is not above 0.
    Source: torch ``ExponentialLR``; optax ``exponential_decay`` with ``decay_rate ** (1 / transition_steps)``.

    >>> s = Exponential(start=1.0, gamma=0.5)
    >>> s(0), s(1), s(10), s.length
    (1.0, 0.5, 0.0009765625, None)
    """

    start: float
    gamma: float

    def __post_init__(self) -> None:
        checks.reals(self, "start")
        checks.positive_reals(self, "gamma")

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        emit_powers(builder, self.start, self.gamma, 1)


@dataclass(frozen=True, slots=True, repr=False)
class Step(Schedule):
    """A factor every `step_size` steps, without end.

    Formula: ``start * gamma ** floor(t / step_size)``.

    Raises ValueError for a start that is not finite, a step_size below 1 or a gamma that is not above 0.
    Source: torch ``StepLR``; optax ``exponential_decay(staircase=True)``. The new value holds from ``t = step_size``.

    >>> s = Step(start=1.0, step_size=10, gamma=0.5)
    >>> s(0), s(9), s(10), s(20)
    (1.0, 1.0, 0.5, 0.25)
    """

    start: float
    step_size: int
    gamma: float

    def __post_init__(self) -> None:
        checks.reals(self, "start")
        checks.lengths(self, "step_size")
        checks.positive_reals(self, "gamma")

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        emit_powers(builder, self.start, self.gamma, self.step_size)


@dataclass(frozen=True, slots=True, repr=False)
class MultiStep(Schedule):
    """A factor at each milestone; one that is repeated counts as often as it stands there.

    Formula: ``start * gamma ** (number of milestones <= t)``.

    Raises ValueError for a start that is not finite, milestones below 1 or out of order, or a gamma that is not
    above 0.
    Source: torch ``MultiStepLR`` and optax ``piecewise_constant_schedule``: the new value holds from ``t = milestone``.

    >>> s = MultiStep(start=1.0, milestones=(3, 5, 5), gamma=0.5)
    >>> [s(t) for t in (0, 2, 3, 4, 5)]
    [1.0, 1.0, 0.5, 0.5, 0.125]
    """

    start: float
    milestones: tuple[int, ...]
    gamma: float

    def __post_init__(self) -> None:
        checks.reals(self, "start")
        checks.positive_reals(self, "gamma")
        if not isinstance(self.milestones, (list, tuple)):
            raise TypeError(f"MultiStep milestones are no tuple: {self.milestones!r}. Pass a tuple or list of ints.")
        milestones = tuple(checks.integer("MultiStep milestone", one) for one in self.milestones)
        for earlier, later in itertools.pairwise(milestones):
            if later < earlier:
                raise ValueError(f"MultiStep milestones are out of order: {later} after {earlier}. Sort them.")
        checks.replace(self, "milestones", milestones)
        self._table()

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _table(self) -> tuple[list[int], list[float]]:
        """The distinct milestones, and the value before and from each."""
        bounds, values, count = [], [self.start], 0
        for milestone, repeats in itertools.groupby(self.milestones):
            count += len(list(repeats))
            bounds.append(milestone)
            values.append(self._power(count))
        return bounds, values

    def _power(self, count: int) -> float:
        try:
            value = self.start * self.gamma**count
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise ValueError(
                f"MultiStep is not finite after {count} milestones: {self.start!r} * {self.gamma!r} ** {count}. "
                "Use a smaller gamma."
            )
        return value

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        bounds, values = self._table()
        builder.table(bounds=bounds, values=values)
