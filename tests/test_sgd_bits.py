"""fastlr.SGD against torch.optim.SGD(foreach=False, fused=False): the same bits in float32 and float64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgd_cases import (
    LAYOUTS,
    OPTIONS,
    assert_same_state,
    describe,
    filled,
    gradient_like,
    set_gradients,
    torch_sgd,
)
from torch import Tensor

import fastlr
from fastlr import schedules

DTYPES = [torch.float32, torch.float64]
BIG = 1048583


def parameters(dtype: torch.dtype) -> list[Tensor]:
    return [filled(layout, dtype, seed) for seed, layout in enumerate(LAYOUTS)]


def compare(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer, updates: int) -> None:
    """The same gradients to both, for some updates; equal after each."""
    for step in range(updates):
        for optimizer in (ours, theirs):
            set_gradients([p for group in optimizer.param_groups for p in group["params"]], step)
            optimizer.step()
        assert_same_state(ours, theirs, where=f"after update {step}")


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_combination_on_every_layout(options: dict[str, Any], dtype: torch.dtype) -> None:
    ours = fastlr.SGD(parameters(dtype), lr=0.1, **options)
    compare(ours, torch_sgd(parameters(dtype), lr=0.1, **options), updates=20)
    assert ours.step_count == 20


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1], OPTIONS[-4]], ids=describe)
def test_one_big_tensor(options: dict[str, Any], dtype: torch.dtype) -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        generator = torch.Generator().manual_seed(3)
        param = torch.randn(BIG, generator=generator, dtype=dtype)
        sides.append(make([param], lr=0.03, **options))
        for _ in range(3):
            param.grad = torch.randn(BIG, generator=generator, dtype=dtype)
            sides[-1].step()
    assert_same_state(*sides)


GROUPS: list[dict[str, Any]] = [
    {"lr": 0.5, "momentum": 0.9, "nesterov": True},
    {},
    {"weight_decay": 0.1, "maximize": True},
    {"lr": 0.0},
    {"momentum": 0.5, "dampening": 0.7},
    {"momentum": 0},
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_groups_with_their_own_options(dtype: torch.dtype) -> None:
    def groups() -> list[dict[str, Any]]:
        params = parameters(dtype)
        return [{"params": params[i :: len(GROUPS)], **options} for i, options in enumerate(GROUPS)]

    options: dict[str, Any] = {"lr": 0.01, "momentum": 0.3, "weight_decay": 0.02}
    compare(fastlr.SGD(groups(), **options), torch_sgd(groups(), **options), updates=20)


def test_options_changed_between_updates() -> None:
    changes: dict[int, dict[str, Any]] = {
        2: {"lr": 0.5},
        3: {"momentum": 0.0},
        5: {"momentum": 0.9, "dampening": 0.4},
        6: {"weight_decay": 0.3},
        8: {"dampening": 0, "nesterov": True},
        9: {"maximize": True},
        11: {"nesterov": False, "weight_decay": 0, "maximize": False},
    }
    ours = fastlr.SGD(parameters(torch.float32), lr=0.1, momentum=0.5)
    theirs = torch_sgd(parameters(torch.float32), lr=0.1, momentum=0.5)
    for step in range(13):
        for optimizer in (ours, theirs):
            optimizer.param_groups[0].update(changes.get(step, {}))
            set_gradients(optimizer.param_groups[0]["params"], step)
            optimizer.step()
        assert_same_state(ours, theirs, where=f"after update {step}")


SCHEDULED: dict[str, Callable[[], dict[str, Any]]] = {
    "rate": lambda: {"lr": fastlr.warmup_cosine(0.1, 25, warmup=4)},
    "rate and the rest constant": lambda: {
        "lr": schedules.Exponential(0.3, 0.9),
        "momentum": 0.9,
        "weight_decay": 0.01,
        "dampening": 0.3,
    },
    "one-cycle, nesterov": lambda: {
        "lr": schedules.OneCycle(0.2, 25),
        "momentum": schedules.OneCycle(0.2, 25).momentum,
        "nesterov": True,
    },
    "momentum that starts at 0": lambda: {"lr": 0.1, "momentum": schedules.Linear(0.0, 0.9, 7)},
    "all three": lambda: {
        "lr": schedules.Linear(0.0, 0.1, 5) >> schedules.Cosine(0.1, 0.001, 12),
        "momentum": schedules.MultiStep(0.5, (3, 9), 1.3),
        "weight_decay": schedules.Step(0.1, 4, 0.5),
        "maximize": True,
    },
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SCHEDULED)
def test_schedule_has_the_bits_of_floats_written_before_each_step(name: str, dtype: torch.dtype) -> None:
    options = SCHEDULED[name]()
    scheduled = {key: value for key, value in options.items() if isinstance(value, schedules.Schedule)}
    first = {key: value(0) for key, value in scheduled.items()}
    ours = fastlr.SGD(parameters(dtype), **options)
    theirs = torch_sgd(parameters(dtype), **{**options, **first, "nesterov": False})
    theirs.param_groups[0]["nesterov"] = options.get("nesterov", False)
    for step in range(20):
        theirs.param_groups[0].update({key: value(step) for key, value in scheduled.items()})
        for optimizer in (ours, theirs):
            set_gradients(optimizer.param_groups[0]["params"], step)
            optimizer.step()
        assert_same_state(ours, theirs, where=f"after update {step}")


HYPER = st.floats(0, 1e3, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(
    lr=HYPER,
    momentum=st.just(0.0) | HYPER,
    dampening=st.floats(-2, 2),
    decay=st.just(0.0) | HYPER,
    size=st.integers(0, 70),
    dtype=st.sampled_from(DTYPES),
)
def test_any_hyper_parameters(
    lr: float, momentum: float, dampening: float, decay: float, size: int, dtype: torch.dtype
) -> None:
    options: dict[str, Any] = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": decay}
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.linspace(-1, 1, size, dtype=dtype)
        sides.append(make([param], **options))
        for step in range(3):
            param.grad = gradient_like(param, step)
            sides[-1].step()
    assert_same_state(*sides)


SPECIAL = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, -1e-40, 1e-310, 3e38, -1e38, 1.5, -2.25]


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_values(options: dict[str, Any], dtype: torch.dtype) -> None:
    values = torch.tensor(SPECIAL, dtype=dtype)
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = values.repeat_interleave(len(SPECIAL))
        sides.append(make([param], lr=0.1, **options))
        for _ in range(3):
            param.grad = values.repeat(len(SPECIAL))
            sides[-1].step()
    assert_same_state(*sides)


def test_many_small_tensors() -> None:
    def tensors() -> list[Tensor]:
        return [torch.full((1 + i % 3,), float(i)) for i in range(1009)]

    options: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    compare(fastlr.SGD(tensors(), **options), torch_sgd(tensors(), **options), updates=3)
