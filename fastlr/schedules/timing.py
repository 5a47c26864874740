"""Schedules in another time: later, held, counted in epochs, as a staircase."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import ATOM, Schedule
from fastlr.schedules.combine import text
from fastlr.schedules.wrapper import require_schedule

MAX_STAIRS = 4096  # that are looked at one by one for the extremes


@dataclass(frozen=True, slots=True, repr=False)
class Shift(Schedule):
    """The same schedule `steps` later, or part-way in for negative steps; written ``s.shift(steps)``.

    Formula: ``schedule(max(t - steps, 0))``. Two shifts in the same direction become one.

    Raises ValueError for 0 steps, more than 2**53, or where a negative shift leaves no step.
    Source: optax's ``transition_begin`` and torch's ``last_epoch`` serve parts of it.

    >>> from fastlr.schedules import Linear
    >>> s = Linear(start=1.0, end=0.0, length=4).shift(1)
    >>> [s(t) for t in (0, 1, 2, 5)], s.length
    ([1.0, 1.0, 0.75, 0.0], 5)
    """

    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        require_schedule(self)
        steps = checks.integer("Shift steps", self.steps, -checks.MAX_LENGTH)
        if steps == 0:
            raise ValueError("Shift steps are zero: 0. Use the schedule itself.")
        inner = self.schedule
        if isinstance(inner, Shift) and (inner.steps > 0) == (steps > 0):
            checks.replace(self, "schedule", inner.schedule)
            steps = checks.integer("Shift steps", inner.steps + steps, -checks.MAX_LENGTH)
        checks.replace(self, "steps", steps)
        length = self.length
        if length is not None and not 1 <= length <= checks.MAX_LENGTH:
            raise ValueError(
                f"Shift leaves no step or too many: {steps} on a length of {self.schedule.length}. "
                "Keep the length between 1 and 2**53."
            )
        _ = self.program  # refuses what nests too deeply before anything uses it

    @property
    def length(self) -> int | None:
        """The schedule's length plus the steps, None if it has no end."""
        return None if self.schedule.length is None else self.schedule.length + self.steps

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.begin_shift(offset=self.steps)
        self.schedule._emit(builder)
        builder.end_shift()

    def _turns_within(self, first: int, last: int) -> list[int]:
        start, end = (min(max(step - self.steps, 0), checks.MAX_STEP) for step in (first, last))
        return [max(first, min(step + self.steps, last)) for step in self.schedule._turns_within(start, end)]

    def _stretched(self, factor: Fraction) -> Schedule:
        inner = self.schedule._stretched(factor)
        if self.length is None or inner.length is None:
            return inner.shift(round(self.steps * factor))
        return inner.shift(max(round(self.length * factor), 1) - inner.length)

    def _extrapolated(self) -> Schedule:
        return self.schedule._extrapolated().shift(self.steps)

    def __repr__(self) -> str:
        return f"{text(self.schedule, ATOM)}.shift({self.steps})"


@dataclass(frozen=True, slots=True, repr=False)
class Hold(Schedule):
    """A schedule whose time stands at `length`; written ``s.hold(length)``.

    Formula: ``schedule(min(t, length))``.

    Raises ValueError for a length below 1. Source: every clamp of a step count; Megatron's ``max_steps``.

    >>> from fastlr.schedules import Constant, Exponential
    >>> s = Exponential(start=1.0, gamma=0.5).hold(2) >> Constant(7.0)
    >>> [s(t) for t in (0, 1, 2)]
    [1.0, 0.5, 7.0]
    """

    schedule: Schedule
    length: int

    def __post_init__(self) -> None:
        require_schedule(self)
        checks.lengths(self, "length")
        _ = self.program

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.begin_hold(last=self.length)
        self.schedule._emit(builder)
        builder.end_hold()

    def _turns_within(self, first: int, last: int) -> list[int]:
        turns = self.schedule._turns_within(min(first, self.length), min(last, self.length))
        return [max(first, step) for step in turns]

    def _stretched(self, factor: Fraction) -> Schedule:
        return Hold(self.schedule._stretched(factor), checks.scaled(self.length, factor))

    def __repr__(self) -> str:
        return f"{text(self.schedule, ATOM)}.hold({self.length})"


@dataclass(frozen=True, slots=True, repr=False)
class PerEpoch(Schedule):
    """A schedule counted in epochs; written ``s.per_epoch(steps)``.

    Formula: ``schedule(floor(t / steps))``.

    Raises ValueError for fewer than 1 step. Source: torch's schedulers when they are stepped once an epoch.

    >>> from fastlr.schedules import Exponential
    >>> s = Exponential(start=1.0, gamma=0.5).per_epoch(3)
    >>> [s(t) for t in (0, 2, 3, 6)]
    [1.0, 1.0, 0.5, 0.25]
    """

    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        require_schedule(self)
        steps = checks.integer("PerEpoch steps", self.steps)
        if isinstance(self.schedule, PerEpoch):
            steps = checks.integer("PerEpoch steps", steps * self.schedule.steps)
            checks.replace(self, "schedule", self.schedule.schedule)
        checks.replace(self, "steps", steps)
        if self.length is not None:
            checks.integer("PerEpoch length", self.length)
        _ = self.program

    @property
    def length(self) -> int | None:
        """The schedule's length in epochs, times `steps`."""
        return None if self.schedule.length is None else self.schedule.length * self.steps

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.begin_floor(period=self.steps, stride=1)
        self.schedule._emit(builder)
        builder.end_floor()

    def _turns_within(self, first: int, last: int) -> list[int]:
        turns = self.schedule._turns_within(first // self.steps, last // self.steps)
        return [max(first, step * self.steps) for step in turns]

    def _stretched(self, factor: Fraction) -> Schedule:
        return PerEpoch(self.schedule, checks.scaled(self.steps, factor))

    def __repr__(self) -> str:
        return f"{text(self.schedule, ATOM)}.per_epoch({self.steps})"


@dataclass(frozen=True, slots=True, repr=False)
class Staircase(Schedule):
    """A schedule that changes every `steps` steps only; written ``s.floor(steps)``.

    Formula: ``schedule(steps * floor(t / steps))``.

    Raises ValueError for fewer than 1 step. Source: ``staircase=True`` of optax and keras.

    >>> from fastlr.schedules import Linear
    >>> s = Linear(start=1.0, end=0.0, length=4).floor(2)
    >>> [s(t) for t in (0, 1, 2, 3, 4)], s.length
    ([1.0, 1.0, 0.5, 0.5, 0.0], 4)
    """

    schedule: Schedule
    steps: int

    def __post_init__(self) -> None:
        require_schedule(self)
        checks.lengths(self, "steps")
        if self.length is not None:
            checks.integer("Staircase length", self.length)
        _ = self.program

    @property
    def length(self) -> int | None:
        """The first multiple of `steps` that is not below the schedule's length."""
        return None if self.schedule.length is None else -(-self.schedule.length // self.steps) * self.steps

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.begin_floor(period=self.steps, stride=self.steps)
        self.schedule._emit(builder)
        builder.end_floor()

    def _turns_within(self, first: int, last: int) -> list[int]:
        start, end = (step // self.steps * self.steps for step in (first, last))
        if end - start <= MAX_STAIRS * self.steps:  # all of them: they may meet each cycle of the schedule elsewhere
            return [first, *range(start + self.steps, end + 1, self.steps)]
        below = {step // self.steps * self.steps for step in self.schedule._turns_within(start, end)}
        stairs = below | {step + self.steps for step in below}
        return sorted({max(first, min(step, last)) for step in stairs})

    def _stretched(self, factor: Fraction) -> Schedule:
        return Staircase(self.schedule._stretched(factor), checks.scaled(self.steps, factor))

    def __repr__(self) -> str:
        return f"{text(self.schedule, ATOM)}.floor({self.steps})"
