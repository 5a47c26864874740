"""Tabulates a scheduler by driving a copy of it."""

from __future__ import annotations

import contextlib
import copy
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from fastlr.convert import timm_scheduler
from fastlr.schedules import Schedule, Table, WithMomentum


class Groups:
    """What a scheduler sees of an optimizer: its groups, without parameters."""

    def __init__(self, optimizer: Any) -> None:
        self.param_groups = [
            copy.deepcopy({key: value for key, value in group.items() if key != "params"})
            for group in optimizer.param_groups
        ]
        self.defaults = dict(optimizer.defaults)

    def step(self) -> None:
        """Nothing to update; torch's schedulers look for it."""


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The program's random numbers and warnings, whatever the scheduler's functions do."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # torch misses the updates between the steps
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def tables(scheduler: Any, steps: int, updates: int | None) -> list[Schedule]:
    """One table for each group, of the rates of so many steps from the present one on."""
    groups = Groups(scheduler.optimizer)
    driven = copy.deepcopy(scheduler, {id(scheduler.optimizer): groups})
    rates: list[list[float]] = [[] for _ in groups.param_groups]
    momenta: list[list[float]] = [[] for _ in groups.param_groups]
    with undisturbed():
        for t in range(steps):
            if t > 0 or updates is not None:
                advance(driven, (updates or 0) + t)
            for rate, momentum, group in zip(rates, momenta, groups.param_groups, strict=True):
                rate.append(float(group["lr"]))
                momentum.append(float(group["momentum"] if "momentum" in group else group.get("betas", (0.0,))[0]))
    return [tabulated(*values) for values in zip(rates, momenta, strict=True)]


def advance(scheduler: Any, t: int) -> None:
    """One step of the scheduler; timm's are told where they are."""
    if not timm_scheduler.reads(scheduler):
        scheduler.step()
    elif scheduler.t_in_epochs:
        scheduler.step(t)
    else:
        scheduler.step_update(t)


def tabulated(rates: list[float], momenta: list[float]) -> Schedule:
    """The rates, with the momentum where it moves."""
    rate = Table(tuple(rates))
    return WithMomentum(rate, Table(tuple(momenta))) if len(set(momenta)) > 1 else rate
