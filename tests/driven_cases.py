"""Optimizers under fastlr.LRScheduler: one parameter by itself, and each kind for the tests with other libraries."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_spy import RateSpy, Spy

import fastlr

UPDATES = 12
WARM = fastlr.warmup_cosine(0.05, UPDATES, warmup=3)
HALF = 0.5 * WARM
EXPECTED = [[schedule(t) for t in range(UPDATES)] for schedule in (WARM, HALF)]

# AdamW's step of a first moment over the root of a second, both without memory, has the gradient's sign as direction.
DRIVEN: dict[str, tuple[Callable[..., Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "fastlr.SGD": (lambda groups, momentum: fastlr.SGD(groups, lr=0.3, momentum=momentum), torch.clone),
    "torch.optim.SGD": (lambda groups, momentum: torch.optim.SGD(groups, lr=0.3, momentum=momentum), torch.clone),
    "torch.optim.AdamW": (
        lambda groups, momentum: torch.optim.AdamW(
            groups, lr=0.3, betas=(momentum, momentum), eps=1e-14, weight_decay=0.0
        ),
        torch.sign,
    ),
}


class Driven:
    """Two groups, the second at half the rate; the rates that every update stated and used."""

    def __init__(self, name: str, groups: list[dict[str, Any]], momentum: float = 0.0) -> None:
        make, direction = DRIVEN[name]
        self.optimizer = make(groups, momentum)
        self.scheduler = fastlr.LRScheduler(self.optimizer, lr=[WARM, HALF])
        self.spy = RateSpy(self.optimizer, direction)

    def check_stated(self, updates: range) -> None:
        """The groups held the schedules' values at these updates."""
        assert self.spy.stated == [[rates[t] for t in updates] for rates in EXPECTED]
        assert self.scheduler.last_epoch == updates.stop

    def check(self, updates: range) -> None:
        """The groups held them, and the updates used them."""
        self.check_stated(updates)
        for applied, stated in zip(self.spy.applied, self.spy.stated, strict=True):
            assert applied == pytest.approx(stated, rel=1e-9)


BOTH = pytest.mark.parametrize("make", [torch.optim.SGD, fastlr.SGD])


def single(make: Any = torch.optim.SGD, **given: Any) -> tuple[Any, Spy, fastlr.LRScheduler]:
    """An optimizer of one parameter, and its scheduler."""
    spy = Spy()
    optimizer = make([spy.param], lr=0.4)
    return optimizer, spy, fastlr.LRScheduler(optimizer, **given)
