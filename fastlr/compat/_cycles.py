"""timm's cycles along any shape, and its warm-up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastlr.compat._pieces import joined, positive, resumed, warmed, whole
from fastlr.schedules import Constant, CosineRestarts, Schedule, Table, checks

MAX_TABLE = 10**6


@dataclass(frozen=True)
class Cycles:
    """Cycle i takes ``steps * growth**i`` steps from ``start * decay**i`` to end; after `count` of them end holds."""

    steps: int
    start: float
    end: float
    growth: float
    decay: float
    count: int

    def schedule(
        self,
        ramp: Callable[[float, float, int], Schedule],
        weight: Callable[[float], float],
        cosine: bool = False,
    ) -> Schedule:
        """The schedule whose cycles are ramps. Borders between two steps need `CosineRestarts`, or a table of the
        ramp's weight, 1 to 0, over the part that is done."""
        steps, count = whole("t_initial", self.steps, 1), whole("cycle_limit", self.count)
        start, end = checks.real("base_lr", self.start), checks.real("lr_min", self.end)
        growth, decay = positive("cycle_mul", self.growth), positive("cycle_decay", self.decay)
        if count == 0:
            return Constant(end)
        if count == 1:
            return ended(ramp(start, end, steps), end)
        if growth == 1.0 and decay == 1.0:
            return ended(ramp(start, end, steps).repeat(count), end)
        if growth == 1.0:
            falling = ramp(start, 0.0, steps).repeat(count, decay=decay)
            return ended(falling if end == 0.0 else falling + ramp(0.0, end, steps).repeat(count), end)
        if cosine:
            return CosineRestarts(start, end, steps, growth, decay, count)
        return Table(tuple(self.tabulated(weight)))

    def tabulated(self, weight: Callable[[float], float]) -> list[float]:
        """The value of every step of all cycles, and the one that holds after them."""
        lengths: list[float] = []
        total = 0.0
        while len(lengths) < self.count:
            lengths.append(self.steps * self.growth ** len(lengths))
            total += lengths[-1]
            if total > MAX_TABLE or len(lengths) > MAX_TABLE:
                raise ValueError(f"The cycles are too long for a table: over {MAX_TABLE} steps. Use fewer or shorter.")
        borders = [0.0, *itertools.accumulate(lengths)]
        values: list[float] = []
        cycle = 0
        for t in itertools.count():
            while cycle < self.count and t >= borders[cycle + 1]:
                cycle += 1
            if cycle == self.count:
                return [*values, self.end]
            peak = checks.powered("base_lr of a cycle", self.start, self.decay, cycle)
            values.append(self.end + (peak - self.end) * weight((t - borders[cycle]) / lengths[cycle]))
        raise AssertionError("unreachable")


def ended(schedule: Schedule, end: float) -> Schedule:
    """The same, with the end value from its end on: a tangent does not reach it."""
    assert schedule.length is not None
    return schedule if schedule.end_value == end else joined([(schedule.length, schedule)], Constant(end))


def ignore(options: dict[str, Any]) -> None:
    """Check the arguments that say how timm calls its scheduler, and refuse noise."""
    for name, value in options.items():
        if name == "noise_range_t" and value is not None:
            raise ValueError(f"Noise is no schedule: noise_range_t={value!r}. Leave it out, or add it to the rate.")
        if name not in ("t_in_epochs", "initialize", "noise_range_t", "noise_type") and name[:6] != "noise_":
            raise TypeError(f"There is no such argument: {name!r}. Leave it out.")


def prefixed(base: float, after: Schedule, warmup_t: int, warmup_lr_init: float, warmup_prefix: bool) -> Schedule:
    """A warm-up before the schedule, or in the place of its first steps."""
    steps = whole("warmup_t", warmup_t)
    if steps == 0:
        return after
    if not warmup_prefix:
        after = resumed(after, steps)
    return warmed(warmup_lr_init, base, steps, after)
