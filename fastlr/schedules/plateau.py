"""Rates that fall when a metric stops improving: a pure schedule, a rule, and a small state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastlr.schedules import checks, tree
from fastlr.schedules.base import Schedule
from fastlr.schedules.operators import operand
from fastlr.schedules.wrapper import Wrapper


class PlateauState(NamedTuple):
    """What a rule remembers: plain numbers, which checkpoints hold as a list."""

    scale: float  # multiplies the schedule
    best: float
    bad: int  # metrics in a row that were no improvement
    cooldown: int  # metrics still to come before bad ones count again

    @classmethod
    def loaded(cls, entry: Any) -> PlateauState:
        """The state that stood in a checkpoint. Raises ValueError where it is none."""
        sound = isinstance(entry, (list, tuple)) and len(entry) == 4
        sound = sound and all(type(one) in (int, float) for one in entry) and all(type(one) is int for one in entry[2:])
        if not sound or not 0.0 <= entry[0] <= 1.0 or math.isnan(entry[1]) or min(entry[2:]) < 0:
            raise ValueError(
                f"Invalid plateau state: {entry!r}. Give [scale from 0 to 1, best metric, bad >= 0, cooldown >= 0]."
            )
        return cls(float(entry[0]), float(entry[1]), entry[2], entry[3])


@dataclass(frozen=True, slots=True, repr=False)
class ReduceOnPlateau(Wrapper):
    """A schedule that is multiplied by `factor` each time a reported metric has stopped improving.

    The schedule itself is pure: its values are those of `schedule` (a number is constant). What the reports did to it
    is a scale, kept by the optimizer in its state: ``optimizer.report(loss)``, or ``report`` of `fastlr.LRScheduler`
    for other optimizers. The rate of update t is ``schedule(t) * scale``.

    A metric m improves on the best so far where ``m < best * (1 - threshold)`` ("min", "rel"), ``m < best - threshold``
    ("min", "abs"), ``m > best * (1 + threshold)`` ("max", "rel") or ``m > best + threshold`` ("max", "abs"); NaN never
    does. More than `patience` metrics in a row without improvement reduce the rate; the next `cooldown` metrics then
    cannot be bad.

    `min_lr` and `eps` are read at the schedule's peak: with ``old = peak * scale`` the new scale is that of
    ``max(old * factor, min_lr)``, and it is taken only where it lowers ``old`` by more than `eps`. For a number these
    are the rates of torch; a schedule that goes below its peak goes below `min_lr` in proportion.

    Raises ValueError for a factor outside of [0, 1), a threshold below 0 (or, for "min" with "rel", from 1 on), an
    endlessly growing schedule, negative counts, or a rule inside a rule.
    Source: torch ``ReduceLROnPlateau``. optax ``reduce_on_plateau`` reduces at the patience-th bad metric: its
    ``patience=n`` is n - 1 here.

    >>> from fastlr.schedules import Linear
    >>> s = ReduceOnPlateau(Linear(start=1.0, end=0.5, length=10), factor=0.5, patience=0)
    >>> s(0), s(10), s.length
    (1.0, 0.5, 10)
    >>> first = observe(s, s.fresh(), metric=3.0, peak=s.peak)
    >>> observe(s, first, metric=3.0, peak=s.peak)
    PlateauState(scale=0.5, best=3.0, bad=0, cooldown=0)
    """

    schedule: Schedule
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        inner = operand(self.schedule)
        if inner is None:
            raise TypeError(f"ReduceOnPlateau schedule is no schedule: {self.schedule!r}. Give a schedule or a number.")
        checks.replace(self, "schedule", inner)
        require_outermost("a rule's schedule", inner, allowed=False)
        checks.choice(self, "mode", ("min", "max"))
        checks.choice(self, "threshold_mode", ("rel", "abs"))
        checks.reals(self, "factor", "threshold", "min_lr", "eps")
        for name in ("patience", "cooldown"):
            checks.replace(self, name, checks.integer(checks.label(self, name), getattr(self, name), minimum=0))
        limits = {"factor": math.nextafter(1.0, 0.0), "threshold": math.inf, "min_lr": math.inf, "eps": math.inf}
        if (self.mode, self.threshold_mode) == ("min", "rel"):
            limits["threshold"] = limits["factor"]
        for name, limit in limits.items():
            if not 0.0 <= getattr(self, name) <= limit:
                allowed = "at least 0" if limit == math.inf else "at least 0 and less than 1"
                raise ValueError(f"{checks.label(self, name)} is out of range: {getattr(self, name)!r}. Use {allowed}.")
        if not math.isfinite(inner.peak):
            raise ValueError(f"ReduceOnPlateau schedule has no peak: {inner!r}. Give it an end with hold(length).")
        _ = self.program

    def fresh(self) -> PlateauState:
        """The state before the first metric."""
        return PlateauState(1.0, math.inf if self.mode == "min" else -math.inf, 0, 0)

    def improves(self, metric: float, best: float) -> bool:
        """Whether a metric improves on the best one so far."""
        sign = -1.0 if self.mode == "min" else 1.0
        bound = best * (1.0 + sign * self.threshold) if self.threshold_mode == "rel" else best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def reduced(self, scale: float, peak: float) -> float:
        """The scale after a reduction, which `min_lr` and `eps` may make a smaller one or none."""
        old = peak * scale
        new = max(old * self.factor, self.min_lr)
        if not old - new > self.eps:
            return scale
        return scale * self.factor if new > self.min_lr else new / peak


def observe(rule: ReduceOnPlateau, state: PlateauState, metric: float, peak: float) -> PlateauState:
    """The state after one more metric.

    Args:
        rule: What decides.
        state: The state before; ``rule.fresh()`` at the first metric.
        metric: The value, of any kind that a float has.
        peak: The largest rate without any reduction, in whose terms `min_lr` and `eps` are.
    """
    improved = rule.improves(metric, state.best)
    best, bad = (metric, 0) if improved else (state.best, state.bad + 1)
    if state.cooldown > 0:
        return PlateauState(state.scale, best, 0, state.cooldown - 1)
    if bad > rule.patience:
        return PlateauState(rule.reduced(state.scale, peak), best, 0, rule.cooldown)
    return PlateauState(state.scale, best, bad, 0)


def observed(rule: ReduceOnPlateau, entry: Sequence[float] | None, metric: float, peak: float) -> list[float]:
    """`observe` on a state as checkpoints hold it; None is the one before the first metric."""
    state = rule.fresh() if entry is None else PlateauState.loaded(entry)
    return list(observe(rule, state, metric, peak))


def scale_of(entry: Sequence[float] | None) -> float:
    """What a state as checkpoints hold it multiplies the schedule by."""
    return 1.0 if entry is None else entry[0]


def as_metric(value: object) -> float:
    """A metric as a float. Raises TypeError for what is none; NaN and infinities are metrics."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor of several elements
        raise TypeError(f"Not a metric: {value!r}. Report a number or a tensor of one element.") from error


def require_outermost(name: str, value: object, *, allowed: bool) -> None:
    """Raise ValueError for a rule inside another schedule; with allowed=False for any rule."""
    if not isinstance(value, Schedule):
        return
    inner = list(tree.parts(value)) if allowed and isinstance(value, ReduceOnPlateau) else [value]
    while inner:
        one = inner.pop()
        if isinstance(one, ReduceOnPlateau):
            raise ValueError(
                f"ReduceOnPlateau cannot stand here: {name}={value!r}. Put it around the whole schedule of the "
                "learning rate."
            )
        inner.extend(tree.parts(one))
