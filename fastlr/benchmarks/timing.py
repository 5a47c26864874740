"""Alternated timing: machines drift, so every side is timed once in each round and compared within it."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Spread:
    """Median and quartiles; half of all values lie from ``low`` to ``high``."""

    median: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Quartiles by linear interpolation; a single value is all three."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Element by element: both values of a pair come from the same round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - start) / 1e9


@dataclass(frozen=True)
class Effort:
    """Rounds to time: until ``budget`` seconds are spent, but at least ``least`` and at most ``most``."""

    budget: float
    least: int
    most: int
    warmup: int = 5


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A collection would hit one side at random, so none runs while times are taken (as in timeit)."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def alternate(actions: Mapping[str, Callable[[], Measured]], effort: Effort) -> dict[str, list[Measured]]:
    """Call every action once a round and collect what it measured about itself.

    The order within a round is random (seeded), so that no side always finds the caches that the same other side left.
    """
    order = random.Random(0)
    names = list(actions)
    for _ in range(effort.warmup):
        for name in names:
            actions[name]()
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    with no_garbage_collection():
        start = time.perf_counter()
        for round_number in range(effort.most):
            if round_number >= effort.least and time.perf_counter() - start > effort.budget:
                break
            for name in order.sample(names, len(names)):
                measured[name].append(actions[name]())
    return measured
