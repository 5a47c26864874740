"""Schedules made of schedules: sequence, product and sum."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import PRODUCT, SEQUENCE, SUM, Schedule
from fastlr.schedules.shapes import Constant


def text(schedule: Schedule, binding: int) -> str:
    """The schedule's text, in parentheses where it binds looser than its surroundings."""
    return repr(schedule) if schedule._binding >= binding else f"({schedule!r})"


def is_number(schedule: Schedule) -> bool:
    """Whether a plain number stands for this schedule in ``*`` and ``+``."""
    return type(schedule) is Constant and schedule.length is None


def flatten(schedule: Schedule, name: str) -> tuple[Schedule, ...]:
    """Check a field that holds two or more schedules; those of the schedule's own class give their parts."""
    label = checks.label(schedule, name)
    value = getattr(schedule, name)
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{label} are no tuple: {value!r}. Pass a tuple or list of schedules.")
    parts: list[Schedule] = []
    for one in value:
        if not isinstance(one, Schedule):
            raise TypeError(f"{label} hold something else than schedules: {one!r}. Wrap numbers in Constant.")
        parts.extend(getattr(one, name) if type(one) is type(schedule) else (one,))
    if len(parts) < 2:
        raise ValueError(f"{label} are too few: {len(parts)}. Pass at least 2.")
    return tuple(parts)


@dataclass(frozen=True, slots=True, repr=False)
class Sequence(Schedule):
    """Pieces one after the other, each seeing steps since its own start; written ``a >> b >> c``.

    Formula: ``piece[i](t - start[i])`` with ``start[i]`` the sum of the lengths before. Only the last piece may be
    endless. ``>>`` is associative: a sequence inside a sequence gives its pieces.

    Raises ValueError for fewer than two pieces, an endless piece before the last, or more than 2**53 steps.
    Source: optax ``join_schedules``; torch ``SequentialLR`` (torch's starts its pieces from changed rates).

    >>> from fastlr.schedules import Constant, Linear
    >>> s = Linear(start=1.0, end=0.0, length=2) >> Constant(3.0)
    >>> [s(t) for t in (0, 1, 2, 9)]
    [1.0, 0.5, 3.0, 3.0]
    """

    _binding: ClassVar[int] = SEQUENCE
    pieces: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        checks.replace(self, "pieces", flatten(self, "pieces"))
        for i, piece in enumerate(self.pieces[:-1]):
            if piece.length is None:
                raise ValueError(
                    f"Only the last piece may be endless: piece {i + 1} of {len(self.pieces)} is {piece!r}. "
                    "Give it a length, for example by multiplying it with Constant(1.0, length)."
                )
        total = sum(piece.length or 0 for piece in self.pieces)
        if total > checks.MAX_LENGTH:
            raise ValueError(f"Sequence is too long: {total} steps. Use at most 2**53.")
        _ = self.program  # refuses what nests too deeply before anything uses it

    @property
    def length(self) -> int | None:
        """The sum of the pieces' lengths, None if the last piece has no end."""
        last = self.pieces[-1].length
        return None if last is None else sum(self._lengths()) + last

    def _lengths(self) -> list[int]:
        return [piece.length for piece in self.pieces[:-1] if piece.length is not None]

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.begin_sequence(bounds=list(itertools.accumulate(self._lengths())))
        for piece in self.pieces:
            piece._emit(builder)
            builder.end_piece()

    def _turns_within(self, first: int, last: int) -> list[int]:
        turns: set[int] = set()
        starts = [0, *itertools.accumulate(self._lengths())]
        ends = [start - 1 for start in starts[1:]] + [checks.MAX_STEP]
        for piece, start, end in zip(self.pieces, starts, ends, strict=True):
            if start <= last and first <= end:
                inside = piece._turns_within(max(first - start, 0), min(last, end) - start)
                turns.update(start + step for step in inside)
        return sorted(turns)

    def _stretched(self, factor: Fraction) -> Schedule:
        ends = [round(end * factor) for end in itertools.accumulate(self._lengths())]
        starts = [0, *ends[:-1]]
        if any(end <= start for start, end in zip(starts, ends, strict=True)):
            raise ValueError(f"Stretching leaves a piece no step: {self!r} times {float(factor)}. Use a larger one.")
        parts: list[Schedule] = []
        for piece, start, end in zip(self.pieces, starts, ends, strict=False):
            parts.append(piece._stretched(Fraction(end - start, piece.length or 1)))
        last = self.pieces[-1]
        if last.length is not None:
            steps = round(factor * (sum(self._lengths()) + last.length)) - ends[-1]
            if steps < 1:
                raise ValueError(f"Stretching leaves a piece no step: {last!r}. Use a larger total.")
            factor = Fraction(steps, last.length)
        return Sequence((*parts, last._stretched(factor)))

    def _extrapolated(self) -> Schedule:
        return Sequence((*self.pieces[:-1], self.pieces[-1]._extrapolated()))

    def __repr__(self) -> str:
        return " >> ".join(text(piece, SEQUENCE + 1) for piece in self.pieces)


class Combination(Schedule):
    """What products and sums share. Operands are combined from left to right."""

    __slots__ = ()
    _sign: ClassVar[str]

    @property
    @abstractmethod
    def _operands(self) -> tuple[Schedule, ...]:
        """What is combined, in order."""

    @property
    def length(self) -> int | None:
        """The longest operand's length among those that have one, None if all are endless."""
        return max((one.length for one in self._operands if one.length is not None), default=None)

    def _rebuilt(self, operands: tuple[Schedule, ...]) -> Schedule:
        return type(self)(operands)

    def _stretched(self, factor: Fraction) -> Schedule:
        return self._rebuilt(tuple(one._stretched(factor) for one in self._operands))

    def _extrapolated(self) -> Schedule:
        return self._rebuilt(tuple(one._extrapolated() for one in self._operands))

    def _values_at_turns(self) -> NDArray[np.float64]:
        """Also around the largest and the smallest sample, closer and closer, down to single steps."""
        values = super()._values_at_turns()
        if sum(type(one) is not Constant for one in self._operands) < 2:
            return values
        return np.concatenate([values, self._closer(np.nanargmax), self._closer(np.nanargmin)])

    def _closer(self, pick: Callable[[NDArray[np.float64]], Any]) -> NDArray[np.float64]:
        """Values between the neighbours of the step picked, again and again until no step is left out."""
        steps = np.unique(np.array(self._turns(), dtype=np.int64))
        values = self._known(steps)
        while steps[-1] - steps[0] >= len(steps):
            place = int(pick(values))
            high = min(int(steps[min(place + 1, len(steps) - 1)]), checks.MAX_LENGTH)
            low = min(int(steps[max(place - 1, 0)]), high)
            count = min(high - low + 1, 4097)
            steps = np.unique(np.linspace(low, high, count).round().astype(np.int64))
            values = self._known(steps)
        return values

    def _turns_within(self, first: int, last: int) -> list[int]:
        varying = [one for one in self._operands if type(one) is not Constant]
        turns = {first, last}.union(*(one._turns_within(first, last) for one in varying))
        if len(varying) > 1:
            finite = max((step for step in turns if first < step < checks.MAX_STEP), default=checks.MAX_LENGTH)
            samples = np.linspace(first, finite, 4097)
            if last == checks.MAX_STEP:  # an operand goes on without end: look on at growing distances
                samples = np.concatenate([samples, first + np.geomspace(1, checks.MAX_LENGTH, 4097)])
            samples = samples[samples < checks.MAX_STEP]  # as floats they may have been rounded up
            turns.update(step for step in samples.astype(np.int64).tolist() if first < step < last)
        return sorted(turns)

    def __repr__(self) -> str:
        operands = self._operands
        shown = [text(one, self._binding + 1) for one in operands]
        for i, one in enumerate(operands):
            # Two plain numbers at the front would be combined by Python before any schedule sees them.
            if is_number(one) and (i > 0 or not is_number(operands[1])):
                shown[i] = repr(one.start_value)
        return self._sign.join(shown)


@dataclass(frozen=True, slots=True, repr=False)
class Product(Combination):
    """The product of schedules, step by step; written ``a * b``. Numbers become `Constant`.

    Formula: ``a(t) * b(t) * ...``. The length is that of the longest operand that has one; where an operand ends
    earlier its last value holds.

    Raises ValueError for fewer than two factors. Source: torch ``ChainedScheduler`` and optax's ``scale_by_schedule``
    one after the other are used for it (torch's is not a product for every pair of schedulers).

    >>> from fastlr.schedules import Linear
    >>> s = 0.5 * Linear(start=1.0, end=0.0, length=4)
    >>> s(0), s(2), s
    (0.5, 0.25, 0.5 * Linear(start=1.0, end=0.0, length=4))
    """

    _binding: ClassVar[int] = PRODUCT
    _sign: ClassVar[str] = " * "
    factors: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        checks.replace(self, "factors", flatten(self, "factors"))
        _ = self.program  # refuses what nests too deeply before anything uses it

    @property
    def _operands(self) -> tuple[Schedule, ...]:
        return self.factors

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        for i, factor in enumerate(self.factors):
            factor._emit(builder)
            if i > 0:
                builder.multiply()


@dataclass(frozen=True, slots=True, repr=False)
class Sum(Combination):
    """The sum of schedules, step by step; written ``a + b``. Numbers become `Constant`.

    Formula: ``a(t) + b(t) + ...``. The length is that of the longest operand that has one; where an operand ends
    earlier its last value holds.

    Raises ValueError for fewer than two terms. Source: none of the usual libraries has it as a schedule.

    >>> from fastlr.schedules import Linear
    >>> s = Linear(start=1.0, end=0.0, length=4) + 0.5
    >>> s(0), s(2), s(4)
    (1.5, 1.0, 0.5)
    """

    _binding: ClassVar[int] = SUM
    _sign: ClassVar[str] = " + "
    terms: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        checks.replace(self, "terms", flatten(self, "terms"))
        _ = self.program  # refuses what nests too deeply before anything uses it

    @property
    def _operands(self) -> tuple[Schedule, ...]:
        return self.terms

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        for i, term in enumerate(self.terms):
            term._emit(builder)
            if i > 0:
                builder.add()
