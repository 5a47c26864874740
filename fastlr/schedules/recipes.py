"""Common schedules in one call."""

from __future__ import annotations

from fastlr.schedules import checks
from fastlr.schedules.base import Schedule
from fastlr.schedules.shapes import Cosine, Warmup


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


def warmup_steps(total: int, warmup: int | float) -> int:
    """The warm-up's length from a number of steps or a share of total."""
    if isinstance(warmup, float):
        share = checks.real("warmup", warmup)
        if not 0.0 <= share < 1.0:
            raise ValueError(
                f"warmup is not a share of total: {warmup!r}. Use 0.0 up to below 1.0, or an int of steps."
            )
        return min(max(round(share * total), 1), total - 1) if share > 0.0 else 0
    steps = checks.integer("warmup", warmup, 0)
    if steps >= total:
        raise ValueError(f"warmup leaves no step for the cosine: {steps} of {total}. Use fewer steps.")
    return steps
