"""Curved ramps: power, tanh, geometric, logarithmic and normalised exponential.

In the formulas ``u = clamp(t / length, 0, 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule
from fastlr.schedules.decay import Exponential
from fastlr.schedules.shapes import Ramp


@dataclass(frozen=True, slots=True, repr=False)
class Power(Ramp):
    """A power of the part that is done; reaches its end at ``t = length`` and holds it.

    Formula: ``start + (end - start) * u ** power``. With start 1 and end 0 it is ``1 - u**power``: power 0.5 is the
    "1-sqrt" of warm-up, stable, decay.

    Raises ValueError for values that are not finite, a length below 1 or a power that is not above 0.
    Source: Megatron-Core "minus_sqrt", transformers WSD "1-sqrt"; timm's power decay.

    >>> s = Power(start=1.0, end=0.0, length=4, power=0.5)
    >>> [s(t) for t in (0, 1, 4, 5)]
    [1.0, 0.5, 0.0, 0.0]
    """

    power: float

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)
        checks.positive_reals(self, "power")

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        builder.power(start=self.start, end=self.end, origin=0.0, finish=float(self.length), power=self.power)


@dataclass(frozen=True, slots=True, repr=False)
class Tanh(Ramp):
    """Along a hyperbolic tangent; comes near its end at ``t = length`` and holds there.

    Formula: ``end + (start - end) / 2 * (1 - tanh(lower * (1 - u) + upper * u))``. The tangent does not reach its
    limits: with lower -7 and upper 3 it begins at ``start - 8e-7 * (start - end)`` and ends at
    ``end + 0.0025 * (start - end)``.

    Raises ValueError for values that are not finite, a length below 1 or a lower that is not below upper.
    Source: timm ``TanhLRScheduler``.

    >>> s = Tanh(start=1.0, end=0.0, length=10)
    >>> round(s(0), 6), round(s(7), 6), round(s(10), 6)
    (0.999999, 0.5, 0.002473)
    """

    lower: float = -7.0
    upper: float = 3.0

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)
        checks.reals(self, "lower", "upper")
        if self.lower >= self.upper:
            raise ValueError(f"Tanh lower is not below upper: {self.lower!r} and {self.upper!r}. Swap them.")

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        ramp = {"start": self.start, "end": self.end, "origin": 0.0, "finish": float(self.length)}
        builder.tanh(**ramp, lower=self.lower, upper=self.upper)


@dataclass(frozen=True, slots=True, repr=False)
class Geometric(Ramp):
    """By the same factor at every step; reaches its end at ``t = length`` and holds it.

    Formula: ``start * (end / start) ** u``.

    Raises ValueError for values that are not finite, 0 or of different signs, or a length below 1.
    Source: the sweeps of learning-rate finders; fastai ``SchedExp``.

    >>> s = Geometric(start=0.001, end=10.0, length=4)
    >>> s(0), round(s(2), 12), s(4)
    (0.001, 0.1, 10.0)
    """

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)
        if self.start == 0.0 or self.end == 0.0 or (self.start > 0.0) != (self.end > 0.0):
            raise ValueError(
                f"Geometric has no factor: from {self.start!r} to {self.end!r}. Use values of one sign, none of them 0."
            )

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        builder.geometric(start=self.start, end=self.end, origin=0.0, finish=float(self.length))

    def _extrapolated(self) -> Schedule:
        return Exponential(self.start, self.end / self.start, float(self.length))


@dataclass(frozen=True, slots=True, repr=False)
class Logarithmic(Ramp):
    """Along a logarithm; reaches its end at ``t = length`` and holds it.

    Formula: ``start + (end - start) * ln(1 + t) / ln(1 + length)``, clamped.

    Raises ValueError for values that are not finite or a length below 1.
    Source: deepspeed ``WarmupLR`` in its "log" form, with ``length = warmup_num_steps - 1``.

    >>> s = Logarithmic(start=0.0, end=1.0, length=3)
    >>> [s(t) for t in (0, 1, 3, 4)]
    [0.0, 0.5, 1.0, 1.0]
    """

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        builder.logarithmic(start=self.start, end=self.end, origin=0.0, finish=float(self.length))


@dataclass(frozen=True, slots=True, repr=False)
class NormalizedExponential(Ramp):
    """An exponential moved and scaled so that it reaches its end at ``t = length``, and holds it.

    Formula: ``end + (start - end) * (ratio**u - ratio) / (1 - ratio)``.

    Near ratio 1 digits are lost: values are good to about ``1e-16 / abs(1 - ratio)`` of the largest.

    Raises ValueError for values that are not finite, a length below 1, a ratio that is not above 0 or is 1.
    Source: Megatron-Core's WSD "exponential", ``2 * 0.5**u - 1``, is ratio 0.5; timm's exponential WSD decay.

    >>> s = NormalizedExponential(start=1.0, end=0.0, length=2, ratio=0.25)
    >>> [round(s(t), 12) for t in (0, 1, 2, 3)]
    [1.0, 0.333333333333, 0.0, 0.0]
    """

    ratio: float = 0.5

    def __post_init__(self) -> None:
        Ramp.__post_init__(self)
        checks.positive_reals(self, "ratio")
        if self.ratio == 1.0:
            raise ValueError("NormalizedExponential ratio is 1: 1.0. Use Linear, its limit.")
        _ = self.program  # refuses values whose difference, divided by 1 - ratio, is not finite

    def _emit_ramp(self, builder: _core.ProgramBuilder) -> None:
        builder.geometric(start=1.0, end=self.ratio, origin=0.0, finish=float(self.length))
        builder.constant(value=-self.ratio)
        builder.add()
        builder.constant(value=(self.start - self.end) / (1.0 - self.ratio))
        builder.multiply()
        builder.constant(value=self.end)
        builder.add()
