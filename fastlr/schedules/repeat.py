"""A schedule again and again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from fastlr import _core
from fastlr.schedules import checks, tree
from fastlr.schedules.base import ATOM, Schedule
from fastlr.schedules.combine import Sequence, text
from fastlr.schedules.wrapper import require_schedule

MAX_CYCLES = 4096  # that are written out one by one
MAX_PARTS = 65536  # of them together: more than a program has instructions
MAX_GROWING = 2


def cycle_starts(period: float, growth: float, cycles: int | None) -> list[float]:
    """Where each cycle of ``period * growth**i`` steps begins, and where the last one ends.

    Without a number of cycles, those up to 2**53 steps. Raises ValueError for more than 4096 cycles.
    """
    starts, length = [0.0], float(period)
    while starts[-1] + length <= checks.MAX_LENGTH if cycles is None else len(starts) <= cycles:
        if len(starts) > MAX_CYCLES:
            raise ValueError(f"Growing cycles are too many: over {MAX_CYCLES}. Give their number, or a larger growth.")
        starts.append(starts[-1] + length)
        length *= growth
    if cycles is not None and starts[-1] > checks.MAX_LENGTH:
        raise ValueError(f"The cycles are too long: {starts[-1]:g} steps. Use at most 2**53 in total.")
    return starts


def cycle_turns(
    period: int, cycles: int | None, first: int, last: int, inside: Callable[[int, int], list[int]]
) -> list[int]:
    """`_turns_within` of equal cycles, each the one before times a factor; `inside` has the turns of a single one.

    At the same place of the cycle the values only rise or only fall, so the first and the last whole cycle are enough,
    and what lies before and after them.
    """
    begin, end = (min(step // period, cycles - 1 if cycles else step) for step in (first, last))
    whole = (begin + (first > begin * period), end - (last < (end + 1) * period - 1))
    turns = []
    for cycle in sorted({begin, end, *(one for one in whole if begin <= one <= end)}):
        start = cycle * period
        stop = last - start if cycle == end else period - 1
        turns += [start + step for step in inside(max(first - start, 0), stop)]
    return turns


def in_cycles(make: Callable[[int, int], Schedule], borders: list[int]) -> Schedule:
    """``make(i, steps)`` for each cycle, one after the other."""
    cycles: list[Schedule] = []
    parts = 0
    for i, (start, end) in enumerate(itertools.pairwise(borders)):
        if end <= start:
            raise ValueError(f"A cycle has no step: cycle {i}, from {start} to {end}. Use fewer or longer cycles.")
        cycles.append(make(i, end - start))
        parts += tree.size(cycles[-1])
        if parts > MAX_PARTS:
            raise ValueError(f"The cycles have too many parts: over {MAX_PARTS}. Use fewer cycles, or one table.")
    return cycles[0] if len(cycles) == 1 else Sequence(tuple(cycles))


def growing(schedule: Schedule) -> int:
    """How many repetitions with growing cycles lie inside one another."""
    own = isinstance(schedule, Repeat) and schedule.growth != 1.0
    return own + max(map(growing, tree.parts(schedule)), default=0)


@dataclass(frozen=True, slots=True, repr=False)
class Repeat(Schedule):
    """Cycles of a schedule; written ``s.repeat(times, decay, growth)``.

    Formula: cycle ``i`` is the schedule stretched to ``length * growth**i`` steps (its borders rounded to whole steps),
    times ``decay**i``. Without `times` it goes on without end; after the last of `times` cycles its last value holds.

    Raises ValueError for an endless schedule, fewer than 1 cycle, a decay or growth that is not above 0; for growing
    cycles that are more than 4096, have no step, lie three deep inside one another, or cannot have the length that they
    should (whole epochs or stairs).
    Source: timm's ``cycle_mul``, ``cycle_decay`` and ``cycle_limit``; optax ``sgdr_schedule``.

    >>> from fastlr.schedules import Linear
    >>> s = Linear(start=1.0, end=0.0, length=2).repeat(growth=2)
    >>> [s(t) for t in (0, 1, 2, 4, 6, 10)]
    [1.0, 0.5, 1.0, 0.5, 1.0, 0.5]
    """

    schedule: Schedule
    times: int | None = None
    decay: float = 1.0
    growth: float = 1.0

    def __post_init__(self) -> None:
        require_schedule(self)
        if self.schedule.length is None:
            raise ValueError(f"An endless schedule has no cycles: {self.schedule!r}. Give it an end with hold(length).")
        if self.times is not None:
            checks.lengths(self, "times")
        checks.positive_reals(self, "decay", "growth")
        if growing(self) > MAX_GROWING:  # each is written out anew for every cycle of the one around it
            raise ValueError(f"Growing cycles nest too deeply: over {MAX_GROWING} levels. Repeat with growth=1.")
        if self.length is not None:
            checks.integer("Repeat length", self.length)
        _ = self.program

    @property
    def _period(self) -> int:
        assert self.schedule.length is not None
        return self.schedule.length

    @property
    def length(self) -> int | None:
        """The length of all cycles, None without end."""
        if self.times is None:
            return None
        return self._period * self.times if self.growth == 1.0 else self._borders()[-1]

    def _borders(self) -> list[int]:
        return [round(start) for start in cycle_starts(self._period, self.growth, self.times)]

    def _cycle(self, i: int, steps: int) -> Schedule:
        cycle = self.schedule._stretched_to(steps)
        return cycle if self.decay == 1.0 else cycle * checks.powered("Repeat decay", 1.0, self.decay, i)

    def _unrolled(self) -> Schedule:
        return in_cycles(self._cycle, self._borders())

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        if self.growth != 1.0:
            self._unrolled()._emit(builder)
            return
        builder.begin_repeat(period=self._period, cycles=self.times or 0)
        self.schedule._emit(builder)
        builder.end_repeat()
        if self.decay != 1.0:
            self._emit_decay(builder)
            builder.multiply()

    def _emit_decay(self, builder: _core.ProgramBuilder) -> None:
        if self.times is not None:
            builder.begin_hold(last=self._period * self.times - 1)
        builder.exponential(start=1.0, gamma=self.decay, period=float(self._period), staircase=True)
        if self.times is not None:
            builder.end_hold()

    def _turns_within(self, first: int, last: int) -> list[int]:
        if self.growth != 1.0:
            return self._unrolled()._turns_within(first, last)
        return cycle_turns(self._period, self.times, first, last, self.schedule._turns_within)

    def _stretched(self, factor: Fraction) -> Schedule:
        longer = Repeat(self.schedule._stretched(factor), self.times, self.decay, self.growth)
        if self.times is None or self.times > MAX_CYCLES or longer.length == round((self.length or 0) * factor):
            return longer
        # Cycles of one length cannot share these steps: they differ by one.
        return in_cycles(self._cycle, [round(border * factor) for border in self._borders()])

    def __repr__(self) -> str:
        defaults = (("times", self.times, None), ("decay", self.decay, 1.0), ("growth", self.growth, 1.0))
        shown = ", ".join(f"{name}={value!r}" for name, value, default in defaults if value != default)
        return f"{text(self.schedule, ATOM)}.repeat({shown})"
