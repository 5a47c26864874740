"""Optimizers along a schedule: one parameter by itself, and each kind for the tests with other libraries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from adam_standard import torch_adamw
from sgd_spy import RateSpy, Spy
from torch.optim.lr_scheduler import LambdaLR

import fastlr
from fastlr.optim import ScheduledOptimizer

UPDATES = 12
WARM = fastlr.warmup_cosine(0.05, UPDATES, warmup=3)
HALF = 0.5 * WARM
EXPECTED = [[schedule(t) for t in range(UPDATES)] for schedule in (WARM, HALF)]


@dataclass
class Rule:
    """An optimizer: options under which an update shows its rate, and options under which it uses all of its state."""

    make: Callable[..., Any]
    readable: dict[str, Any]
    usual: dict[str, Any]
    direction: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    counts: bool = False


# AdamW's first moment over the root of its second, both without memory, and Lion's average are the gradient's sign.
SGD: dict[str, Any] = {"readable": {}, "usual": {"momentum": 0.9, "weight_decay": 0.1}}
ADAMW: dict[str, Any] = {
    "readable": {"betas": (0.0, 0.0), "eps": 1e-14, "weight_decay": 0.0},
    "usual": {"betas": (0.9, 0.95), "weight_decay": 0.1, "amsgrad": True},
    "direction": torch.sign,
    "counts": True,
}
LION: dict[str, Any] = {
    "readable": {"betas": (0.0, 0.0)},
    "usual": {"betas": (0.9, 0.95), "weight_decay": 0.1},
    "direction": torch.sign,
}
RULES = {
    "fastlr.SGD": Rule(fastlr.SGD, **SGD),
    "fastlr.AdamW": Rule(fastlr.AdamW, **ADAMW),
    "fastlr.Lion": Rule(fastlr.Lion, **LION),
    "torch.optim.SGD": Rule(torch.optim.SGD, **SGD),
    "torch.optim.AdamW": Rule(torch.optim.AdamW, **ADAMW),
}
OWN = [name for name in RULES if name.startswith("fastlr.")]
ALONE = {f"{name} alone": name for name in OWN}
DRIVEN = [*RULES, *ALONE]
# How often gradients are accumulated, and the norm that they are clipped to.
ACCUMULATED_AND_CLIPPED = pytest.mark.parametrize(("accumulate", "clip"), [(1, 0.0), (1, 0.5), (3, 0.5)])


class Driven:
    """Two groups, the second at half the rate, under fastlr.LRScheduler or alone, following schedules of its own.

    ``scheduler`` is there in both cases; alone it is for callers that insist on one.
    """

    def __init__(self, name: str, groups: list[dict[str, Any]], *, usual: bool = False) -> None:
        self.alone = name in ALONE
        self.rule = RULES[ALONE.get(name, name)]
        options = self.rule.usual if usual else self.rule.readable
        if self.alone:
            groups[1]["lr_scale"] = 0.5
        self.optimizer = self.rule.make(groups, lr=WARM if self.alone else 0.3, **options)
        self.scheduler = fastlr.LRScheduler(self.optimizer, lr=None if self.alone else [WARM, HALF])
        self.spy = RateSpy(self.optimizer, self.rule.direction)

    def check_stated(self, updates: range) -> None:
        """The groups held the schedules' values at these updates, and everything counted them."""
        assert self.spy.stated == [[rates[t] for t in updates] for rates in EXPECTED]
        if self.alone:
            self.scheduler.step()
        assert self.scheduler.last_epoch == updates.stop
        if isinstance(self.optimizer, ScheduledOptimizer):
            assert self.optimizer.step_count == updates.stop
            assert [group["held_steps"] for group in self.optimizer.param_groups] == [0, 0]
        counts = [state.get("step") for state in self.optimizer.state.values()]
        if self.rule.counts:
            assert counts == [torch.tensor(float(updates.stop))] * 4
            assert {count.dtype for count in counts} == {torch.float32}

    def check(self, updates: range) -> None:
        """The groups held them, and the updates used them."""
        self.check_stated(updates)
        for applied, stated in zip(self.spy.applied, self.spy.stated, strict=True):
            assert applied == pytest.approx(stated, rel=1e-9)


def assert_same_bits(actual: torch.optim.Optimizer, expected: torch.optim.Optimizer) -> None:
    """Equal parameters and equal state, bit for bit."""
    pairs = [
        zip(a["params"], b["params"], strict=True)
        for a, b in zip(actual.param_groups, expected.param_groups, strict=True)
    ]
    for ours, theirs in (pair for group in pairs for pair in group):
        assert torch.equal(ours, theirs)
        state, other = actual.state.get(ours, {}), expected.state.get(theirs, {})
        assert state.keys() == other.keys()
        assert all(torch.equal(state[key], other[key]) for key in state)


# fastlr.AdamW, and torch's with torch's scheduler: what it has to equal. A maker takes two groups.
Pair = tuple[Any, Any]
WHOLE: dict[str, Any] = {"betas": (0.9, 0.95), "weight_decay": 0.1}


def own_adamw(groups: list[dict[str, Any]]) -> Pair:
    groups[1]["lr_scale"] = 0.5
    optimizer = fastlr.AdamW(groups, lr=WARM, **WHOLE)
    return optimizer, fastlr.LRScheduler(optimizer)


def standard_adamw(groups: list[dict[str, Any]]) -> Pair:
    optimizer = torch_adamw(groups, lr=1.0, **WHOLE)
    return optimizer, LambdaLR(optimizer, [WARM, HALF])


BOTH = pytest.mark.parametrize("make", [torch.optim.SGD, fastlr.SGD])


def single(make: Any = torch.optim.SGD, **given: Any) -> tuple[Any, Spy, fastlr.LRScheduler]:
    """An optimizer of one parameter, and its scheduler."""
    spy = Spy()
    optimizer = make([spy.param], lr=0.4)
    return optimizer, spy, fastlr.LRScheduler(optimizer, **given)
