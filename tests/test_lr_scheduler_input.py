"""What fastlr.LRScheduler refuses, before anything is changed."""

import math
from typing import Any

import pytest
import torch
from driven_cases import BOTH
from sgd_spy import groups

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
SHAPE = schedules.Linear(1.0, 0.25, 9)

BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"lr": WARM, "factor": SHAPE}, ValueError, "lr= and factor="),
    ({"momentum": 0.5, "betas": (0.5, 0.5)}, ValueError, "momentum= and betas="),
    ({"lr": "0.1"}, TypeError, "Not a schedule"),
    ({"lr": math.cos}, TypeError, "Not a schedule"),
    ({"lr": [WARM, None]}, TypeError, "Not a schedule"),
    ({"lr": [WARM, WARM]}, ValueError, "2 schedules of lr for another number of groups: 1"),
    ({"lr": []}, ValueError, "0 schedules"),
    ({"lr": -0.1}, ValueError, "Invalid learning rate"),
    ({"lr": math.nan}, ValueError, "not finite"),
    ({"lr": schedules.Linear(0.1, -0.1, 5)}, ValueError, "Invalid learning rate"),
    ({"factor": schedules.Linear(0.1, -0.1, 5)}, ValueError, "Invalid factor"),
    ({"momentum": -0.5}, ValueError, "Invalid momentum"),
    ({"weight_decay": -0.5}, ValueError, "Invalid weight_decay"),
    ({"betas": (0.9, 0.99)}, ValueError, "group 0 has no betas"),
    ({"lr": 0.1, "last_epoch": -2}, ValueError, "last_epoch"),
    ({"lr": 0.1, "last_epoch": 1.0}, ValueError, "last_epoch"),
    ({"lr": 0.1, "last_epoch": 3}, KeyError, "initial_lr"),
    ({}, TypeError, "Not an optimizer of fastlr: SGD"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=str)
def test_bad_arguments_are_refused_and_nothing_is_changed(options: Any, error: type[Exception], text: str) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5, weight_decay=0.1)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(error, match=text):
        fastlr.LRScheduler(optimizer, **options)
    assert optimizer.param_groups[0] == before
    assert not optimizer._optimizer_step_post_hooks


BAD_BETAS: list[Any] = [0.9, (), (0.9,), (0.9, 0.99, 0.999), (0.9, 1.0), (-0.1, 0.9), (0.9, "0.99"), [(0.9, 0.99), 0.9]]


@pytest.mark.parametrize("betas", BAD_BETAS, ids=repr)
def test_bad_betas_are_refused(betas: Any) -> None:
    optimizer = torch.optim.Adam([torch.zeros(1)])
    with pytest.raises((TypeError, ValueError)):
        fastlr.LRScheduler(optimizer, betas=betas)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


@BOTH
def test_one_absolute_schedule_over_different_rates_is_refused(make: Any) -> None:
    given_groups, _ = groups({"lr": 0.3}, {})
    optimizer = make(given_groups, lr=0.5)
    with pytest.raises(ValueError, match=r"different rates: 0\.3, 0\.5\. Give factor="):
        fastlr.LRScheduler(optimizer, lr=WARM)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.5]


def test_a_group_without_the_hyper_parameter_is_named() -> None:
    optimizer = torch.optim.Rprop([torch.zeros(1)])
    for name in ("momentum", "weight_decay"):
        with pytest.raises(ValueError, match=f"group 0 has no {name}"):
            fastlr.LRScheduler(optimizer, **{name: 0.5})  # type: ignore[arg-type]


def test_a_fastlr_optimizer_refuses_what_its_rule_does_and_all_groups_stay() -> None:
    given_groups, _ = groups({}, {"nesterov": True})
    optimizer = fastlr.SGD(given_groups, lr=0.5, momentum=0.9)
    with pytest.raises(ValueError, match="Nesterov"):
        fastlr.LRScheduler(optimizer, lr=WARM, momentum=0.0)
    assert [(g["lr"], g["momentum"], g["lr_schedule"]) for g in optimizer.param_groups] == [(0.5, 0.9, None)] * 2


@pytest.mark.parametrize("optimizer", [None, "SGD", torch.nn.Linear(1, 1)], ids=repr)
def test_what_is_no_optimizer_is_refused(optimizer: Any) -> None:
    with pytest.raises(TypeError, match="Not an optimizer"):
        fastlr.LRScheduler(optimizer, lr=WARM)
