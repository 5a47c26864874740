"""Triangles again and again, and the momentum that moves the other way."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import ClassVar

from fastlr import _core
from fastlr.schedules import checks
from fastlr.schedules.base import Schedule, within
from fastlr.schedules.decay import Exponential
from fastlr.schedules.repeat import cycle_turns
from fastlr.schedules.shapes import Constant, Linear


@dataclass(frozen=True, slots=True, repr=False)
class Cyclic(Schedule):
    """Up and down along lines between two rates, without end.

    Formula: ``base_lr + (max_lr - base_lr) * tri(t) * g``; ``tri`` rises from 0 to 1 in step_size_up steps and falls to
    0 in step_size_down (by default the same). ``g`` is 1 for "triangular", ``2**-c`` in cycle ``c = 0, 1, ...`` for
    "triangular2" and ``gamma**t`` for "exp_range"; with ``scale_mode="cycle"`` the latter is ``gamma**(c + 1)``.

    Raises ValueError for values that are not finite, step sizes below 1, a gamma that is not above 0 or another mode.
    Source: torch and Paddle ``CyclicLR``; ignite and deepspeed have "triangular".

    >>> s = Cyclic(base_lr=0.0, max_lr=1.0, step_size_up=2, step_size_down=4, mode="triangular2")
    >>> [s(t) for t in (0, 1, 2, 4, 6, 8)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    >>> round(s.momentum(0), 12), round(s.momentum(2), 12)
    (0.9, 0.8)
    """

    _steps: ClassVar[tuple[str, ...]] = ("step_size_up", "step_size_down")
    base_lr: float
    max_lr: float
    step_size_up: int = 2000
    step_size_down: int | None = None
    mode: str = "triangular"
    gamma: float = 1.0
    scale_mode: str | None = None
    base_momentum: float = 0.8
    max_momentum: float = 0.9

    def __post_init__(self) -> None:
        checks.reals(self, "base_lr", "max_lr", "base_momentum", "max_momentum")
        checks.lengths(self, "step_size_up")
        if self.step_size_down is not None:
            checks.lengths(self, "step_size_down")
        checks.choice(self, "mode", ("triangular", "triangular2", "exp_range"))
        checks.choice(self, "scale_mode", (None, "cycle", "iterations"))
        checks.positive_reals(self, "gamma")
        _ = self.program  # refuses step sizes that are too long together

    @property
    def length(self) -> None:
        """None: it has no end."""

    @property
    def momentum(self) -> Schedule:
        """The momentum that cycles inversely: base_momentum where the rate is max_lr."""
        return self._between(self.max_momentum, self.base_momentum)

    def _scaled_triangle(self) -> Schedule:
        up, down = self.step_size_up, self.step_size_down or self.step_size_up
        triangle = Linear(0.0, 1.0, up) >> Linear(1.0, 0.0, down)
        if self.mode == "triangular2":
            return triangle.repeat(decay=0.5)
        if self.mode == "triangular" or self.gamma == 1.0:
            return triangle.repeat()
        if self.scale_mode == "cycle":
            return triangle.repeat(decay=self.gamma) * self.gamma
        return triangle.repeat() * Exponential(1.0, self.gamma)

    def _between(self, low: float, high: float) -> Schedule:
        return Constant(low) + (high - low) * self._scaled_triangle()

    def _emit(self, builder: _core.ProgramBuilder) -> None:
        self._between(self.base_lr, self.max_lr)._emit(builder)

    def _turns_within(self, first: int, last: int) -> list[int]:
        up, period = self.step_size_up, self.step_size_up + (self.step_size_down or self.step_size_up)
        turns = [up]
        if self._decays_by_step():  # the factor outweighs the line: before the top if it falls, after it if it rises
            extreme = -1.0 / math.log(self.gamma)
            if abs(extreme) < period:
                turns += [math.floor(extreme) % period, math.ceil(extreme) % period]
        return cycle_turns(period, None, first, last, partial(within, turns))

    def _decays_by_step(self) -> bool:
        return self.mode == "exp_range" and self.scale_mode != "cycle" and self.gamma != 1.0

    def _stretched(self, factor: Fraction) -> Schedule:
        longer = Schedule._stretched(self, factor)
        if not self._decays_by_step():
            return longer
        gamma = checks.powered("Cyclic gamma", 1.0, self.gamma, 1.0 / float(factor))
        return dataclasses.replace(longer, gamma=gamma)  # type: ignore[type-var]
