"""A naive oracle for schedules: the textbook formulas in 50 digits, from the description alone."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

from mpmath import mp, mpf

from fastlr.schedules import (
    Constant,
    Cosine,
    CosineCycles,
    CosineRestarts,
    Cyclic,
    Exponential,
    Geometric,
    Hold,
    InverseSqrt,
    InverseTime,
    Line,
    Linear,
    Logarithmic,
    Maximum,
    Minimum,
    MultiStep,
    NormalizedExponential,
    OneCycle,
    OneCycleMomentum,
    PastEnd,
    PerEpoch,
    Piecewise,
    Polynomial,
    Power,
    PowerOf,
    Product,
    Quotient,
    Repeat,
    Schedule,
    Sequence,
    Shift,
    Staircase,
    Step,
    Sum,
    Table,
    Tanh,
    Warmup,
    WithMomentum,
)
from fastlr.schedules.shapes import Ramp

mp.dps = 50


def reference(s: Schedule, t: int) -> mpf:
    """The schedule's value at step t."""
    match s:
        case Constant():
            return mpf(s.value)
        case Linear():
            return between(s.start, s.end, part(t, s.length))
        case Line():
            return between(s.start, s.end, mpf(t) / s.steps)
        case Cosine():
            return between(s.start, s.end, (1 - mp.cos(mp.pi * part(t, s.length) ** mpf(s.k))) / 2)
        case Polynomial():
            return between(s.start, s.end, 1 - (1 - part(t, s.length) ** mpf(s.k)) ** mpf(s.power))
        case Power():
            return between(s.start, s.end, part(t, s.length) ** mpf(s.power))
        case Tanh():
            u = part(t, s.length)
            return between(s.start, s.end, (1 + mp.tanh(mpf(s.lower) * (1 - u) + mpf(s.upper) * u)) / 2)
        case Geometric():
            return mpf(s.start) * (mpf(s.end) / mpf(s.start)) ** part(t, s.length)
        case Logarithmic():
            return between(s.start, s.end, mp.log(1 + min(t, s.length)) / mp.log(1 + s.length))
        case NormalizedExponential():
            ratio = mpf(s.ratio)
            return between(s.start, s.end, 1 - (ratio ** part(t, s.length) - ratio) / (1 - ratio))
        case InverseSqrt():
            offset = s.timescale if s.offset is None else s.offset
            return mpf(s.start) * mp.sqrt(mpf(s.timescale) / (t + mpf(offset)))
        case InverseTime():
            return mpf(s.start) / (1 + mpf(s.rate) * t)
        case Table():
            return mpf(s.values[min(t, len(s.values) - 1)])
        case Piecewise():
            return mpf(s.values[sum(bound <= t for bound in s.boundaries)])
        case CosineRestarts():
            return restarts(s, t)
        case Cyclic():
            return cyclic(s, t)
        case Exponential():
            return mpf(s.start) * mpf(s.gamma) ** (mpf(t) / mpf(s.period))
        case Step():
            return mpf(s.start) * mpf(s.gamma) ** (t // s.step_size)
        case MultiStep():
            return mpf(s.start) * mpf(s.gamma) ** sum(m <= t for m in s.milestones)
        case Warmup():
            return mpf(s.peak) * min(mpf(t + 1) / s.length, mpf(1))
        case OneCycle():
            initial = mpf(s.max_lr) / mpf(s.div_factor)
            low = initial / mpf(s.final_div_factor)
            return cycle(s, t, [initial, mpf(s.max_lr)] + ([initial] if s.three_phase else []) + [low])
        case OneCycleMomentum():
            high = mpf(s.max_momentum)
            return cycle(s, t, [high, mpf(s.base_momentum)] + ([high] if s.three_phase else []) + [high])
        case Product():
            return mp.fprod(reference(one, t) for one in s.factors)
        case Sum():
            return mp.fsum(reference(one, t) for one in s.terms)
        case Quotient():
            return reference(s.numerator, t) / reference(s.denominator, t)
        case Minimum():
            return min(reference(one, t) for one in s.operands)
        case Maximum():
            return max(reference(one, t) for one in s.operands)
        case PowerOf():
            return reference(s.schedule, t) ** mpf(s.power)
        case Shift():
            return reference(s.schedule, max(t - s.steps, 0))
        case Hold():
            return reference(s.schedule, min(t, s.length))
        case PerEpoch():
            return reference(s.schedule, t // s.steps)
        case Staircase():
            return reference(s.schedule, t - t % s.steps)
        case Repeat():
            return repeated(s, t)
        case WithMomentum():
            return reference(s.schedule, t)
        case PastEnd():
            assert t <= s.length
            return reference(s.schedule, t)
        case CosineCycles():
            return cosine_cycles(s, t)
        case Sequence():
            return in_sequence(s, t)
    raise AssertionError(f"no formula for {s!r}")


def part(t: int, length: int) -> mpf:
    return min(mpf(t) / length, mpf(1))


def between(start: float | mpf, end: float | mpf, weight: mpf) -> mpf:
    return mpf(start) + (mpf(end) - mpf(start)) * weight


def restarts(s: CosineRestarts, t: int) -> mpf:
    """Cycle after cycle until one contains t; equal ones without counting."""
    if s.growth == 1.0:
        cycle, begin, length = t // s.period, mpf(t - t % s.period), mpf(s.period)
        over = s.cycles is not None and cycle >= s.cycles
    else:
        cycle, begin, length, over = 0, mpf(0), mpf(s.period), False
        while begin + length <= t and not over:
            begin, length, cycle = begin + length, length * mpf(s.growth), cycle + 1
            over = cycle == s.cycles
    return (
        mpf(s.end)
        if over
        else between(mpf(s.start) * mpf(s.decay) ** cycle, s.end, (1 - mp.cos(mp.pi * (t - begin) / length)) / 2)
    )


def repeated(s: Repeat, t: int) -> mpf:
    """Equal cycles by division, growing ones of a ramp one by one."""
    assert s.schedule.length is not None
    if s.growth == 1.0:
        turn = t // s.schedule.length
        turn = turn if s.times is None else min(turn, s.times - 1)
        return reference(s.schedule, t - turn * s.schedule.length) * mpf(s.decay) ** turn
    assert isinstance(s.schedule, Ramp)
    end, length, turn, begin, after = mpf(0), mpf(s.schedule.length), -1, 0, 0
    while t >= after and turn + 1 != s.times:
        begin, end, length, turn = after, end + length, length * mpf(s.growth), turn + 1
        after = round(end)
    return reference(dataclasses.replace(s.schedule, length=after - begin), t - begin) * mpf(s.decay) ** turn


def cosine_cycles(s: CosineCycles, t: int) -> mpf:
    """The cycle is the ratio of small whole numbers that it was rounded from."""
    ratio = Fraction(s.cycle).limit_denominator(4096)
    assert float(ratio) == s.cycle
    x = Fraction(t) / ratio % (2 if s.mirror else 1)
    return between(s.start, s.end, (1 - mp.cos(mp.pi * x.numerator / x.denominator)) / 2)


def cyclic(s: Cyclic, t: int) -> mpf:
    down = s.step_size_down or s.step_size_up
    cycle, inside = divmod(t, s.step_size_up + down)
    height = mpf(inside) / s.step_size_up if inside <= s.step_size_up else 1 - mpf(inside - s.step_size_up) / down
    scale = mpf(1)
    if s.mode == "triangular2":
        scale = mpf(0.5) ** cycle
    elif s.mode == "exp_range":
        scale = mpf(s.gamma) ** (cycle + 1 if s.scale_mode == "cycle" else t)
    return mpf(s.base_lr) + (mpf(s.max_lr) - mpf(s.base_lr)) * height * scale


def in_sequence(s: Sequence, t: int) -> mpf:
    for piece in s.pieces[:-1]:
        assert piece.length is not None
        if t < piece.length:
            return reference(piece, t)
        t -= piece.length
    return reference(s.pieces[-1], t)


def cycle(s: OneCycle | OneCycleMomentum, t: int, values: list[mpf]) -> mpf:
    """The phase ends are float64 expressions, as torch has them; t runs through the phases until one contains it."""
    ends = [0.0, s.pct_start * s.total_steps - 1, s.total_steps - 1.0]
    if s.three_phase:
        ends.insert(2, 2 * s.pct_start * s.total_steps - 2)
    t = min(t, s.total_steps - 1)
    for i in range(len(ends) - 1):
        if t <= ends[i + 1] and ends[i] < ends[i + 1] and ends[i + 1] > 0:
            u = (t - mpf(ends[i])) / (mpf(ends[i + 1]) - mpf(ends[i]))
            weight = (1 - mp.cos(mp.pi * u)) / 2 if s.anneal_strategy == "cos" else u
            return between(values[i], values[i + 1], weight)
    # The last phase has no length: a rise up to the last step holds, and a single step is the end.
    return values[-1] if s.total_steps == 1 else values[-2]


def interesting_steps(length: int | None) -> list[int]:
    """Boundaries, the inside, past the end, and where float32, int32 and float64 stop counting."""
    n = 100 if length is None else length
    near = [0, 1, 2, 3, n // 3, n // 2, n - 2, n - 1, n, n + 1, 2 * n + 1]
    far = [2**24 + 1, 2**31 + 5, 2**53, 2**53 + 1, 2**63 - 1]
    inside = [math.floor(n * share) for share in (0.01, 0.3, 0.7, 0.9, 0.999)]
    return sorted({t for t in near + inside + far if t >= 0})
