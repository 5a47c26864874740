"""The oracle of Adam and Lion: against torch's operators, one after another, in float32."""

from typing import Any

import numpy as np
import pytest
import torch
from adam_cases import EVERY, OPTIONS, PAIRS, RULES, assert_follows, describe, give_all, needs_fma
from adam_reference import Hyper, Oracle, adam, power
from sgd_cases import filled, same_bits
from torch import Tensor

pytestmark = needs_fma


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("name", PAIRS)
def test_adam_is_torch_s(name: str, options: dict[str, Any]) -> None:
    params = [filled(layout, torch.float32, seed) for seed, layout in enumerate(["31", "257", "matrix"])]
    optimizer = PAIRS[name][1](params, lr=0.01, **options)
    oracle = Oracle(adam, params, Hyper(lr=0.01, **options, **RULES[name][2]))
    for step in range(12):
        give_all(params, step)
        oracle.step([p.grad for p in params])
        optimizer.step()
        assert_follows(optimizer, oracle, f"after update {step}")


def lion_with_operators(hyper: Hyper, param: Tensor, grad: Tensor, average: Tensor) -> None:
    x = grad.neg() if hyper.maximize else grad
    param *= 1 - hyper.lr * hyper.weight_decay
    param.sub_(torch.sign((hyper.betas[0] * average).add(x, alpha=1 - hyper.betas[0])), alpha=hyper.lr)
    average.mul_(hyper.betas[1]).add_(x, alpha=1 - hyper.betas[1])


@pytest.mark.parametrize("options", [options for name, options in EVERY if name == "Lion"], ids=describe)
def test_lion_is_its_operators(options: dict[str, Any]) -> None:
    param, hyper = filled("257", torch.float32, 0).detach(), Hyper(lr=0.01, **options)
    oracle, average = Oracle(RULES["Lion"][1], [param], hyper), torch.zeros_like(param)
    for step in range(12):
        give_all([param], step)
        assert param.grad is not None
        oracle.step([param.grad])
        lion_with_operators(hyper, param, param.grad, average)
        assert same_bits(param, oracle.params[0])
        assert same_bits(average, oracle.states[0]["exp_avg"])


@pytest.mark.parametrize(
    ("base", "exponent", "expected"),
    [(0.9, 1, 0.9), (0.5, 3, 0.125), (0.0, 2, 0.0), (0.5, 1074, 2.0**-1074), (0.9, 10**6, 0.0)],
)
def test_powers(base: float, exponent: int, expected: float) -> None:
    assert power(base, exponent) == expected


def test_the_update_by_hand() -> None:
    """The first update moves by the rate, whatever the gradient's size: m/c1 is g and v/c2 its square."""
    for size in (1e-3, 1.0, 40.0):
        moved, state = adam(Hyper(lr=0.5, eps=0.0), np.array([1.0]), np.array([size]), {}, 1)
        assert abs(moved[0] - 0.5) < 1e-12
        assert abs(state["exp_avg"][0] - 0.1 * size) < 1e-12 * size
        assert abs(state["exp_avg_sq"][0] - 0.001 * size**2) < 1e-12 * size**2
