"""The average inside the update: torch.lerp's bits for every weight and value, and when it begins and moves."""

import itertools
import math
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from recipe_cases import CLASSES, RATES, RISING
from sgd_cases import assert_same_bits, gradient_like
from torch import Tensor

import fastlr
from fastlr import compat
from fastlr.schedules import Constant

HALF = 0.5
# On both sides of the weight from which torch's lerp starts at its other end, in float32 and in float64.
BESIDE_A_HALF = [HALF + sign * 2.0**-exponent for sign in (1, -1) for exponent in (24, 25, 26, 53, 54)]
DECAYS = [0.0, 1.0, HALF, *BESIDE_A_HALF, 0.9999, 1e-8, 1.0 - 2.0**-53, 1e-300]
LARGEST, TINY = torch.finfo(torch.float32).max, torch.finfo(torch.float32).smallest_normal
VALUES = [0.0, -0.0, 1.0, 1.0 + 2.0**-23, -3.5, LARGEST, -LARGEST, TINY, TINY / 8, math.inf, -math.inf, math.nan]
PAIRS = [torch.tensor(column, dtype=torch.float64) for column in zip(*itertools.product(VALUES, VALUES), strict=True)]


def at_rate_0(weights: Tensor, average: Tensor | None, decay: Any, **options: Any) -> Tensor:
    """The average after one update that leaves the weights as they are."""
    optimizer = fastlr.SGD([weights], lr=0.0, ema_decay=decay, **options)
    if average is not None:
        optimizer.state[weights]["ema"] = average.clone()
    weights.grad = torch.zeros_like(weights)
    optimizer.step()
    result: Tensor = optimizer.state[weights]["ema"]
    return result


@needs_fma
@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_bits_of_torch_s_lerp(dtype: torch.dtype, decay: float) -> None:
    """Twice as many elements as a vector register takes, so that both of torch's loops are met."""
    wide = torch.promote_types(dtype, torch.float32)
    average, weights = PAIRS[0].to(wide), PAIRS[1].to(dtype)
    expected = torch.lerp(average, weights.to(wide), 1.0 - decay)
    assert_same_bits([at_rate_0(weights, average, decay)], [expected])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_decay_of_0_copies_and_one_of_1_keeps(dtype: torch.dtype) -> None:
    weights = torch.linspace(-2, 3, 257).to(dtype)
    other = torch.linspace(7, 9, 257)
    assert_same_bits([at_rate_0(weights, other, 0.0)], [weights.float()])
    assert_same_bits([at_rate_0(weights, other, 1.0)], [other])


@pytest.mark.parametrize("decay", [0.3, RISING])
def test_weights_that_stand_still_are_their_own_average(decay: Any) -> None:
    """Whatever the decay: nothing drifts by rounding."""
    weights = torch.randn(1025, generator=torch.Generator().manual_seed(0))
    optimizer = fastlr.SGD([weights], lr=0.0, ema_decay=decay)
    for _ in range(50):
        weights.grad = torch.ones_like(weights)
        optimizer.step()
    assert_same_bits([optimizer.state[weights]["ema"]], [weights])


@pytest.mark.parametrize("masters", [False, True])
@pytest.mark.parametrize("rule", CLASSES)
def test_an_average_begins_at_the_weights_before_the_first_update(rule: str, masters: bool) -> None:
    """Of a parameter whose first gradient comes late, too, and it shares memory with nothing."""
    params = [torch.linspace(-1, 1, 31, dtype=torch.bfloat16) for _ in range(2)]
    optimizer = CLASSES[rule](params, **RATES[rule][0], ema_decay=1.0, master_weights=masters)
    for step in range(3):
        for index, param in enumerate(params):
            param.grad = gradient_like(param, step) if step >= 2 * index else None
        optimizer.step()
        assert ("ema" in optimizer.state.get(params[1], {})) == (step >= 2)
    for param in params:
        state = optimizer.state[param]
        assert_same_bits([state["ema"]], [torch.linspace(-1, 1, 31, dtype=torch.bfloat16).float()])
        places = [tensor.data_ptr() for tensor in (param, param.grad, *state.values())]
        assert len(set(places)) == len(places)


@pytest.mark.parametrize("rule", CLASSES)
def test_an_average_changes_no_bit_of_the_training(rule: str) -> None:
    sides = []
    for own in ({}, {"ema_decay": RISING}):
        params = [torch.linspace(-1, 1, size, dtype=dtype) for size, dtype in ((257, torch.float32), (31, torch.half))]
        optimizer = CLASSES[rule](params, **RATES[rule][0], **own)
        for step in range(4):
            for param in params:
                param.grad = gradient_like(param, step)
            optimizer.step()
        states = [tensor for param in params for name, tensor in optimizer.state[param].items() if name != "ema"]
        sides.append([*params, *states])
    assert_same_bits(*sides)


def test_parameters_without_a_gradient_keep_their_average() -> None:
    params = [torch.ones(3), torch.ones(3)]
    optimizer = fastlr.SGD(params, lr=1.0, ema_decay=0.5)
    for step in range(3):
        for param in params:
            param.grad = torch.ones(3)
        params[1].grad = None if step else params[1].grad
        optimizer.step()
    assert [optimizer.state[param]["ema"].tolist() for param in params] == [[-1.125] * 3, [0.5] * 3]


def test_a_decay_is_replaced_in_a_running_training() -> None:
    """By set_schedule, for one group of two; its clock is the count of updates."""
    params = [torch.zeros(1), torch.zeros(1)]
    optimizer = fastlr.SGD([{"params": [param]} for param in params], lr=1.0, ema_decay=1.0)
    for step in range(4):
        if step == 2:
            optimizer.set_schedule(group=1, ema_decay=Constant(1.0, 3) >> Constant(0.0))
        for param in params:
            param.grad = -torch.ones(1)
        optimizer.step()
        expected = [0.0, 4.0 if step == 3 else 0.0]
        assert [optimizer.state[param]["ema"].item() for param in params] == expected, step


def test_an_average_that_is_given_up_stays_as_it_is() -> None:
    weight = torch.zeros(1)
    optimizer = fastlr.SGD([weight], lr=1.0, ema_decay=0.5)
    for decay in (0.5, None, 0.5):
        optimizer.param_groups[0]["ema_decay"] = decay
        weight.grad = -torch.ones(1)
        optimizer.step()
    assert optimizer.state[weight]["ema"].item() == 0.5 + (3.0 - 0.5) / 2


def test_timm_s_warm_up_copies_first_and_then_follows() -> None:
    """The average that timm computes after each update, from its decays in another order of operations."""
    weight = torch.zeros(1, dtype=torch.float64)
    optimizer = fastlr.SGD([weight], lr=1.0, ema_decay=compat.timm.ema_decay(0.99, warmup=True))
    average = 0.0
    for t in range(30):
        weight.grad = torch.full((1,), -(1.0 + t), dtype=torch.float64)
        optimizer.step()
        decay = min(1.0 - float(1 + t) ** (-2.0 / 3.0), 0.99)
        average = decay * average + (1.0 - decay) * weight.item()
        assert optimizer.state[weight]["ema"].item() == pytest.approx(average, rel=1e-14)
        assert t > 0 or average == weight.item() == 1.0
