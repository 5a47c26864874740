"""Decays by a factor, which have no end: exponential, step and multistep."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule


def emit_powers(builder: _core.ProgramBuilder, start: float, gamma: float, period: float, *, staircase: bool) -> None:
    """``start * gamma ** (t / period)``, or of ``floor(t / period)``."""
    if start == 0.0:  # 0 * infinity would be NaN
        builder.constant(value=start)
    else:
        builder.exponential(start=start, gamma=gamma, period=period, staircase=staircase)


@dataclass(frozen=True, slots=True, repr=False)
class Exponential(Schedule):
    """A factor at every step, without end.

    Formula: ``start * gamma ** (t / period)``, as a power of 2 with twice float64's digits in the exponent.

    Raises ValueError for a start that is not finite, a gamma or a period that is not above 0.
    Source: torch ``ExponentialLR``; optax ``exponential_decay`` with ``period = transition_steps``.

    >>> s = Exponential(start=1.0, gamma=0.5)
    >>> s(0), s(1), s(10), s.length
    (1.0, 0.5, 0.0009765625, None)
    """

    _steps: ClassVar[tuple[str, ...]] = ("period",)
    start: float
    gamma: float
    period: float = 1.0

    def __post_init__(self) -> None:
        checks.reals(self, "start")
        checks.positive_reals(self, "gamma", "period")

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        emit_powers(builder, self.start, self.gamma, self.period, staircase=False)


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

    _steps: ClassVar[tuple[str, ...]] = ("step_size",)
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
        emit_powers(builder, self.start, self.gamma, float(self.step_size), staircase=True)


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

    _steps: ClassVar[tuple[str, ...]] = ("milestones",)
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
            values.append(checks.powered("MultiStep value", self.start, self.gamma, count))
        return bounds, values

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        bounds, values = self._table()
        builder.table(bounds=bounds, values=values)
