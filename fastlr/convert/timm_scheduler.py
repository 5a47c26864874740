"""Reads timm's schedulers, known by their names. They do not count: the caller says where they are."""

from __future__ import annotations

from typing import Any

from fastlr.compat import timm
from fastlr.convert.unreadable import Unreadable
from fastlr.schedules import Schedule

CYCLES = ("t_initial", "lr_min", "cycle_mul", "cycle_decay", "cycle_limit")
WARMUP = ("warmup_t", "warmup_lr_init")
PREFIX = (*WARMUP, "warmup_prefix")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "CosineLRScheduler": (*CYCLES, *PREFIX, "k_decay"),
    "MultiStepLRScheduler": (*PREFIX, "decay_t", "decay_rate"),
    "PolyLRScheduler": (*CYCLES, *PREFIX, "power", "k_decay"),
    "StepLRScheduler": (*PREFIX, "decay_t", "decay_rate"),
    "TanhLRScheduler": (*CYCLES, *PREFIX, "lb", "ub"),
    "WSDLRScheduler": (
        "t_initial",
        "decay_t",
        "lr_min",
        *(f"stable_{name}" for name in ("fn", "timescale", "power")),
        *(f"decay_{name}" for name in ("fn", "power", "ratio")),
        *WARMUP,
    ),
}


def reads(scheduler: Any) -> bool:
    """Whether it is one of timm's."""
    return type(scheduler).__module__.startswith("timm.scheduler") and hasattr(scheduler, "base_values")


def read(scheduler: Any, index: int, done: int) -> tuple[Schedule, Schedule | None, int]:
    """One group's schedule from the beginning, the momentum that it cycles, and the steps that are done."""
    name = type(scheduler).__name__
    if name == "PlateauLRScheduler":
        raise Unreadable(f"{name} follows a metric: it has no steps", "Use fastlr.ReduceOnPlateau.", final=True)
    if name not in ATTRIBUTES:
        raise Unreadable(f"Not one of timm's schedulers that are known: {name}")
    if scheduler.noise_range_t is not None:
        raise Unreadable(f"Noise has no formula: noise_range_t={scheduler.noise_range_t!r}")
    kwargs = {key: getattr(scheduler, key) for key in ATTRIBUTES[name]}
    if name == "MultiStepLRScheduler":  # timm's own milestones are one step early
        kwargs["decay_t"] = [max(one - 1, 0) for one in kwargs["decay_t"]]
    try:
        schedule: Schedule = getattr(timm, name)(float(scheduler.base_values[index]), **kwargs)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"What {name} holds is no schedule: {str(error).rstrip('.')}") from error
    scale = float(scheduler.optimizer.param_groups[index].get("lr_scale", 1.0))
    return schedule if scale == 1.0 else schedule * scale, None, done
