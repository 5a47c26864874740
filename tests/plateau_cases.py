"""A rate under a rule in each of the places that take one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_spy import Spy

import fastlr

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
WORSE = [1.0] * 3  # with patience=0 a first best, then two reductions


def ours(lr: Any) -> tuple[fastlr.SGD, Spy, Callable[[Any], None]]:
    spy = Spy()
    optimizer = fastlr.SGD([spy.param], lr=lr)
    return optimizer, spy, optimizer.report


def ours_through_a_scheduler(lr: Any) -> tuple[Any, Spy, Callable[[Any], None]]:
    spy = Spy()
    optimizer = fastlr.SGD([spy.param], lr=1.0)
    return optimizer, spy, fastlr.LRScheduler(optimizer, lr=lr).report


def theirs(lr: Any) -> tuple[Any, Spy, Callable[[Any], None]]:
    spy = Spy()
    optimizer = torch.optim.SGD([spy.param], lr=1.0)
    scheduler = fastlr.LRScheduler(optimizer, lr=lr)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return optimizer, spy, scheduler.report


SIDES = pytest.mark.parametrize("side", [ours, ours_through_a_scheduler, theirs])
