"""timm's schedulers (1.0.31): the value at t is what ``step_update(t)`` sets with ``t_in_epochs=False``.

With ``t_in_epochs=True`` the same arguments count epochs: ``s.per_epoch(n)`` turns them into updates. Noise is refused:
it is drawn anew for every step, and a schedule has one value. Cycles are counted up, so the rate restarts at every
border; timm finds the cycle by a logarithm and is one step late at some of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from fastlr.compat._cycles import Cycles, ignore, prefixed
from fastlr.compat._pieces import function, joined, listed, option, positive, tabulable, warmed, whole
from fastlr.compat._timm_ema import ema_decay
from fastlr.schedules import (
    Constant,
    Cosine,
    InverseSqrt,
    InverseTime,
    MultiStep,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    Step,
    Table,
    Tanh,
    checks,
    maximum,
    recipes,
)

__all__ = [
    "CosineLRScheduler",
    "MultiStepLRScheduler",
    "PlateauLRScheduler",
    "PolyLRScheduler",
    "StepLRScheduler",
    "TanhLRScheduler",
    "WSDLRScheduler",
    "ema_decay",
]

MAX_STAIRS = 4096


def CosineLRScheduler(
    base_lr: float,
    t_initial: int,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    k_decay: float = 1.0,
    **options: Any,
) -> Schedule:
    """Cycles of ``t_initial * cycle_mul**i`` steps from ``base_lr * cycle_decay**i`` to lr_min along
    ``(1 + cos(pi * u**k_decay)) / 2``; lr_min after cycle_limit of them.

    Cycles of fractional lengths with a k_decay are tabulated, up to a million steps.

    >>> CosineLRScheduler(0.1, t_initial=300, lr_min=1e-5)
    Cosine(start=0.1, end=1e-05, length=300)
    """
    ignore(options)
    k = checks.real("k_decay", k_decay)
    cycles = Cycles(t_initial, base_lr, lr_min, cycle_mul, cycle_decay, cycle_limit)
    shape = cycles.schedule(
        lambda start, end, steps: Cosine(start, end, steps, k), lambda u: 0.5 * (1.0 + math.cos(math.pi * u**k)), k == 1
    )
    return prefixed(base_lr, shape, warmup_t, warmup_lr_init, warmup_prefix)


def TanhLRScheduler(
    base_lr: float,
    t_initial: int,
    lb: float = -7.0,
    ub: float = 3.0,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    **options: Any,
) -> Schedule:
    """The same cycles along ``(1 - tanh(lb * (1 - u) + ub * u)) / 2``; lr_min after cycle_limit of them.

    >>> s = TanhLRScheduler(1.0, t_initial=100)
    >>> round(s(0), 6), round(s(70), 6), s(100)
    (0.999999, 0.5, 0.0)
    """
    ignore(options)
    low, high = checks.real("lb", lb), checks.real("ub", ub)
    cycles = Cycles(t_initial, base_lr, lr_min, cycle_mul, cycle_decay, cycle_limit)
    shape = cycles.schedule(
        lambda start, end, steps: Tanh(start, end, steps, low, high),
        lambda u: 0.5 * (1.0 - math.tanh(low * (1.0 - u) + high * u)),
    )
    # timm's warm-up aims at where the curve is by then.
    peak = base_lr if warmup_prefix else shape(whole("warmup_t", warmup_t))
    return prefixed(peak, shape, warmup_t, warmup_lr_init, warmup_prefix)


def PolyLRScheduler(
    base_lr: float,
    t_initial: int,
    power: float = 0.5,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    k_decay: float = 1.0,
    **options: Any,
) -> Schedule:
    """The same cycles along ``(1 - u**k_decay)**power``; lr_min after cycle_limit of them.

    >>> PolyLRScheduler(0.1, t_initial=300, power=2.0)
    Polynomial(start=0.1, end=0.0, length=300, power=2.0)
    """
    ignore(options)
    exponent, k = checks.real("power", power), checks.real("k_decay", k_decay)
    cycles = Cycles(t_initial, base_lr, lr_min, cycle_mul, cycle_decay, cycle_limit)
    shape = cycles.schedule(
        lambda start, end, steps: Polynomial(start, end, steps, exponent, k), lambda u: (1.0 - u**k) ** exponent
    )
    return prefixed(base_lr, shape, warmup_t, warmup_lr_init, warmup_prefix)


def StepLRScheduler(
    base_lr: float,
    decay_t: float,
    decay_rate: float = 1.0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    **options: Any,
) -> Schedule:
    """``base_lr * decay_rate**floor(t / decay_t)``. A decay_t that is not whole is followed for 4096 decays.

    >>> s = StepLRScheduler(1.0, decay_t=2.4, decay_rate=0.5)
    >>> [s(t) for t in (0, 2, 3, 5, 8)]
    [1.0, 1.0, 0.5, 0.25, 0.125]
    """
    ignore(options)
    every = Fraction(positive("decay_t", decay_t))
    decay: Schedule
    if every.denominator == 1:
        decay = Step(base_lr, int(every), decay_rate)
    else:
        stairs = tuple(math.ceil(i * every) for i in range(1, MAX_STAIRS + 1))
        decay = MultiStep(base_lr, stairs, decay_rate)
    return prefixed(base_lr, decay, warmup_t, warmup_lr_init, warmup_prefix)


def MultiStepLRScheduler(
    base_lr: float,
    decay_t: Iterable[int],
    decay_rate: float = 1.0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    **options: Any,
) -> Schedule:
    """``base_lr * decay_rate**(number of decay_t reached)``.

    timm decays one step early, at ``t = m - 1``. Here the new value holds from ``t = m`` on, as in torch; with
    milestones that are one smaller it is timm's own.

    >>> s = MultiStepLRScheduler(1.0, decay_t=[10], decay_rate=0.1)
    >>> s(9), s(10)
    (1.0, 0.1)
    """
    ignore(options)
    decay = falling(base_lr, [whole("decay_t entry", one) for one in listed("decay_t", decay_t)], decay_rate)
    return prefixed(base_lr, decay, warmup_t, warmup_lr_init, warmup_prefix)


def falling(base_lr: float, milestones: Iterable[int], gamma: float) -> Schedule:
    """A factor at every milestone, those at or before the first step included."""
    steps = sorted(milestones)
    reached = sum(step <= 0 for step in steps)
    base, factor = checks.real("base_lr", base_lr), checks.real("decay_rate", gamma)
    return MultiStep(checks.powered("rate at step 0", base, factor, reached), tuple(steps[reached:]), factor)


def PlateauLRScheduler(
    base_lr: float,
    decay_rate: float = 0.1,
    patience_t: int = 10,
    threshold: float = 1e-4,
    cooldown_t: int = 0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    lr_min: float = 0.0,
    mode: str = "max",
    **options: Any,
) -> ReduceOnPlateau:
    """A warm-up to base_lr, and `fastlr.ReduceOnPlateau` with timm's names for torch's arguments.

    timm looks at no metric during the warm-up: report from its end on.

    >>> s = PlateauLRScheduler(1.0, warmup_t=4)
    >>> s(0), s(2), s(9)
    (0.0, 0.5, 1.0)
    """
    ignore(options)
    warm = warmed(warmup_lr_init, base_lr, whole("warmup_t", warmup_t), Constant(base_lr))
    return ReduceOnPlateau(
        warm,
        mode=mode,
        factor=decay_rate,
        patience=patience_t,
        threshold=threshold,
        cooldown=cooldown_t,
        min_lr=lr_min,
    )


def WSDLRScheduler(
    base_lr: float,
    t_initial: int,
    decay_t: int,
    lr_min: float = 0.0,
    stable_fn: str = "constant",
    stable_timescale: float | None = None,
    stable_power: float = 0.5,
    decay_fn: str | Callable[[float], float] = "1-sqrt",
    decay_power: float = 0.5,
    decay_ratio: float = 0.1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    **options: Any,
) -> Schedule:
    """Warm-up, a stable phase that may fall slowly, and a decay over the last decay_t of t_initial steps.

    Formula: ``lr_min + (max(base_lr * S, lr_min) - lr_min) * D``; S is 1 for "constant" and
    ``(1 + t / stable_timescale)**-p`` with p 0.5 for "rsqrt" and stable_power for "power", t since the warm-up; D is
    1 before the decay and a function of ``u`` from 1 to 0 in it: "linear", "1-sqrt", "cosine", "power"
    (``1 - u**decay_power``), "exp" (``(r**u - r) / (1 - r)`` with ``r = decay_ratio``) or one's own, tabulated.

    Raises ValueError where decay_t is not between 1 and t_initial, or "rsqrt" and "power" have no timescale above 0.

    >>> WSDLRScheduler(1.0, t_initial=100, decay_t=20)
    Constant(value=1.0, length=80) >> Power(start=1.0, end=0.0, length=20, power=0.5)
    """
    ignore(options)
    total, last = whole("t_initial", t_initial, 1), whole("decay_t", decay_t, 1)
    if last > total:
        raise ValueError(f"decay_t is above t_initial: {decay_t} of {t_initial}. Use at most t_initial.")
    base, low, steps = checks.real("base_lr", base_lr), checks.real("lr_min", lr_min), whole("warmup_t", warmup_t)

    def decay(start: float, end: float) -> Schedule:
        return decay_shape(decay_fn, start, end, last, decay_power, decay_ratio)

    if option("stable_fn", stable_fn, ("constant", "rsqrt", "power")) == "constant":
        high = max(base, low)
        after = joined([(total - last, Constant(high, max(total - last, 1)))], decay(high, low))
        return warmed(warmup_lr_init, base, steps, after)
    timescale = positive("stable_timescale", steps if stable_timescale is None else stable_timescale)
    stable: Schedule = InverseSqrt(base, timescale)
    if stable_fn == "power":
        stable = base * InverseTime(1.0, 1.0 / timescale) ** stable_power
    above = maximum(stable, low) - low if low > 0.0 else stable
    shape = joined([(total - last, Constant(1.0, max(total - last, 1)))], decay(1.0, 0.0))
    return warmed(warmup_lr_init, base, steps, above * shape + low if low > 0.0 else above * shape)


def decay_shape(
    name: str | Callable[[float], float], start: float, end: float, steps: int, power: float, ratio: float
) -> Schedule:
    """The last phase of `WSDLRScheduler`."""
    if not isinstance(name, str):
        weight = function("decay_fn", name)
        weights = [weight(t / steps) for t in range(tabulable("decay_t", steps) + 1)]
        return Table(tuple(end + (start - end) * weight for weight in weights))
    option("decay_fn", name, ("linear", "1-sqrt", "cosine", "power", "exp"))
    return recipes.decay_shape("exponential" if name == "exp" else name, start, end, steps, power, ratio)
