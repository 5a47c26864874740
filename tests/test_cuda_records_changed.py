"""What the driver is told in a step after something was changed: one more launch, once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_cases import DTYPES, RULES, Rule, each_rule
from cuda_places import steady
from standin_driver import Standin
from test_cuda_records import RATE, STEADY, calls, kernels, model

import fastlr
from fastlr import schedules
from fastlr.optim import ScheduledOptimizer

Change = Callable[[ScheduledOptimizer], Any]


def write(name: str, value: object) -> Change:
    def change(optimizer: ScheduledOptimizer) -> None:
        optimizer.param_groups[0][name] = value

    return change


def set_count(optimizer: ScheduledOptimizer) -> None:
    optimizer.step_count = 5


def set_one_count(optimizer: ScheduledOptimizer) -> None:
    optimizer.state[optimizer.param_groups[0]["params"][0]]["step"].fill_(1)


def replace_counts(optimizer: ScheduledOptimizer) -> None:
    """As a checkpoint of another program's may have them."""
    for number, state in zip((7, 7.0, torch.tensor(7.0)), optimizer.state.values(), strict=True):
        state["step"] = number


COMMON: dict[str, Change] = {
    "lr_scale": write("lr_scale", 0.5),
    "weight_decay": write("weight_decay", 0.25),
    "maximize": write("maximize", True),
    "set_schedule": lambda o: o.set_schedule(lr=schedules.Exponential(0.1, 0.9)),
    "a constant": lambda o: o.set_schedule(lr=0.25),
    "step_count": set_count,
}
OF_ADAM: dict[str, Change] = {
    "betas": write("betas", (0.5, 0.25)),
    "eps": write("eps", 0.25),
    "amsgrad": write("amsgrad", True),
    "a count": set_one_count,
    "counts that are no tensors": replace_counts,
}
CHANGES: dict[str, dict[str, Change]] = {
    "SGD": {**COMMON, "dampening": write("dampening", 0.5)},
    "AdamW": {**COMMON, **OF_ADAM},
    "Lion": {**COMMON, "betas": write("betas", (0.5, 0.25))},
}


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, changes in CHANGES.items() for name in changes])
def test_a_change_costs_one_prepare_launch(rule: str, name: str, standin: Standin) -> None:
    optimizer = RULES[rule](model(standin), lr=RATE)
    for _ in range(3):
        optimizer.step()
    assert steady(standin, lambda: CHANGES[rule][name](optimizer)) == []
    assert kernels(steady(standin, optimizer.step)) == ["prepare", "float32"]
    assert calls(steady(standin, optimizer.step)) == STEADY


@each_rule
@pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside")
def test_a_rate_written_by_hand_costs_one_launch_each_way(rule: Rule, standin: Standin) -> None:
    optimizer = rule(model(standin), lr=RATE)
    optimizer.step()
    own = optimizer.param_groups[0]["lr"]
    for value in (0.5, own):
        optimizer.param_groups[0]["lr"] = value
        assert kernels(steady(standin, optimizer.step)) == ["prepare", "float32"]
        assert calls(steady(standin, optimizer.step)) == STEADY


def test_three_hundred_groups_that_change_take_few_launches(standin: Standin) -> None:
    params = model(standin, *DTYPES * 25)
    optimizer = fastlr.SGD([{"params": [param]} for param in params], lr=RATE)
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr_scale"] = 0.5
    told = kernels(steady(standin, optimizer.step))
    assert told[:-1] == ["prepare"] * 4  # 96 groups in each
    assert calls(steady(standin, optimizer.step)) == STEADY
