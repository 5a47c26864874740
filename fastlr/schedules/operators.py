"""What can be written between schedules, and after one: operators and methods that give other schedules."""

from __future__ import annotations

import numbers
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from fastlr.schedules import checks

if TYPE_CHECKING:
    from fastlr.schedules.base import Schedule


def operand(value: object) -> Schedule | None:
    """A schedule as it is, a number as a Constant, None for anything else."""
    from fastlr.schedules.base import Schedule
    from fastlr.schedules.shapes import Constant

    if isinstance(value, Schedule):
        return value
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return Constant(checks.real("Constant value", value))
    return None


def operands(name: str, values: tuple[object, ...]) -> tuple[Schedule, ...]:
    """The arguments of a function of schedules."""
    found = []
    for value in values:
        one = operand(value)
        if one is None:
            raise TypeError(f"{name} takes no {type(value).__name__}: {value!r}. Pass schedules and numbers.")
        found.append(one)
    return tuple(found)


class Operators:
    """Operators and methods of every schedule."""

    __slots__ = ()
    __array_ufunc__: Any = None  # numpy scalars leave the operators to the schedule

    def _combined(self, kind: str, other: object, *, swapped: bool = False) -> Any:
        from fastlr.schedules import arithmetic, combine

        one, two = operand(self), operand(other)
        if one is None or two is None:
            return NotImplemented
        pair = (two, one) if swapped else (one, two)
        if kind == "/":
            return arithmetic.Quotient(*pair)
        return combine.Product(pair) if kind == "*" else combine.Sum(pair)

    def __mul__(self, other: Schedule | float) -> Schedule:
        return cast("Schedule", self._combined("*", other))

    def __rmul__(self, other: float) -> Schedule:
        return cast("Schedule", self._combined("*", other, swapped=True))

    def __truediv__(self, other: Schedule | float) -> Schedule:
        return cast("Schedule", self._combined("/", other))

    def __rtruediv__(self, other: float) -> Schedule:
        return cast("Schedule", self._combined("/", other, swapped=True))

    def __add__(self, other: Schedule | float) -> Schedule:
        return cast("Schedule", self._combined("+", other))

    def __radd__(self, other: float) -> Schedule:
        return cast("Schedule", self._combined("+", other, swapped=True))

    def __neg__(self) -> Schedule:
        return self * -1.0

    def __sub__(self, other: Schedule | float) -> Schedule:
        second = operand(other)
        return NotImplemented if second is None else self + second * -1.0

    def __rsub__(self, other: float) -> Schedule:
        first = operand(other)
        return NotImplemented if first is None else first + self * -1.0

    def __pow__(self, power: float) -> Schedule:
        from fastlr.schedules.arithmetic import PowerOf

        return PowerOf(cast("Schedule", self), power)

    def __rshift__(self, other: Schedule) -> Schedule:
        from fastlr.schedules.base import Schedule
        from fastlr.schedules.combine import Sequence

        me = cast("Schedule", self)
        return Sequence((me, other)) if isinstance(other, Schedule) else NotImplemented

    def clip(self, low: float | Schedule | None = None, high: float | Schedule | None = None) -> Schedule:
        """Kept between two bounds: ``min(max(s(t), low), high)``.

        >>> from fastlr.schedules import Linear
        >>> s = Linear(start=1.0, end=0.0, length=4).clip(low=0.3, high=0.8)
        >>> s(0), s(2), s(4)
        (0.8, 0.5, 0.3)
        """
        from fastlr.schedules.arithmetic import maximum, minimum

        result = cast("Schedule", self)
        result = result if low is None else maximum(result, low)
        return result if high is None else minimum(result, high)

    def shift(self, steps: int) -> Schedule:
        """The same schedule `steps` later: ``s.shift(k)(t) = s(t - k)``, with ``s(0)`` held before.

        A negative `steps` starts it part-way and shortens it; at least one step has to be left.

        >>> from fastlr.schedules import Linear
        >>> s = Linear(start=1.0, end=0.0, length=4)
        >>> [s.shift(2)(t) for t in (0, 2, 3, 6)]
        [1.0, 1.0, 0.75, 0.0]
        >>> s.shift(-3)(0), s.shift(-3).length
        (0.25, 1)
        """
        from fastlr.schedules.timing import Shift

        me = cast("Schedule", self)
        return me if type(steps) is int and steps == 0 else Shift(me, steps)

    def hold(self, length: int) -> Schedule:
        """The value at `length` from there on: ``s(min(t, length))``. Gives an endless schedule an end.

        >>> from fastlr.schedules import Exponential
        >>> s = Exponential(start=1.0, gamma=0.5).hold(3)
        >>> s(2), s(3), s(9), s.length
        (0.25, 0.125, 0.125, 3)
        """
        from fastlr.schedules.timing import Hold

        return Hold(cast("Schedule", self), length)

    def per_epoch(self, steps: int) -> Schedule:
        """Counted in epochs of `steps` updates: ``s(floor(t / steps))``.

        >>> from fastlr.schedules import Linear
        >>> s = Linear(start=1.0, end=0.0, length=4).per_epoch(10)
        >>> s(0), s(9), s(10), s(40), s.length
        (1.0, 1.0, 0.75, 0.0, 40)
        """
        from fastlr.schedules.timing import PerEpoch

        return PerEpoch(cast("Schedule", self), steps)

    def floor(self, steps: int) -> Schedule:
        """A staircase: the value changes every `steps` steps only, ``s(steps * floor(t / steps))``.

        >>> from fastlr.schedules import Linear
        >>> s = Linear(start=1.0, end=0.0, length=8).floor(4)
        >>> s(0), s(3), s(4), s(8)
        (1.0, 1.0, 0.5, 0.0)
        """
        from fastlr.schedules.timing import Staircase

        return Staircase(cast("Schedule", self), steps)

    def repeat(self, times: int | None = None, decay: float = 1.0, growth: float = 1.0) -> Schedule:
        """Again and again: cycle ``i`` is ``length * growth**i`` steps long and its values are times ``decay**i``.

        Without `times` it goes on without end; with it the last value of the last cycle holds. Cycles of one length
        cost nothing; growing ones are written out, at most 4096 of them.

        >>> from fastlr.schedules import Linear
        >>> s = Linear(start=1.0, end=0.0, length=4).repeat(times=3, decay=0.5)
        >>> s(0), s(4), s(6), s(12), s.length
        (1.0, 0.5, 0.25, 0.0, 12)
        """
        from fastlr.schedules.repeat import Repeat

        return Repeat(cast("Schedule", self), times, decay, growth)

    def past_end(self, mode: str) -> Schedule:
        """What happens after ``t = length``: "hold" (the schedule itself), "extrapolate" or "error".

        "extrapolate" goes on with the formula: a line goes on, a cosine swings back with period ``2 * length`` (as
        torch's ``CosineAnnealingLR`` does). "error" raises ValueError for ``t > length``.

        >>> from fastlr.schedules import Cosine, Linear
        >>> Linear(start=1.0, end=0.5, length=2).past_end("extrapolate")(4)
        0.0
        >>> Cosine(start=1.0, end=0.0, length=4).past_end("extrapolate")(8)
        1.0
        >>> Linear(start=1.0, end=0.5, length=2).past_end("error")(3)
        Traceback (most recent call last):
        ...
        ValueError: A schedule has no value: step 3. It has ended, divides by 0 or multiplies 0 by infinity: \
make it longer, or let it hold its last value.
        """
        from fastlr.schedules.ends import PastEnd

        me = cast("Schedule", self)
        if mode not in ("hold", "extrapolate", "error"):
            raise ValueError(f"past_end mode is unknown: {mode!r}. Use 'hold', 'extrapolate' or 'error'.")
        if mode == "hold" or me.length is None:
            return me
        return me._extrapolated() if mode == "extrapolate" else PastEnd(me, mode)

    def stretch(self, factor: float) -> Schedule:
        """Every number of steps times `factor`; the borders of pieces are rounded to whole steps.

        >>> from fastlr.schedules import Cosine, Warmup
        >>> (Warmup(peak=0.1, length=5) >> Cosine(start=0.1, end=0.0, length=95)).stretch(2.5)
        Warmup(peak=0.1, length=12) >> Cosine(start=0.1, end=0.0, length=238)
        """
        ratio = checks.real("stretch factor", factor)
        if ratio <= 0.0:
            raise ValueError(f"stretch factor is not positive: {factor!r}. Use more than 0.")
        return cast("Schedule", self)._stretched(Fraction(ratio))

    def over(self, total: int) -> Schedule:
        """Stretched to exactly `total` steps, so that lengths may be written as shares of a whole.

        Raises ValueError for an endless schedule and where `total` does not hold whole epochs, stairs or table entries.

        >>> from fastlr.schedules import Cosine, Warmup
        >>> (Warmup(peak=0.1, length=5) >> Cosine(start=0.1, end=0.0, length=95)).over(40_000)
        Warmup(peak=0.1, length=2000) >> Cosine(start=0.1, end=0.0, length=38000)
        """
        me = cast("Schedule", self)
        steps = checks.integer("over total", total)
        if me.length is None:
            raise ValueError(f"An endless schedule has no shares: {me!r}. Give it an end with hold(length).")
        return me._stretched_to(steps)
