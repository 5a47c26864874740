"""Arithmetic of schedules beside ``*`` and ``+``: quotients, powers, the smaller and the larger of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import POWER, PRODUCT, Schedule
from fastlr.schedules.combine import Combination, flatten, is_number, text
from fastlr.schedules.operators import operands
from fastlr.schedules.wrapper import Wrapper, require_schedule


@dataclass(frozen=True, slots=True, repr=False)
class Quotient(Combination):
    """One schedule divided by another, step by step; written ``a / b``.

    Formula: ``numerator(t) / denominator(t)``. The length is the longer one's.

    Raises ValueError where the denominator is 0 or changes its sign at a step where it turns.

    >>> from fastlr.schedules import Linear
    >>> s = 1.0 / Linear(start=1.0, end=4.0, length=3)
    >>> s(0), s(3), s
    (1.0, 0.25, 1.0 / Linear(start=1.0, end=4.0, length=3))
    """

    _binding: ClassVar[int] = PRODUCT
    numerator: Schedule
    denominator: Schedule

    def __post_init__(self) -> None:
        for one in self._operands:
            if not isinstance(one, Schedule):
                raise TypeError(f"Quotient takes schedules only: {one!r}. Wrap numbers in Constant.")
        values = {t: self.denominator(t) for t in self.denominator._turns()}
        low, high = min(values.values()), max(values.values())
        # One that only tends to 0 is allowed: its last value is 0.
        if low < 0.0 < high or 0.0 in [value for t, value in values.items() if t < checks.MAX_STEP]:
            raise ValueError(
                f"The denominator is 0 or changes its sign: {self.denominator!r}, from {low} to {high}. "
                "Divide by a schedule that stays away from 0."
            )
        _ = self.program

    @property
    def _operands(self) -> tuple[Schedule, ...]:
        return (self.numerator, self.denominator)

    def _rebuilt(self, operands: tuple[Schedule, ...]) -> Schedule:
        return Quotient(*operands)

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        self.numerator._emit(builder)
        self.denominator._emit(builder)
        builder.divide()

    def __repr__(self) -> str:
        one, two = self._operands
        # Python would divide two plain numbers before any schedule sees them.
        first = repr(one.start_value) if is_number(one) and not is_number(two) else text(one, PRODUCT)
        second = repr(two.start_value) if is_number(two) else text(two, PRODUCT + 1)
        return f"{first} / {second}"


class Choice(Combination):
    """What minimum and maximum share."""

    __slots__ = ()
    _name: ClassVar[str]
    operands: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        checks.replace(self, "operands", flatten(self, "operands"))
        _ = self.program  # refuses what nests too deeply before anything uses it

    @property
    def _operands(self) -> tuple[Schedule, ...]:
        return self.operands

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        for i, one in enumerate(self.operands):
            one._emit(builder)
            if i > 0:
                getattr(builder, self._name)()

    def __repr__(self) -> str:
        shown = [repr(one.start_value) if is_number(one) else repr(one) for one in self.operands]
        return f"{self._name}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, repr=False)
class Minimum(Choice):
    """The smallest of several schedules, step by step; written ``minimum(a, b)``.

    Formula: ``min(a(t), b(t), ...)``. Raises ValueError for fewer than two operands. Source: Noam's schedule is one.

    >>> from fastlr.schedules import Linear
    >>> s = minimum(Linear(start=1.0, end=0.0, length=4), 0.6)
    >>> s(0), s(2), s
    (0.6, 0.5, minimum(Linear(start=1.0, end=0.0, length=4), 0.6))
    """

    _name: ClassVar[str] = "minimum"
    operands: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        Choice.__post_init__(self)


@dataclass(frozen=True, slots=True, repr=False)
class Maximum(Choice):
    """The largest of several schedules, step by step; written ``maximum(a, b)``.

    Formula: ``max(a(t), b(t), ...)``. Raises ValueError for fewer than two operands. Source: Megatron's inverse square
    root with a lowest rate, optax's ``end_value``.

    >>> from fastlr.schedules import Linear
    >>> s = maximum(Linear(start=1.0, end=0.0, length=4), 0.6)
    >>> s(0), s(2)
    (1.0, 0.6)
    """

    _name: ClassVar[str] = "maximum"
    operands: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        Choice.__post_init__(self)


def minimum(*values: Schedule | float) -> Schedule:
    """The smallest of several schedules and numbers at every step. Raises TypeError for anything else."""
    return Minimum(operands("minimum", values))


def maximum(*values: Schedule | float) -> Schedule:
    """The largest of several schedules and numbers at every step. Raises TypeError for anything else."""
    return Maximum(operands("maximum", values))


@dataclass(frozen=True, slots=True, repr=False)
class PowerOf(Wrapper):
    """A schedule raised to a power, step by step; written ``s ** power``.

    Formula: ``schedule(t) ** power``.

    Raises ValueError for a power that is not above 0 or a schedule that goes below 0.
    Source: the ``exponent`` of optax's ``cosine_decay_schedule``.

    >>> from fastlr.schedules import Linear
    >>> s = Linear(start=1.0, end=0.0, length=4) ** 2
    >>> s(0), s(2), s(4), s
    (1.0, 0.25, 0.0, Linear(start=1.0, end=0.0, length=4) ** 2.0)
    """

    _binding: ClassVar[int] = POWER
    schedule: Schedule
    power: float

    def __post_init__(self) -> None:
        require_schedule(self)
        checks.positive_reals(self, "power")
        if self.schedule.minimum_value < 0.0:
            raise ValueError(f"The schedule goes below 0: {self.schedule!r}. Raise one that does not to a power.")
        _ = self.program

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        self.schedule._emit(builder)
        builder.raise_to(power=self.power)

    def __repr__(self) -> str:
        return f"{text(self.schedule, POWER + 1)} ** {self.power!r}"
