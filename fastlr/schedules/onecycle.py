"""One cycle of a rate, and of the momentum that moves the other way."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule, within


class Phase(NamedTuple):
    """One rise or fall, between steps that may be fractional. `begin` is the first step that belongs to it."""

    begin: int
    origin: float
    finish: float
    start: float
    end: float


class Cycle(Schedule):
    """What the rate and the momentum share: the same phases, between other values."""

    __slots__ = ()
    _steps: ClassVar[tuple[str, ...]] = ("total_steps",)
    total_steps: int
    pct_start: float
    anneal_strategy: str
    three_phase: bool

    @property
    def length(self) -> int:
        """The number of steps before the value holds: `total_steps`. The last value is reached one step earlier."""
        return self.total_steps

    @abstractmethod
    def _knots(self) -> tuple[float, ...]:
        """The values at the ends of the phases: three, or four with three_phase."""

    def _check_cycle(self) -> None:
        checks.lengths(self, "total_steps")
        checks.reals(self, "pct_start")
        checks.choice(self, "anneal_strategy", ("cos", "linear"))
        checks.choice(self, "three_phase", (False, True))
        name = type(self).__name__
        if not 0.0 <= self.pct_start <= 1.0:
            raise ValueError(f"{name} pct_start is out of range: {self.pct_start!r}. Use 0 to 1.")
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"{name} pct_start leaves no room for the fall: {self.pct_start!r}. Use at most 0.5 with three_phase."
            )

    def _phases(self) -> list[Phase]:
        """The phases that hold a step: a rise that would end at or before the first update is left out."""
        knots = self._knots()
        rise = self.pct_start * self.total_steps - 1.0
        ends = [0.0, rise, float(self.total_steps - 1)]
        if self.three_phase:
            ends.insert(2, 2.0 * self.pct_start * self.total_steps - 2.0)
        phases: list[Phase] = []
        begin = 0
        for i in range(len(knots) - 1):
            origin, finish = ends[i], ends[i + 1]
            after = math.floor(finish) + 1
            if finish > origin and after > begin:
                phases.append(Phase(begin, origin, finish, knots[i], knots[i + 1]))
                begin = after
        return phases

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        phases = self._phases()
        if len(phases) < 2:
            self._emit_phase(builder, phases[0] if phases else None)
            return
        builder.begin_sequence(bounds=[phase.begin for phase in phases[1:]])
        for phase in phases:
            self._emit_phase(builder, phase)
            builder.end_piece()

    def _emit_phase(self, builder: _core.ProgramBuilder, phase: Phase | None) -> None:
        if phase is None or phase.start == phase.end:
            builder.constant(value=self._knots()[-1] if phase is None else phase.end)
            return
        ramp = builder.cosine if self.anneal_strategy == "cos" else builder.linear
        origin, finish = phase.origin - phase.begin, phase.finish - phase.begin
        ramp(start=phase.start, end=phase.end, origin=origin, finish=finish)

    def _turns_within(self, first: int, last: int) -> list[int]:
        ends = [phase.finish for phase in self._phases()]
        return within([step for end in ends for step in (math.floor(end), math.ceil(end))], first, last)


@dataclass(frozen=True, slots=True, repr=False)
class OneCycleMomentum(Cycle):
    """The momentum of a one-cycle run: falls from max to base while the rate rises, then rises again.

    Formula: the phases of `OneCycle` between max_momentum, base_momentum, max_momentum. Usually made by
    ``OneCycle(...).momentum``.

    Raises ValueError for values that are not finite, total_steps below 1, pct_start outside 0 to 1 (0.5 with
    three_phase) or another anneal_strategy.
    Source: torch ``OneCycleLR(cycle_momentum=True)``.

    >>> s = OneCycle(max_lr=1.0, total_steps=11, pct_start=0.5454545454545454, anneal_strategy="linear").momentum
    >>> round(s(0), 12), round(s(5), 12), round(s(10), 12)
    (0.95, 0.85, 0.95)
    """

    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    three_phase: bool = False

    def __post_init__(self) -> None:
        checks.reals(self, "base_momentum", "max_momentum")
        self._check_cycle()

    def _knots(self) -> tuple[float, ...]:
        knots = (self.max_momentum, self.base_momentum, self.max_momentum)
        return (*knots, self.max_momentum) if self.three_phase else knots


@dataclass(frozen=True, slots=True, repr=False)
class OneCycle(Cycle):
    """A rise to max_lr and a long fall far below the start, along cosines or lines.

    Formula: from ``max_lr / div_factor`` to ``max_lr`` until ``t = pct_start * total_steps - 1``, then to
    ``max_lr / div_factor / final_div_factor`` at ``t = total_steps - 1``, which holds. With three_phase the fall first
    takes as long as the rise and ends where it began. The ends of the inner phases may lie between two steps. A phase
    that would end at or before the first update is left out.

    Raises ValueError for values that are not finite, total_steps below 1, pct_start outside 0 to 1 (0.5 with
    three_phase), factors that are not above 0 or another anneal_strategy.
    Source: torch ``OneCycleLR``, value by value for its ``total_steps`` updates. optax reaches its end one step later.

    >>> s = OneCycle(max_lr=1.0, total_steps=10)
    >>> round(s(0), 12), s(2), s(9) == s(10) == 1.0 / 25.0 / 1e4
    (0.04, 1.0, True)
    >>> s.momentum(0), s.momentum(2), s.momentum(9)
    (0.95, 0.85, 0.95)
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        checks.reals(self, "max_lr", "base_momentum", "max_momentum")
        checks.positive_reals(self, "div_factor", "final_div_factor")
        self._check_cycle()
        for knot in self._knots():
            checks.real("OneCycle value (max_lr / div_factor / final_div_factor)", knot)

    @property
    def momentum(self) -> OneCycleMomentum:
        """The momentum that cycles inversely: base_momentum where the rate is max_lr."""
        return OneCycleMomentum(
            total_steps=self.total_steps,
            pct_start=self.pct_start,
            anneal_strategy=self.anneal_strategy,
            base_momentum=self.base_momentum,
            max_momentum=self.max_momentum,
            three_phase=self.three_phase,
        )

    def _knots(self) -> tuple[float, ...]:
        initial = self.max_lr / self.div_factor
        final = initial / self.final_div_factor
        return (initial, self.max_lr, initial, final) if self.three_phase else (initial, self.max_lr, final)
