"""The plainest shapes: constant, linear, line, cosine, polynomial and warm-up.

In the formulas ``u = clamp(t / length, 0, 1)``.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule


@dataclass(frozen=True, slots=True, repr=False)
class Constant(Schedule):
    """The same value at every step.

    Formula: ``value``. With a length it can be followed by another piece: ``Constant(0.1, 100) >> ...``.

    Raises ValueError for a value that is not finite or a length below 1.
    Source: optax ``constant_schedule``; torch ``ConstantLR`` is ``Constant(b * factor, n) >> Constant(b)``.

    >>> s = Constant(0.1)
    >>> s(0), s(10**9), s.length
    (0.1, 0.1, None)
    """

    value: float
    length: int | None = None

    def __post_init__(self) -> None:
        checks.reals(self, "value")
        if self.length is not None:
            checks.lengths(self, "length")

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.constant(value=self.value)

    def _extrapolated(self) -> Schedule:
        return Constant(self.value)


@dataclass(frozen=True, slots=True, repr=False)
class Ramp(Schedule):
    """From start at ``t = 0`` to end at ``t = length``: what linear, cosine and polynomial share."""

    start: float
    end: float
    length: int

    def __post_init__(self) -> None:
        checks.reals(self, "start", "end")
        checks.lengths(self, "length")

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        if self.start == self.end:  # the two weights need not add up to 1 exactly
            builder.constant(value=self.start)
        else:
            self._emit_ramp(builder)

    @abstractmethod
    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        """Append the instruction of a ramp whose ends differ."""


@dataclass(frozen=True, slots=True, repr=False)
class Linear(Ramp):
    """A straight line that reaches its end at ``t = length`` and holds it.

    Formula: ``start * (1 - u) + end * u``.

    Raises ValueError for values that are not finite or a length below 1.
    Source: optax ``linear_schedule``; torch ``LinearLR`` with ``start = b * start_factor``, ``end = b * end_factor``,
    ``length = total_iters``; both reach the end at ``t = length``.

    >>> s = Linear(start=1.0, end=0.0, length=4)
    >>> [s(t) for t in (0, 1, 4, 5)]
    [1.0, 0.75, 0.0, 0.0]
    """

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        builder.linear(start=self.start, end=self.end, origin=0.0, finish=float(self.length))

    def _extrapolated(self) -> Schedule:
        return Line(self.start, self.end, self.length)


@dataclass(frozen=True, slots=True, repr=False)
class Line(Schedule):
    """A straight line that goes on: through start at ``t = 0`` and end at ``t = steps``, without end.

    Formula: ``start + (end - start) * t / steps``.

    Raises ValueError for values that are not finite or fewer than 1 step.
    Source: deepspeed's ``LRRangeTest`` in its linear form; ``Linear`` with ``past_end("extrapolate")``.

    >>> s = Line(start=1.0, end=2.0, steps=4)
    >>> [s(t) for t in (0, 1, 4, 8)], s.length
    ([1.0, 1.25, 2.0, 3.0], None)
    """

    _steps: ClassVar[tuple[str, ...]] = ("steps",)
    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        checks.reals(self, "start", "end")
        checks.lengths(self, "steps")

    @property
    def length(self) -> None:
        """None: it has no end."""

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.line(start=self.start, end=self.end, origin=0.0, finish=float(self.steps))


@dataclass(frozen=True, slots=True, repr=False)
class Cosine(Ramp):
    """Half a cosine that reaches its end at ``t = length`` and holds it.

    Formula: ``end + (start - end) * (1 + cos(pi * u**k)) / 2``, evaluated as sin squared, so that a tail near 0 keeps
    its digits. ``k`` above 1 stays longer near the start (timm's ``k_decay``).

    Raises ValueError for values that are not finite, a length below 1 or a k that is not above 0.
    Source: optax ``cosine_decay_schedule``, which holds too; torch ``CosineAnnealingLR`` up to ``t = T_max``, after
    which torch rises again.

    >>> s = Cosine(start=1.0, end=0.0, length=4)
    >>> s(0), round(s(2), 15), s(4), s(5)
    (1.0, 0.5, 0.0, 0.0)
    """

    k: float = 1.0

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)
        checks.positive_reals(self, "k")

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        builder.cosine(start=self.start, end=self.end, origin=0.0, finish=float(self.length), warp=self.k)

    def _extrapolated(self) -> Schedule:
        if self.k != 1.0:
            return Ramp._extrapolated(self)  # refuses
        return (self >> Cosine(self.end, self.start, self.length)).repeat()


@dataclass(frozen=True, slots=True, repr=False)
class Polynomial(Ramp):
    """A power of the part that is left; reaches its end at ``t = length`` and holds it.

    Formula: ``end + (start - end) * (1 - u**k) ** power``.

    Raises ValueError for values that are not finite, a length below 1 or a power or k that is not above 0.
    Source: optax and keras ``polynomial``, transformers' polynomial decay; torch ``PolynomialLR`` is the case
    ``end = 0``.

    >>> s = Polynomial(start=1.0, end=0.0, length=4, power=2.0)
    >>> [s(t) for t in (0, 2, 4, 5)]
    [1.0, 0.25, 0.0, 0.0]
    """

    power: float
    k: float = 1.0

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)
        checks.positive_reals(self, "power", "k")

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        ramp = {"start": self.start, "end": self.end, "origin": 0.0, "finish": float(self.length)}
        builder.polynomial(**ramp, power=self.power, warp=self.k)


@dataclass(frozen=True, slots=True, repr=False)
class Warmup(Schedule):
    """A straight rise whose first update already has a rate above 0; reaches its peak at ``t = length - 1``.

    Formula: ``peak * min((t + 1) / length, 1)``.

    Raises ValueError for a peak that is not finite or below 0 and a length below 1.
    Source: schedulefree's ``(k + 1) / warmup_steps``. transformers' ``*_with_warmup`` is ``t / length``: its first
    update has rate 0.

    >>> s = Warmup(peak=1.0, length=4)
    >>> [s(t) for t in (0, 1, 2, 3, 4)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    peak: float = field()  # without field() the property of this name would be taken as its default
    length: int

    def __post_init__(self) -> None:
        checks.reals(self, "peak")
        if self.peak < 0.0:
            raise ValueError(f"Warmup peak is negative: {self.peak!r}. Use 0 or more.")
        checks.lengths(self, "length")

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        builder.linear(start=0.0, end=self.peak, origin=-1.0, finish=float(self.length - 1))
