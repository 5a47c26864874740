"""The families that bench/schedule_batch.py times: each written for fastlr, NumPy and optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlr.schedules import Cosine, Exponential, Linear, MultiStep, Polynomial, Schedule, Step

STEPS = 100_000

Array = NDArray[np.float64]
OptaxSchedule = Callable[[Any], Any]


class Setting(NamedTuple):
    """The numbers of one schedule: no two have the same."""

    peak: float
    length: int
    warmup: int
    stairs: int


class Family(NamedTuple):
    """A schedule of a setting: as fastlr's, as a NumPy expression of the steps, and as optax's."""

    fastlr: Callable[[Setting], Schedule]
    numpy: Callable[[Setting, Array], Array]
    optax: Callable[[Any, Setting], OptaxSchedule]


def setting(index: int) -> Setting:
    """Peaks from 0.001 to 1, lengths from half of the run to all of it, warm-ups of up to a tenth.

    Stairs are powers of 2: optax's staircase under jit is one step late at others (it multiplies by a reciprocal).
    """
    length = STEPS - 47 * index
    return Setting(10.0 ** (-3.0 + 3.0 * index / 1024), length, length // 10 - 3 * index, 64 << index // 8 % 8)


def numpy_linear(s: Setting, t: Array) -> Array:
    return s.peak * (1.0 - np.minimum(t / s.length, 1.0))


def numpy_cosine(s: Setting, t: Array, alpha: float = 0.0) -> Array:
    weight = 0.5 * (1.0 + np.cos(np.pi * np.minimum(t / s.length, 1.0)))
    return s.peak * ((1.0 - alpha) * weight + alpha)


def numpy_warmup_cosine(s: Setting, t: Array) -> Array:
    u = np.clip((t - s.warmup) / (s.length - s.warmup), 0.0, 1.0)
    return np.where(t < s.warmup, s.peak * t / s.warmup, 0.5 * s.peak * (1.0 + np.cos(np.pi * u)))


def numpy_polynomial(s: Setting, t: Array) -> Array:
    return s.peak * (1.0 - np.minimum(t / s.length, 1.0)) ** 2.0


def numpy_exponential(s: Setting, t: Array) -> Array:
    return s.peak * 0.97 ** (t / s.warmup)


def numpy_staircase(s: Setting, t: Array) -> Array:
    return s.peak * 0.97 ** np.floor(t / s.stairs)


def numpy_multistep(s: Setting, t: Array) -> Array:
    return s.peak * 0.1 ** np.searchsorted((s.warmup, s.length), t, side="right")


def numpy_floor(s: Setting, t: Array) -> Array:
    return numpy_cosine(s, t, alpha=0.1)


FAMILIES = (
    Family(
        lambda s: Linear(s.peak, 0.0, s.length),
        numpy_linear,
        lambda optax, s: optax.linear_schedule(s.peak, 0.0, s.length),
    ),
    Family(
        lambda s: Cosine(s.peak, 0.0, s.length),
        numpy_cosine,
        lambda optax, s: optax.cosine_decay_schedule(s.peak, s.length),
    ),
    Family(
        lambda s: Linear(0.0, s.peak, s.warmup) >> Cosine(s.peak, 0.0, s.length - s.warmup),
        numpy_warmup_cosine,
        lambda optax, s: optax.warmup_cosine_decay_schedule(0.0, s.peak, s.warmup, s.length),
    ),
    Family(
        lambda s: Polynomial(s.peak, 0.0, s.length, 2.0),
        numpy_polynomial,
        lambda optax, s: optax.polynomial_schedule(s.peak, 0.0, 2.0, s.length),
    ),
    Family(
        lambda s: Exponential(s.peak, 0.97, s.warmup),
        numpy_exponential,
        lambda optax, s: optax.exponential_decay(s.peak, s.warmup, 0.97),
    ),
    Family(
        lambda s: Step(s.peak, s.stairs, 0.97),
        numpy_staircase,
        lambda optax, s: optax.exponential_decay(s.peak, s.stairs, 0.97, staircase=True),
    ),
    Family(
        lambda s: MultiStep(s.peak, (s.warmup, s.length), 0.1),
        numpy_multistep,
        lambda optax, s: optax.piecewise_constant_schedule(s.peak, {s.warmup: 0.1, s.length: 0.1}),
    ),
    Family(
        lambda s: Cosine(s.peak, 0.1 * s.peak, s.length),
        numpy_floor,
        lambda optax, s: optax.cosine_decay_schedule(s.peak, s.length, alpha=0.1),
    ),
)
