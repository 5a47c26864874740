"""What stands around a schedule: an end that raises, and a momentum that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import ATOM, Schedule
from fastlr.schedules.combine import text
from fastlr.schedules.wrapper import Wrapper, require_schedule


@dataclass(frozen=True, slots=True, repr=False)
class PastEnd(Wrapper):
    """A schedule without values past its end; written ``s.past_end("error")``.

    Formula: ``schedule(t)`` for ``t <= length``; ValueError at later steps, also in an optimizer's step.

    Raises ValueError for an endless schedule or another mode.
    Source: torch ``OneCycleLR`` and Paddle's raise past their end.

    >>> from fastlr.schedules import Linear
    >>> Linear(start=1.0, end=0.0, length=2).past_end("error")(2)
    0.0
    """

    schedule: Schedule
    mode: str = "error"

    def __post_init__(self) -> None:
        require_schedule(self)
        checks.choice(self, "mode", ("error",))
        if self.schedule.length is None:
            raise ValueError(f"The schedule has no end: {self.schedule!r}. Give it one with hold(length).")
        _ = self.program

    @property
    def length(self) -> int:
        """The schedule's length."""
        assert self.schedule.length is not None
        return self.schedule.length

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        self.schedule._emit(builder)
        builder.until(last=self.length)

    def _turns_within(self, first: int, last: int) -> list[int]:
        return self.schedule._turns_within(min(first, self.length), min(last, self.length))

    def _extrapolated(self) -> Schedule:
        return self.schedule._extrapolated()

    def __repr__(self) -> str:
        return f"{text(self.schedule, ATOM)}.past_end({self.mode!r})"


@dataclass(frozen=True, slots=True, repr=False)
class WithMomentum(Wrapper):
    """A rate together with the momentum of the same recipe.

    Formula: the values are those of `schedule`; ``momentum`` is a schedule of its own, to be given to an optimizer as
    its momentum.

    Raises TypeError for something else than schedules.
    Source: recipes that move both, such as Ultralytics' warm-up.

    >>> from fastlr.schedules import Linear
    >>> s = WithMomentum(Linear(start=0.0, end=0.1, length=4), Linear(start=0.8, end=0.9, length=4))
    >>> s(4), s.momentum(4)
    (0.1, 0.9)
    """

    schedule: Schedule
    momentum: Schedule

    def __post_init__(self) -> None:
        require_schedule(self)
        if not isinstance(self.momentum, Schedule):
            raise TypeError(f"WithMomentum momentum is no schedule: {self.momentum!r}. Wrap numbers in Constant.")
        _ = self.program

    def _stretched(self, factor: Fraction) -> Schedule:
        return WithMomentum(self.schedule._stretched(factor), self.momentum._stretched(factor))

    def _extrapolated(self) -> Schedule:
        return WithMomentum(self.schedule._extrapolated(), self.momentum)
