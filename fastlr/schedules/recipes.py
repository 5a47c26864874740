"""Common schedules in one call."""

from __future__ import annotations

from collections.abc import Callable

from fastlr.schedules import checks
from fastlr.schedules.arithmetic import minimum
from fastlr.schedules.base import Schedule
from fastlr.schedules.combine import Sequence
from fastlr.schedules.curves import Geometric, NormalizedExponential, Power
from fastlr.schedules.endless import InverseSqrt
from fastlr.schedules.shapes import Constant, Cosine, Line, Linear, Polynomial, Warmup


def warmup_cosine(peak: float, total: int, warmup: int | float = 0.05, *, end: float = 0.0) -> Schedule:
    """A linear warm-up to `peak`, then half a cosine to `end` over the rest of `total` steps.

    Formula: ``Warmup(peak, w) >> Cosine(peak, end, total - w)``. `warmup` is a number of steps as an int, or a share
    of total as a float from 0 up to but not including 1: then ``w = round(warmup * total)``, at least 1 if the share is
    above 0 and total above 1. Without a warm-up it is the cosine alone. The first update has a rate above 0, and `end`
    is reached at ``t = total``, one step after the last update.

    Raises ValueError where the warm-up leaves no step for the cosine.
    Source: transformers ``get_cosine_schedule_with_warmup``, whose first update has rate 0; optax
    ``warmup_cosine_decay_schedule``.

    >>> s = warmup_cosine(1.0, 100)
    >>> s
    Warmup(peak=1.0, length=5) >> Cosine(start=1.0, end=0.0, length=95)
    >>> s(0), s(4), s(5), s(100)
    (0.2, 1.0, 1.0, 0.0)
    """
    steps = warmup_steps(checks.integer("warmup_cosine total", total), warmup)
    cosine = Cosine(start=peak, end=end, length=total - steps)
    return Warmup(peak=peak, length=steps) >> cosine if steps else cosine


def decay_shape(shape: str, start: float, end: float, length: int, power: float, ratio: float) -> Schedule:
    """The last part of a warm-up, stable, decay schedule."""
    shapes: dict[str, Callable[[], Schedule]] = {
        "linear": lambda: Linear(start, end, length),
        "cosine": lambda: Cosine(start, end, length),
        "1-sqrt": lambda: Power(start, end, length, 0.5),
        "power": lambda: Power(start, end, length, power),
        "polynomial": lambda: Polynomial(start, end, length, power),
        "exponential": lambda: NormalizedExponential(start, end, length, ratio),
        "geometric": lambda: Geometric(start, end, length),
    }
    if shape not in shapes:
        raise ValueError(f"decay shape is unknown: {shape!r}. Use one of {', '.join(shapes)}.")
    return shapes[shape]()


def warmup_stable_decay(
    peak: float,
    total: int,
    warmup: int | float = 0.05,
    decay: int | float = 0.2,
    *,
    shape: str = "linear",
    end: float = 0.0,
    power: float = 2.0,
    ratio: float = 0.5,
) -> Schedule:
    """A linear warm-up to `peak`, `peak` itself, and a decay to `end` over the last part of `total` steps.

    Formula: ``Warmup(peak, w) >> Constant(peak, total - w - d) >> D``; warmup and decay are numbers of steps as ints or
    shares of total as floats. D by `shape`, with ``u`` from 0 to 1: "linear" ``1 - u``, "cosine", "1-sqrt"
    ``1 - sqrt(u)``, "power" ``1 - u**power``, "polynomial" ``(1 - u)**power``, "exponential"
    ``(ratio**u - ratio) / (1 - ratio)``, "geometric" ``(end / peak)**u``.

    Raises ValueError where the parts leave no step or the shape is unknown.
    Source: Megatron-Core, transformers ``get_wsd_schedule``, timm; their first update has rate 0.

    >>> s = warmup_stable_decay(1.0, 100, warmup=10, decay=20, shape="1-sqrt")
    >>> s
    Warmup(peak=1.0, length=10) >> Constant(value=1.0, length=70) >> Power(start=1.0, end=0.0, length=20, power=0.5)
    >>> s(9), s(80), s(85), s(100)
    (1.0, 1.0, 0.5, 0.0)
    """
    steps = checks.integer("warmup_stable_decay total", total)
    first, last = warmup_steps(steps, warmup), warmup_steps(steps, decay, "decay")
    if first + last > steps or last == 0:
        raise ValueError(f"warmup and decay do not fit: {first} and {last} of {steps}. Shorten them; decay is above 0.")
    pieces: list[Schedule] = [Warmup(peak, first)] if first else []
    if steps > first + last:
        pieces.append(Constant(peak, steps - first - last))
    pieces.append(decay_shape(shape, peak, end, last, power, ratio))
    return pieces[0] if len(pieces) == 1 else Sequence(tuple(pieces))


def noam(d_model: int, warmup: int, factor: float = 1.0) -> Schedule:
    """The schedule of "Attention is all you need": a linear rise, then the inverse square root.

    Formula: ``factor * d_model**-0.5 * min(n**-0.5, n * warmup**-1.5)`` with ``n = t + 1``. The peak,
    ``factor / sqrt(d_model * warmup)``, is at ``t = warmup - 1``.

    Raises ValueError for a d_model or warmup below 1. Source: OpenNMT's and fairseq's Noam decay.

    >>> s = noam(d_model=4, warmup=16)
    >>> s(0) == 0.5 * 16**-1.5, s(15), s(63)
    (True, 0.125, 0.0625)
    """
    scale = checks.real("noam factor", factor) * checks.integer("noam d_model", d_model) ** -0.5
    steps = checks.integer("noam warmup", warmup)
    rise = Line(scale * steps**-1.5, 2.0 * scale * steps**-1.5, 1)
    return minimum(InverseSqrt(scale, 1.0), rise)


def inverse_sqrt(peak: float, warmup: int, timescale: int | None = None) -> Schedule:
    """A linear warm-up to `peak`, then the inverse square root of the time, without end.

    Formula: ``Warmup(peak, warmup) >> InverseSqrt(peak, timescale)``; timescale is warmup where it is not given. The
    first update has a rate above 0. Raises ValueError for lengths below 1.
    Source: transformers ``get_inverse_sqrt_schedule``, whose first update has rate 0.

    >>> s = inverse_sqrt(1.0, 100)
    >>> s(0), s(99), s(100), s(400)
    (0.01, 1.0, 1.0, 0.5)
    """
    scale = warmup if timescale is None else timescale
    return Warmup(peak, warmup) >> InverseSqrt(peak, float(checks.integer("inverse_sqrt timescale", scale)))


def range_test(low: float, high: float, length: int, mode: str = "exponential") -> Schedule:
    """The rising rates of a learning-rate range test.

    Formula: ``low * (high / low)**u`` for "exponential", ``low + (high - low) * u`` for "linear".

    Raises ValueError for rates that are not above 0 and rising, or another mode.
    Source: the finders of fastai and Lightning ("exponential"); deepspeed ``LRRangeTest`` ("linear").

    >>> s = range_test(1e-4, 1.0, 100)
    >>> s(0), round(s(50), 12), s(100)
    (0.0001, 0.01, 1.0)
    """
    if not 0.0 < checks.real("range_test low", low) < checks.real("range_test high", high):
        raise ValueError(f"range_test does not rise from above 0: {low!r} to {high!r}. Use 0 < low < high.")
    if mode not in ("exponential", "linear"):
        raise ValueError(f"range_test mode is unknown: {mode!r}. Use 'exponential' or 'linear'.")
    return (Geometric if mode == "exponential" else Linear)(low, high, length)


def warmup_steps(total: int, warmup: int | float, name: str = "warmup") -> int:
    """A part's length from a number of steps or a share of total."""
    if isinstance(warmup, float):
        share = checks.real(name, warmup)
        if not 0.0 <= share < 1.0:
            raise ValueError(
                f"{name} is not a share of total: {warmup!r}. Use 0.0 up to below 1.0, or an int of steps."
            )
        return min(max(round(share * total), 1), total - 1) if share > 0.0 else 0
    steps = checks.integer(name, warmup, 0)
    if steps >= total:
        raise ValueError(f"{name} leaves no step for the rest: {steps} of {total}. Use fewer steps.")
    return steps
