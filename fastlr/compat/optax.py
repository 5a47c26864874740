"""optax's schedules (0.2.8), value by value in float64. optax itself computes in float32 unless x64 is enabled.

As in optax, a schedule with ``transition_steps <= 0`` stays at its first value, and boundaries hold the new value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastlr.compat._pieces import boundaries, joined, lengths, listed, mapping, option, positive, scales, share, whole
from fastlr.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    Piecewise,
    Polynomial,
    Schedule,
    Step,
    checks,
    maximum,
    minimum,
)

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "exponential_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]


def constant_schedule(value: float) -> Schedule:
    """The same value at every step.

    >>> constant_schedule(0.1)
    Constant(value=0.1)
    """
    return Constant(value)


def later(schedule: Schedule, transition_begin: int) -> Schedule:
    """Begun at a step; one below 0 counts as 0, as in optax."""
    begin = max(whole("transition_begin", transition_begin, -checks.MAX_LENGTH), 0)
    return schedule.shift(begin)


def polynomial_schedule(
    init_value: float, end_value: float, power: float, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """``end_value + (init_value - end_value) * (1 - u)**power`` from transition_begin on.

    >>> s = polynomial_schedule(1.0, 0.0, power=2, transition_steps=4, transition_begin=1)
    >>> [s(t) for t in (0, 1, 3, 5)]
    [1.0, 1.0, 0.25, 0.0]
    """
    steps = whole("transition_steps", transition_steps, -checks.MAX_LENGTH)
    if steps <= 0 or power == 0:
        return Constant(init_value)
    ramp = Linear(init_value, end_value, steps) if power == 1 else Polynomial(init_value, end_value, steps, power)
    return later(ramp, transition_begin)


def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """A line from init_value to end_value.

    >>> linear_schedule(0.0, 1.0, 4)
    Linear(start=0.0, end=1.0, length=4)
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """init_value times every scale whose boundary has been reached.

    >>> s = piecewise_constant_schedule(1.0, {3: 0.5, 5: 0.1})
    >>> [s(t) for t in (0, 2, 3, 5)]
    [1.0, 1.0, 0.5, 0.05]
    """
    bounds, values = [], [checks.real("init_value", init_value)]
    for step, scale in scales("boundaries_and_scales", boundaries_and_scales):
        if step == 0:
            values[0] *= scale
        else:
            bounds.append(step)
            values.append(values[-1] * scale)
    return Piecewise(tuple(bounds), tuple(values)) if bounds else Constant(values[0])


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """Lines or half cosines between the boundaries, where init_value has been multiplied by the scales so far.

    >>> s = piecewise_interpolate_schedule("linear", 1.0, {2: 0.5, 4: 0.0})
    >>> [s(t) for t in (0, 1, 2, 3, 4)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    shape: Any = Linear if option("interpolate_type", interpolate_type, ("linear", "cosine")) == "linear" else Cosine
    value, begin = checks.real("init_value", init_value), 0
    pieces: list[tuple[int, Schedule]] = []
    for step, scale in scales("boundaries_and_scales", boundaries_and_scales):
        if step > begin:
            pieces.append((step - begin, shape(value, value * scale, step - begin)))
        value, begin = value * scale, step
    return joined(pieces, Constant(value))


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """``init_value * decay_rate**(t / transition_steps)``, in whole powers with staircase, no further than end_value.

    A decay_rate of 0 stays at init_value, as in optax.

    >>> s = exponential_decay(1.0, 2, 0.5, end_value=0.2)
    >>> [s(t) for t in (0, 2, 4, 6)]
    [1.0, 0.5, 0.25, 0.2]
    """
    steps, rate = checks.real("transition_steps", transition_steps), checks.real("decay_rate", decay_rate)
    if steps <= 0 or rate == 0.0:
        return Constant(init_value)
    decay: Schedule = Exponential(init_value, rate, steps)
    if staircase:
        decay = Step(init_value, whole("transition_steps", transition_steps), rate)
    decay = later(decay, transition_begin)
    if end_value is None:
        return decay
    end = checks.real("end_value", end_value)
    return maximum(decay, end) if rate < 1.0 else minimum(decay, end)


def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """``init_value * ((1 - alpha) * ((1 + cos(pi * u)) / 2)**exponent + alpha)``.

    Raises ValueError for decay_steps below 1.

    >>> cosine_decay_schedule(1.0, 100, alpha=0.1)
    Cosine(start=1.0, end=0.1, length=100)
    """
    peak, low = checks.real("init_value", init_value), checks.real("alpha", alpha)
    steps = whole("decay_steps", decay_steps, 1)
    if exponent == 1:
        return Cosine(peak, peak * low, steps)
    return peak * (1.0 - low) * Cosine(1.0, 0.0, steps) ** exponent + peak * low


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Lines up to peak_value, back down, and far below where it began at ``t = transition_steps``.

    >>> s = linear_onecycle_schedule(100, 1.0)
    >>> [round(s(t), 8) for t in (0, 30, 85, 100)]
    [0.04, 1.0, 0.04, 4e-06]
    """
    steps, peak = whole("transition_steps", transition_steps, 1), checks.real("peak_value", peak_value)
    first, last = positive("div_factor", div_factor), positive("final_div_factor", final_div_factor)
    turns = {
        int(share("pct_start", pct_start) * steps): first,
        int(share("pct_final", pct_final) * steps): 1.0 / first,
        steps: 1.0 / last,
    }
    return piecewise_interpolate_schedule("linear", peak / first, turns)


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Half cosines up to peak_value and down, far below where it began, at ``t = transition_steps``.

    torch's ``OneCycleLR`` ends one step earlier.

    >>> s = cosine_onecycle_schedule(100, 1.0)
    >>> [round(s(t), 8) for t in (0, 30, 100)]
    [0.04, 1.0, 4e-06]
    """
    steps, peak = whole("transition_steps", transition_steps, 1), checks.real("peak_value", peak_value)
    first, last = positive("div_factor", div_factor), positive("final_div_factor", final_div_factor)
    turns = {int(share("pct_start", pct_start) * steps): first, steps: 1.0 / first / last}
    return piecewise_interpolate_schedule("cosine", peak / first, turns)


def join_schedules(schedules: Iterable[Schedule], boundaries: Iterable[int]) -> Schedule:
    """Schedules of fastlr one after the other, each counting from its own boundary on.

    >>> s = join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 4)], [3])
    >>> [s(t) for t in (0, 3, 5, 7)]
    [1.0, 1.0, 0.5, 0.0]
    """
    return joined_at(listed("schedules", schedules), boundaries)


def joined_at(schedules: list[Schedule], steps: Iterable[int]) -> Schedule:
    """`join_schedules`, whose argument hides the function of the same name."""
    for one in schedules:
        if not isinstance(one, Schedule):
            raise TypeError(f"schedules hold something else: {one!r}. Wrap numbers in Constant.")
    for one in schedules:
        if not isinstance(one, Schedule):
            raise TypeError(f"Not a schedule of fastlr: {one!r}. Wrap numbers in Constant.")
    counts = lengths(boundaries("boundaries", steps, len(schedules)))
    return joined(list(zip(counts, schedules[:-1], strict=True)), schedules[-1])


def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    """A line to peak_value, which holds.

    >>> warmup_constant_schedule(0.0, 1.0, 4)
    Linear(start=0.0, end=1.0, length=4)
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """A line to peak_value, then half a cosine to end_value at ``t = decay_steps``: the warm-up is part of them.

    >>> warmup_cosine_decay_schedule(0.0, 1.0, 10, 100)
    Linear(start=0.0, end=1.0, length=10) >> Cosine(start=1.0, end=0.0, length=90)
    """
    peak, end = checks.real("peak_value", peak_value), checks.real("end_value", end_value)
    warmup = linear_schedule(init_value, peak, warmup_steps)
    rest = whole("decay_steps", decay_steps) - whole("warmup_steps", warmup_steps)
    decay = cosine_decay_schedule(peak, rest, 0.0 if peak == 0.0 else end / peak, exponent)
    return joined_at([warmup, decay], [warmup_steps])


def warmup_exponential_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """A line to peak_value, then `exponential_decay`.

    >>> warmup_exponential_decay_schedule(0.0, 1.0, 10, 5, 0.5)
    Linear(start=0.0, end=1.0, length=10) >> Exponential(start=1.0, gamma=0.5, period=5.0)
    """
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return joined_at([warmup, decay], [warmup_steps])


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, float]]) -> Schedule:
    """`warmup_cosine_decay_schedule` several times, each with its own arguments.

    >>> s = sgdr_schedule([dict(init_value=0.0, peak_value=1.0, warmup_steps=2, decay_steps=4)] * 2)
    >>> [round(s(t), 9) for t in (0, 2, 3, 4, 6, 8)]
    [0.0, 1.0, 0.5, 0.0, 1.0, 0.0]
    """
    cycles, ends = [], [0]
    for kwargs in listed("cosine_kwargs", cosine_kwargs):
        arguments = mapping("cosine_kwargs entry", kwargs)
        cycles.append(warmup_cosine_decay_schedule(**arguments))
        ends.append(ends[-1] + int(arguments["decay_steps"]))
    if not cycles:
        raise ValueError("cosine_kwargs are empty: []. Give the arguments of at least one cycle.")
    return joined_at(cycles, ends[1:-1])
