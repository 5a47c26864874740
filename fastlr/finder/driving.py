"""Rates written into an optimizer, its own schedules standing still."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from fastlr.lr_scheduler.arguments import number
from fastlr.schedules import Schedule

Group = dict[str, Any]


def ratios(optimizer: Optimizer) -> list[float]:
    """Each group's rate as a part of the largest: the peaks of schedules, what schedulers started from, else ``lr``.

    Groups that all have 0 are alike.
    """
    bases = [_base(group) for group in optimizer.param_groups]
    largest = max(bases)
    return [base / largest if largest > 0 else 1.0 for base in bases]


def _base(group: Group) -> float:
    follows = "lr_schedule" not in group or group["lr_schedule"] is not None  # a constant of fastlr's is its own base
    base = number(group["initial_lr"]) if follows and "initial_lr" in group else math.inf
    return base if math.isfinite(base) else number(group["lr"])


def hold(optimizer: Optimizer) -> None:
    """Have every hyper-parameter of an optimizer of fastlr, wrapped or not, stay what it is now, before its steps."""
    for group in optimizer.param_groups:
        group.update({key: None for key, value in group.items() if isinstance(value, Schedule)})


def write(optimizer: Optimizer, rate: float, parts: list[float]) -> None:
    """Set the groups' rates for the next update; tensors are filled in place."""
    for group, part in zip(optimizer.param_groups, parts, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate * part)
        else:
            group["lr"] = rate * part
