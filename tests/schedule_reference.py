"""A naive oracle for schedules: the textbook formulas in 50 digits, from the description alone."""

from __future__ import annotations

import math

from mpmath import mp, mpf

from fastlr.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    OneCycleMomentum,
    Polynomial,
    Product,
    Schedule,
    Sequence,
    Shift,
    Step,
    Sum,
    Warmup,
)

mp.dps = 50


def reference(s: Schedule, t: int) -> mpf:
    """The schedule's value at step t."""
    match s:
        case Constant():
            return mpf(s.value)
        case Linear():
            return between(s.start, s.end, part(t, s.length))
        case Cosine():
            return between(s.start, s.end, (1 - mp.cos(mp.pi * part(t, s.length))) / 2)
        case Polynomial():
            return between(s.start, s.end, 1 - (1 - part(t, s.length)) ** mpf(s.power))
        case Exponential():
            return mpf(s.start) * mpf(s.gamma) ** t
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
        case Shift():
            return reference(s.schedule, max(t - s.steps, 0))
        case Sequence():
            return in_sequence(s, t)
    raise AssertionError(f"no formula for {s!r}")


def part(t: int, length: int) -> mpf:
    return min(mpf(t) / length, mpf(1))


def between(start: float | mpf, end: float | mpf, weight: mpf) -> mpf:
    return mpf(start) + (mpf(end) - mpf(start)) * weight


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
