"""Values written down one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule, within


def floats(schedule: Schedule, name: str) -> None:
    """Check a field that holds finite numbers (any sequence, or an array of one dimension); store a tuple of floats."""
    value = getattr(schedule, name)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{checks.label(schedule, name)} are no sequence: {value!r}. Pass a list or array of numbers.")
    values = list(value)
    if len(values) > checks.MAX_VALUES:
        raise ValueError(f"{checks.label(schedule, name)} are too many: {len(values)}. Use at most 2**24.")
    if not all(type(one) is float for one in values):
        values = [checks.real(checks.label(schedule, name), one) for one in values]
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(
            f"{checks.label(schedule, name)} are not finite: {values[first]!r} at {first}. Use finite ones."
        )
    checks.replace(schedule, name, tuple(values))


@dataclass(frozen=True, slots=True, repr=False)
class Table(Schedule):
    """One value for each step; the last one holds.

    Formula: ``values[min(t, n - 1)]`` for n values.

    Raises TypeError for something else than numbers, ValueError for none, more than 2**24 or one that is not finite.
    Source: any function of the step, sampled; torch ``LambdaLR`` and ``MultiplicativeLR``.

    >>> s = Table([0.1, 0.3, 0.2])
    >>> s(0), s(1), s(2), s(9), s.length
    (0.1, 0.3, 0.2, 0.2, 3)
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        floats(self, "values")
        if not self.values:
            raise ValueError("Table values are too few: 0. Pass at least 1.")

    @property
    def length(self) -> int:
        """The number of values."""
        return len(self.values)

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.samples(values=self.values)

    def _turns_within(self, first: int, last: int) -> list[int]:
        return [*range(first, min(last, len(self.values))), last]

    def _stretched(self, factor: Fraction) -> Schedule:
        if factor == 1:
            return self
        if factor.denominator != 1:
            raise ValueError(f"A table stretches by whole factors only: {float(factor)!r}. Sample it anew.")
        return self.per_epoch(factor.numerator)

    def __repr__(self) -> str:
        return f"Table(values={self.values!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Piecewise(Schedule):
    """Constant between boundaries.

    Formula: ``values[number of boundaries <= t]``: the new value holds from ``t = boundary``.

    Raises ValueError for boundaries below 1 or that do not increase, values that are not finite or not one more than
    boundaries.
    Source: optax ``piecewise_constant_schedule``. keras ``PiecewiseConstantDecay`` still has the old value at the
    boundary: add 1 to its boundaries.

    >>> s = Piecewise(boundaries=(3, 5), values=(1.0, 0.5, 0.1))
    >>> [s(t) for t in (0, 2, 3, 5, 9)]
    [1.0, 1.0, 0.5, 0.1, 0.1]
    """

    _steps: ClassVar[tuple[str, ...]] = ("boundaries",)
    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.boundaries, (list, tuple)):
            raise TypeError(f"Piecewise boundaries are no tuple: {self.boundaries!r}. Pass a tuple or list of ints.")
        steps = tuple(checks.integer("Piecewise boundary", one) for one in self.boundaries)
        checks.replace(self, "boundaries", steps)
        floats(self, "values")
        _ = self.program  # refuses what does not fit

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.table(bounds=self.boundaries, values=self.values)

    def _turns_within(self, first: int, last: int) -> list[int]:
        return within(self.boundaries, first, last)
