"""Reads fastlr.LRScheduler."""

from __future__ import annotations

from typing import Any

from fastlr.convert.unreadable import Unreadable
from fastlr.lr_scheduler import LRScheduler, arguments
from fastlr.lr_scheduler.native import Native
from fastlr.schedules import Constant, Schedule
from fastlr.schedules.plateau import ReduceOnPlateau


def reads(scheduler: Any) -> bool:
    """Whether it is fastlr's."""
    return isinstance(scheduler, LRScheduler)


def read(scheduler: Any, index: int, done: int) -> tuple[Schedule, Schedule | None, int]:
    """One group's schedule from the beginning, the momentum that it cycles, and the updates that are done."""
    target, group = scheduler._target, scheduler.optimizer.param_groups[index]
    scale, seen = 1.0, None
    if isinstance(target, Native):
        schedule, t = group["lr_schedule"], group["step_count"] - group["held_steps"]
        if schedule is not None:
            scale, seen = group["lr_scale"], group["plateau"]
    else:
        name = next((name for name in ("lr", "factor") if name in target.given), None)
        schedule = arguments.schedule_of(target.given, name, index, len(target.base_lrs)) if name else None
        t, seen = scheduler.last_epoch, target.states[index]
        scale = target.base_lrs[index] if name == "factor" else 1.0
    if schedule is None:
        return Constant(float(group["lr"])), None, 0
    if isinstance(schedule, ReduceOnPlateau) and (seen is not None or scale != 1.0):
        raise Unreadable(
            f"A rule has seen metrics or is scaled: {schedule!r}",
            "Start ReduceOnPlateau anew, with the present rate.",
            final=True,
        )
    return schedule if scale == 1.0 else schedule * scale, None, t
