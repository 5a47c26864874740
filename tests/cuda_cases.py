"""The rules in the tests of the CUDA path: fastlr's optimizers, with options that take all of their state."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import fastlr
from fastlr import schedules
from fastlr.optim import ScheduledOptimizer

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


class Rule(NamedTuple):
    """Called as the optimizer's class, with its own options where none are given."""

    kind: type[ScheduledOptimizer]
    options: dict[str, Any]
    scheduled: dict[str, Any]  # of what may follow a schedule beside the rate, all of it
    state: tuple[str, ...]  # shaped like the parameter
    capacity: int  # tensors in one launch

    def __call__(self, params: Any, **options: Any) -> ScheduledOptimizer:
        return self.kind(params, **{**self.options, **options})

    @property
    def name(self) -> str:
        return self.kind.rule

    @property
    def counts(self) -> bool:
        return "betas" in self.options and self.kind is not fastlr.Lion


FALLING, GROWING = schedules.Linear(0.9, 0.5, 30), schedules.Linear(0.0, 0.1, 20)
BETAS = (FALLING, schedules.Cosine(0.99, 0.3, 25))
AVERAGES = ("exp_avg", "exp_avg_sq")
RULES = {
    "SGD": Rule(
        fastlr.SGD,
        {"momentum": 0.9, "dampening": 0.2},
        {"momentum": FALLING, "weight_decay": GROWING},
        ("momentum_buffer",),
        760,
    ),
    "Adam": Rule(
        fastlr.Adam,
        {"betas": (0.9, 0.99), "amsgrad": True, "weight_decay": 0.01},
        {"betas": BETAS, "weight_decay": GROWING},
        (*AVERAGES, "max_exp_avg_sq"),
        552,
    ),
    "AdamW": Rule(
        fastlr.AdamW, {"betas": (0.4, 0.999), "eps": 1e-6}, {"betas": BETAS, "weight_decay": GROWING}, AVERAGES, 552
    ),
    "Lion": Rule(
        fastlr.Lion,
        {"betas": (0.9, 0.99), "weight_decay": 0.1},
        {"betas": BETAS, "weight_decay": GROWING},
        ("exp_avg",),
        760,
    ),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def counts(optimizer: ScheduledOptimizer) -> list[int]:
    """What stands in "step" of each parameter that has state."""
    params: list[Tensor] = [param for group in optimizer.param_groups for param in group["params"]]
    return [int(optimizer.state[param]["step"]) for param in params if param in optimizer.state]
