"""Cosines with warm restarts."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule, within
from fastlr.schedules.repeat import MAX_CYCLES, cycle_starts, cycle_turns, in_cycles
from fastlr.schedules.shapes import Cosine


@dataclass(frozen=True, slots=True, repr=False)
class CosineRestarts(Schedule):
    """Half a cosine, again and again from a new start.

    Formula: cycle ``i`` takes ``period * growth**i`` steps from ``start * decay**i`` to end; borders may be between
    two steps. After the last of `cycles` cycles end holds; without `cycles` it goes on without end (growing ones up to
    the last that ends before 2**53). The borders are counted up, not found by a logarithm, so they are exact where
    torch's and timm's are off by one.

    Raises ValueError for values that are not finite, a period below 1, a growth or decay that is not above 0, cycles
    below 1 step, and for growing cycles that are more than 4096 before 2**53 steps.
    Source: torch ``CosineAnnealingWarmRestarts`` (T_0, T_mult); timm's ``cycle_mul`` and ``cycle_decay``; keras
    ``CosineDecayRestarts``; transformers' hard restarts.

    >>> s = CosineRestarts(start=1.0, end=0.0, period=2, growth=2, decay=0.5)
    >>> [round(s(t), 12) for t in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    _steps: ClassVar[tuple[str, ...]] = ("period",)
    start: float
    end: float
    period: int
    growth: float = 1.0
    decay: float = 1.0
    cycles: int | None = None

    def __post_init__(self) -> None:
        checks.reals(self, "start", "end")
        checks.lengths(self, "period")
        checks.positive_reals(self, "growth", "decay")
        if self.cycles is not None:
            checks.lengths(self, "cycles")
        if self.growth < 1.0 and self.cycles is None:
            raise ValueError(f"Shrinking cycles never reach far: growth {self.growth!r}. Give the number of cycles.")
        if self.length is not None:
            checks.integer("CosineRestarts length", self.length)
        _ = self.program

    @property
    def length(self) -> int | None:
        """The steps of all cycles, None without end."""
        if self.cycles is None:
            return None
        return self.period * self.cycles if self.growth == 1.0 else math.ceil(self._borders()[-1])

    def _borders(self) -> list[float]:
        borders = cycle_starts(self.period, self.growth, self.cycles)
        for start, end in itertools.pairwise(borders):
            if math.ceil(end) <= math.ceil(start):
                raise ValueError(f"A cycle has no step: from {start} to {end}. Use fewer cycles or a larger growth.")
        return borders

    def _equal_cycles(self) -> Schedule:
        if self.decay == 1.0 or self.start == 0.0:
            return Cosine(self.start, self.end, self.period).repeat(self.cycles)
        falling = Cosine(self.start, 0.0, self.period).repeat(self.cycles, decay=self.decay)
        return falling if self.end == 0.0 else falling + Cosine(0.0, self.end, self.period).repeat(self.cycles)

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        if self.growth == 1.0:
            self._equal_cycles()._emit(builder)
            return
        borders = self._borders()
        builder.begin_sequence(bounds=[math.ceil(border) for border in borders[1:-1]])
        for i, (start, end) in enumerate(itertools.pairwise(borders)):
            first = math.ceil(start)
            peak = checks.powered("CosineRestarts peak", self.start, self.decay, i)
            if peak == self.end:
                builder.constant(value=peak)
            else:
                builder.cosine(start=peak, end=self.end, origin=start - first, finish=end - first)
            builder.end_piece()

    def _turns_within(self, first: int, last: int) -> list[int]:
        if self.growth == 1.0:
            return cycle_turns(self.period, self.cycles, first, last, partial(within, [self.period - 1]))
        borders = map(math.ceil, self._borders())
        return within([step for border in borders for step in (border - 1, border)], first, last)

    def _stretched(self, factor: Fraction) -> Schedule:
        longer = Schedule._stretched(self, factor)
        if self.cycles is None or self.cycles > MAX_CYCLES or longer.length == round((self.length or 0) * factor):
            return longer
        borders = [round(Fraction(border) * factor) for border in self._borders()]
        return in_cycles(self._cycle, [*borders[:-1], round((self.length or 0) * factor)])

    def _cycle(self, i: int, steps: int) -> Schedule:
        return Cosine(checks.powered("CosineRestarts peak", self.start, self.decay, i), self.end, steps)
