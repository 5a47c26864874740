"""Reads torch's schedulers, and LambdaLR with the lambdas of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import lr_scheduler

from fastlr.compat._torch_composite import Part
from fastlr.compat.torch import ReduceLROnPlateau
from fastlr.convert.lambdas import lambda_schedule
from fastlr.convert.unreadable import Unreadable
from fastlr.schedules import Schedule

# The attributes that are the arguments of the same name.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "ConstantLR": ("factor", "total_iters"),
    "CosineAnnealingLR": ("T_max", "eta_min"),
    "CosineAnnealingWarmRestarts": ("T_0", "T_mult", "eta_min"),
    "ExponentialLR": ("gamma",),
    "LinearLR": ("start_factor", "end_factor", "total_iters"),
    "PolynomialLR": ("total_iters", "power"),
    "StepLR": ("step_size", "gamma"),
}
COMPOSITES = (lr_scheduler.SequentialLR, lr_scheduler.ChainedScheduler)


def read(scheduler: Any, index: int, done: int) -> tuple[Schedule, Schedule | None, int]:
    """One group's schedule from the beginning, the momentum that it cycles, and the steps that are done."""
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        return plateau(scheduler, index), None, 0
    part = described(scheduler, index)
    try:
        return part.build(), part.momentum(), position(scheduler)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"What {part.name} holds is no schedule: {str(error).rstrip('.')}") from error


def position(scheduler: Any) -> int:
    """The steps that are done; a ChainedScheduler leaves counting to its own."""
    while isinstance(scheduler, lr_scheduler.ChainedScheduler):
        scheduler = scheduler._schedulers[0]
    return int(scheduler.last_epoch)


def described(scheduler: Any, index: int) -> Part:
    """A scheduler's class, base and arguments, as it holds them."""
    kind = type(scheduler)
    name = kind.__name__
    if kind is not getattr(lr_scheduler, name, None):
        raise Unreadable(f"Not one of torch's schedulers: {kind.__module__}.{kind.__qualname__}")
    if kind in COMPOSITES:
        return composite(scheduler, index, name)
    base = float(scheduler.base_lrs[index])
    if name in ATTRIBUTES:
        return Part(name, base, {key: getattr(scheduler, key) for key in ATTRIBUTES[name]})
    if name not in READERS:
        raise Unreadable(f"{name} has no formula: {scheduler!r}")
    return READERS[name](scheduler, index, base)


def composite(scheduler: Any, index: int, name: str) -> Part:
    """A scheduler of schedulers. A sequence with a composite in it hands over at the wrong step in torch."""
    inner = scheduler._schedulers
    if name == "SequentialLR" and any(isinstance(one, COMPOSITES) for one in inner):
        raise Unreadable("A SequentialLR of schedulers of schedulers goes astray: torch skips a step")
    parts = tuple(described(one, index) for one in inner)
    kwargs = {"milestones": list(scheduler._milestones)} if name == "SequentialLR" else {}
    return Part(name, parts[0].base_lr, kwargs, parts)


def multi_step(scheduler: Any, index: int, base: float) -> Part:
    milestones = [one for one in scheduler.milestones.elements() if one >= 0]
    return Part("MultiStepLR", base, {"milestones": milestones, "gamma": scheduler.gamma})


def cyclic(scheduler: Any, index: int, base: float) -> Part:
    if scheduler._scale_fn_custom is not None:
        raise Unreadable(f"A scale_fn has no formula: {scheduler._scale_fn_custom!r}")
    up = scheduler.total_size * scheduler.step_ratio
    kwargs = {
        "base_lr": base,
        "max_lr": float(scheduler.max_lrs[index]),
        "step_size_up": rounded(up),
        "step_size_down": rounded(scheduler.total_size - up),
        "mode": scheduler.mode,
        "gamma": scheduler.gamma,
        "cycle_momentum": scheduler.cycle_momentum,
    }
    if scheduler.cycle_momentum:
        kwargs["base_momentum"] = float(scheduler.base_momentums[index])
        kwargs["max_momentum"] = float(scheduler.max_momentums[index])
    return Part("CyclicLR", base, kwargs)


def rounded(steps: float) -> int:
    """A number of steps that torch keeps as a float."""
    whole = round(steps)
    if not math.isclose(steps, whole, rel_tol=1e-12):
        raise Unreadable(f"A cycle is not whole: {steps!r} steps")
    return whole


def one_cycle(scheduler: Any, index: int, base: float) -> Part:
    """torch keeps the rates in the group, and where the phases end."""
    group = scheduler.optimizer.param_groups[index]
    phases = scheduler._schedule_phases
    initial, highest, lowest = (float(group[name]) for name in ("initial_lr", "max_lr", "min_lr"))
    if not min(initial, highest, lowest) > 0.0:
        raise Unreadable(f"OneCycleLR has no ratios: rates {initial!r}, {highest!r}, {lowest!r}")
    kwargs = {
        "max_lr": highest,
        "total_steps": scheduler.total_steps,
        "pct_start": (phases[0]["end_step"] + 1.0) / scheduler.total_steps,
        "anneal_strategy": getattr(scheduler, "_anneal_func_type", "cos"),
        "cycle_momentum": scheduler.cycle_momentum,
        "div_factor": highest / initial,
        "final_div_factor": initial / lowest,
        "three_phase": len(phases) == 3,
    }
    if scheduler.cycle_momentum:
        kwargs["base_momentum"], kwargs["max_momentum"] = float(group["base_momentum"]), float(group["max_momentum"])
    return Part("OneCycleLR", base, kwargs)


def lambda_lr(scheduler: Any, index: int, base: float) -> Part:
    return Part("LambdaLR", base, {}, schedule=lambda_schedule(scheduler.lr_lambdas[index], base))


READERS: dict[str, Callable[[Any, int, float], Part]] = {
    "CyclicLR": cyclic,
    "LambdaLR": lambda_lr,
    "MultiStepLR": multi_step,
    "OneCycleLR": one_cycle,
}


def plateau(scheduler: Any, index: int) -> Schedule:
    """The rule, as long as it has seen no metric: what it has seen is no part of a schedule."""
    if scheduler.best != scheduler.mode_worse:
        raise Unreadable(
            f"ReduceLROnPlateau has seen metrics: best {scheduler.best!r}",
            "Start fastlr.ReduceOnPlateau anew, with the present rate.",
            final=True,
        )
    options = {
        name: getattr(scheduler, name)
        for name in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "eps")
    }
    rate = float(scheduler.optimizer.param_groups[index]["lr"])
    return ReduceLROnPlateau(rate, min_lr=float(scheduler.min_lrs[index]), **options)
