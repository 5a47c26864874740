"""What stands around one schedule and keeps its time."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule


def require_schedule(schedule: Schedule) -> None:
    """Check the field that holds what a wrapper wraps."""
    inner = schedule.schedule  # type: ignore[attr-defined]
    if not isinstance(inner, Schedule):
        raise TypeError(f"{checks.label(schedule, 'schedule')} is no schedule: {inner!r}. Wrap numbers in Constant.")


class Wrapper(Schedule):
    """A schedule around another one, as long as it, and turning where it turns."""

    __slots__ = ()
    schedule: Schedule

    @property
    def length(self) -> int | None:
        """The schedule's length."""
        return self.schedule.length

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        self.schedule._emit(builder)

    def _turns_within(self, first: int, last: int) -> list[int]:
        return self.schedule._turns_within(first, last)

    def _stretched(self, factor: Fraction) -> Schedule:
        return dataclasses.replace(self, schedule=self.schedule._stretched(factor))  # type: ignore[type-var]

    def _extrapolated(self) -> Schedule:
        return dataclasses.replace(self, schedule=self.schedule._extrapolated())  # type: ignore[type-var]
