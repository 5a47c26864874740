"""Decays by the inverse of the time, which have no end."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule


@dataclass(frozen=True, slots=True, repr=False)
class InverseSqrt(Schedule):
    """Falls with the square root of the time, without end.

    Formula: ``start * sqrt(timescale / (t + offset))``; without an offset it is `timescale`, and the first value is
    start.

    Raises ValueError for a start that is not finite, a timescale or an offset that is not above 0.
    Source: transformers ``get_inverse_sqrt_schedule`` after its warm-up; Megatron-Core and Noam with ``timescale`` the
    warm-up's length.

    >>> s = InverseSqrt(start=1.0, timescale=4.0)
    >>> s(0), s(12), s(60), s.length
    (1.0, 0.5, 0.25, None)
    """

    _steps: ClassVar[tuple[str, ...]] = ("timescale", "offset")
    start: float
    timescale: float
    offset: float | None = None

    def __post_init__(self) -> None:
        checks.reals(self, "start")
        checks.positive_reals(self, "timescale")
        if self.offset is not None:
            checks.positive_reals(self, "offset")

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        offset = self.timescale if self.offset is None else self.offset
        builder.inverse_sqrt(start=self.start, timescale=self.timescale, offset=offset)


@dataclass(frozen=True, slots=True, repr=False)
class InverseTime(Schedule):
    """Falls with the time, without end.

    Formula: ``start / (1 + rate * t)``. A staircase is ``InverseTime(b, k).per_epoch(n)``.

    Raises ValueError for a start or rate that is not finite or a rate below 0.
    Source: keras ``InverseTimeDecay(b, s, k)`` is rate ``k / s``; Paddle ``InverseTimeDecay``.

    >>> s = InverseTime(start=1.0, rate=0.5)
    >>> s(0), s(2), s(6), s.length
    (1.0, 0.5, 0.25, None)
    """

    start: float
    rate: float

    def __post_init__(self) -> None:
        checks.reals(self, "start", "rate")
        if self.rate < 0.0:
            raise ValueError(f"InverseTime rate is negative: {self.rate!r}. Use 0 or more.")

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.inverse_time(start=self.start, rate=self.rate)

    def _stretched(self, factor: Fraction) -> Schedule:
        return InverseTime(self.start, self.rate / float(factor))
