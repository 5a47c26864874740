"""Torch's and transformers' own schedulers, stepped: what the dialects of fastlr.compat have to give."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import lr_scheduler

from fastlr.schedules import Schedule


def make_optimizer(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.9)


def make_scheduler(optimizer: torch.optim.Optimizer, name: str, kwargs: dict[str, Any]) -> Any:
    """A scheduler of torch; composites list theirs as [name, kwargs]. `steps` is fastlr's own argument."""
    given = {key: value for key, value in kwargs.items() if key != "steps"}
    if "schedulers" in given:
        given["schedulers"] = [make_scheduler(optimizer, *entry) for entry in given["schedulers"]]
    if name == "ChainedScheduler":
        return lr_scheduler.ChainedScheduler(**given)
    return getattr(lr_scheduler, name)(optimizer, **given)


def stepped(make: Callable[[torch.optim.Optimizer], Any], steps: int, lr: float = 0.1, key: str = "lr") -> list[float]:
    """What the scheduler puts into the group for the first updates."""
    optimizer = make_optimizer(lr)
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scheduler is stepped without the optimizer
        scheduler = make(optimizer)
        for t in range(steps):
            values.append(float(optimizer.param_groups[0][key]))
            if t < steps - 1:
                scheduler.step()
    return values


def torch_values(name: str, kwargs: dict[str, Any], steps: int, lr: float = 0.1, key: str = "lr") -> list[float]:
    return stepped(lambda optimizer: make_scheduler(optimizer, name, kwargs), steps, lr, key)


def assert_follows(s: Schedule, expected: list[float], base: float = 0.1, atol: float = 1e-15) -> None:
    """The schedule has these values, at single steps and in an array."""
    values: NDArray[np.float64] = s(np.arange(len(expected)))
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=atol * base)
    assert s(len(expected) - 1) == values[-1]
