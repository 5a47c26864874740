"""Half cosines between borders that need not be whole steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule, within
from fastlr.schedules.repeat import MAX_CYCLES, cycle_turns


@dataclass(frozen=True, slots=True, repr=False)
class CosineCycles(Schedule):
    """Half a cosine again and again, each over a length of time that need not be whole; without end.

    Formula: ``end + (start - end) * (1 + cos(pi * x)) / 2`` with ``x = t / cycle`` where mirror is True, so that every
    second one rises again, and ``x = t / cycle - floor(t / cycle)`` where it is False.

    A cycle that is a ratio of whole numbers with a denominator of at most 4096 (``9500 / 3``) goes on without end. Any
    other is written out 4096 times, after which its last value holds.

    Raises ValueError for values that are not finite or a cycle that is not above 0.
    Source: ``num_cycles`` of transformers' cosine schedules; torch ``CosineAnnealingLR`` with a fractional ``T_max``.

    >>> s = CosineCycles(start=1.0, end=0.0, cycle=2.5)
    >>> [round(s(t), 6) for t in (0, 2, 3, 5)]
    [1.0, 0.095492, 0.904508, 1.0]
    >>> round(CosineCycles(start=1.0, end=0.0, cycle=2.5, mirror=True)(3), 6)
    0.095492
    """

    _steps: ClassVar[tuple[str, ...]] = ("cycle",)
    start: float
    end: float
    cycle: float
    mirror: bool = False

    def __post_init__(self) -> None:
        checks.reals(self, "start", "end")
        checks.positive_reals(self, "cycle")
        checks.choice(self, "mirror", (False, True))
        _ = self.program

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _exact(self) -> Fraction:
        """The cycle as the ratio that was rounded to it, or as it is."""
        ratio = Fraction(self.cycle).limit_denominator(MAX_CYCLES)
        return ratio if float(ratio) == self.cycle else Fraction(self.cycle)

    def _count(self) -> int:
        """The number of cycles that are written out: those of a whole number of steps, if there are few enough."""
        count = self._exact().denominator * (2 if self.mirror else 1)
        return min(count, 2 * MAX_CYCLES if self._repeats() else MAX_CYCLES)

    def _repeats(self) -> bool:
        ratio = self._exact()
        return ratio.denominator <= MAX_CYCLES and 2 * ratio.numerator <= checks.MAX_LENGTH

    def _pieces(self) -> Iterator[tuple[int, float, float, bool]]:
        """For each cycle that holds a step: its first step, its borders as seen from there, and whether it rises."""
        cycle = self._exact()
        for i in range(self._count()):
            first, after = math.ceil(i * cycle), math.ceil((i + 1) * cycle)
            if after > first:
                yield first, float(i * cycle - first), float((i + 1) * cycle - first), self.mirror and i % 2 == 1

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        if self.start == self.end:
            builder.constant(value=self.start)
            return
        pieces = list(self._pieces())
        if self._repeats():
            builder.begin_repeat(period=int(self._exact() * self._count()), cycles=0)
        builder.begin_sequence(bounds=[first for first, _, _, _ in pieces[1:]])
        for _, origin, finish, rises in pieces:
            start, end = (self.end, self.start) if rises else (self.start, self.end)
            builder.cosine(start=start, end=end, origin=origin, finish=finish)
            builder.end_piece()
        if self._repeats():
            builder.end_repeat()

    def _turns_within(self, first: int, last: int) -> list[int]:
        whole = math.ceil(self._exact() * self._count())
        borders = [*(begin for begin, _, _, _ in self._pieces()), whole]
        turns = [step for border in borders for step in (border - 1, border)]
        if self._repeats():
            return cycle_turns(whole, None, first, last, partial(within, turns))
        return within(turns, first, last)
