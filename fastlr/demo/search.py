"""The search of the demo: a range test, and a sweep around the rate that it suggests."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

import fastlr
from fastlr._progress import best, lowest, shown
from fastlr.demo.task import BATCH, HYPER, VALIDATION_BATCH, Digits, network
from fastlr.finder import RangeTest
from fastlr.finder.arguments import rates_between
from fastlr.schedules import Schedule
from fastlr.sweeping import Sweep
from fastlr.sweeping.calibration import Choice

LOW, HIGH, TESTED = 1e-4, 10.0, 100
SPAN = 10.0  # the sweep goes from the suggested rate divided by it to that rate times it
LOSS = nn.functional.cross_entropy
ENGINE = "batched"  # named: one that is chosen by its time may be another in the next run, and rounds differently


@dataclass(frozen=True)
class Swept:
    """A sweep, how long it took, how long its best rate takes alone, and what ``engine="auto"`` takes here."""

    rates: list[float]
    result: Sweep
    steps: int
    seconds: float
    alone: float
    choice: Choice

    @property
    def best(self) -> float | None:
        place = self.result.best_index
        return None if place is None else self.rates[place]


def range_test(digits: Digits, *, seed: int) -> RangeTest:
    loader = digits.train.loader(BATCH, shuffle=True)
    optimizer = functools.partial(fastlr.SGD, **HYPER)
    with shown("range test", TESTED, quiet=False) as show:
        progress = lowest(show)
        return fastlr.find_lr(network(seed), LOSS, loader, optimizer, LOW, HIGH, TESTED, seed=seed, progress=progress)


def grid(centre: float, count: int) -> list[float]:
    """Rates around the centre, each by one factor above the last, rounded to the digits that are printed."""
    return [float(f"{rate:.3g}") for rate in rates_between(centre / SPAN, centre * SPAN, count)]


def shape(steps: int) -> Schedule:
    """The course of every training of the demo, for a rate of 1."""
    return fastlr.warmup_cosine(1.0, steps, warmup=warmup(steps))


def warmup(steps: int) -> int:
    return max(2, steps // 20)


def sweep(digits: Digits, rates: list[float], *, epochs: int, seed: int) -> Swept:
    """Train all rates side by side, ranked by the validation images; then time one alone, and the choice of engine."""
    steps = epochs * digits.batches

    def run(some: list[float], engine: str, progress: Callable[[int, Any, float], object] | None = None) -> Sweep:
        return fastlr.sweep(
            network(seed),
            LOSS,
            digits.train.loader(BATCH, shuffle=True),
            some,
            steps=steps,
            shape=shape(steps),
            validation=digits.validation.loader(VALIDATION_BATCH),
            seed=seed,
            engine=engine,
            progress=progress,
            **HYPER,
        )

    with shown(f"{len(rates)} rates for {steps} steps", steps, quiet=False) as show:
        start = time.perf_counter()
        result = run(rates, ENGINE, best(show))
        seconds = time.perf_counter() - start
    start = time.perf_counter()
    run(rates[result.best_index or 0 :][:1], "sequential")
    alone = time.perf_counter() - start
    return Swept(rates, result, steps, seconds, alone, run(rates, "auto").engine)
