"""fastlr.Lion against its oracle and its definition; what it shares with Adam is in the tests of Adam."""

import math
from typing import Any

import pytest
import torch
from adam_cases import (
    LION_OPTIONS,
    describe,
    few,
    follow,
    give_all,
    needs_fma,
    parameters,
    params_of,
    train,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sgd_cases import set_gradients
from test_sgd_bits import BIG, DTYPES, SPECIAL
from torch import Tensor

import fastlr


@needs_fma
@pytest.mark.parametrize("options", LION_OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_combination_on_every_layout(options: dict[str, Any], dtype: torch.dtype) -> None:
    params = [p for p in parameters(dtype) if p.numel() > 0]
    follow("Lion", params, set_gradients, updates=20, lr=0.03, **options)


@needs_fma
def test_one_big_tensor() -> None:
    follow("Lion", [torch.linspace(-1, 1, BIG)], give_all, updates=3, lr=0.03, weight_decay=0.1, betas=(0.9, 0.99))


@needs_fma
@settings(max_examples=60, deadline=None)
@given(
    lr=st.floats(0, 1e3),
    betas=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
    decay=st.just(0.0) | st.floats(0, 1e3),
    size=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_any_hyper_parameters(
    lr: float, betas: tuple[float, float], decay: float, size: int, dtype: torch.dtype
) -> None:
    follow("Lion", [torch.linspace(-1, 1, size).to(dtype)], give_all, updates=3, lr=lr, betas=betas, weight_decay=decay)


@needs_fma
@pytest.mark.parametrize("options", LION_OPTIONS, ids=describe)
def test_special_values(options: dict[str, Any]) -> None:
    values = torch.tensor(SPECIAL)

    def give(params: list[Tensor], step: int) -> None:
        params[0].grad = values.repeat(len(SPECIAL)).roll(step // 2)

    follow("Lion", [values.repeat_interleave(len(SPECIAL))], give, updates=4, lr=0.1, **options)


def test_the_size_of_the_gradient_does_not_matter() -> None:
    """Powers of two scale every average exactly."""
    sides = []
    for scale in (1.0, 2.0**20, 2.0**-20):
        optimizer = fastlr.Lion(few(), lr=0.01, weight_decay=0.1)
        for step in range(10):
            give_all(params_of(optimizer), step)
            for param in params_of(optimizer):
                assert param.grad is not None
                param.grad *= scale
            optimizer.step()
        sides.append(params_of(optimizer))
    for other in sides[1:]:
        assert all(torch.equal(a, b) for a, b in zip(sides[0], other, strict=True))


def test_every_element_moves_by_the_rate_or_stays() -> None:
    param = torch.zeros(5)
    param.grad = torch.tensor([1e-30, -1e30, 0.0, -0.0, 3.0])
    fastlr.Lion([param], lr=0.25).step()
    assert param.tolist() == [-0.25, 0.25, 0.0, 0.0, -0.25]


def test_maximize_is_the_gradient_s_sign_alone() -> None:
    """Weight decay still pulls towards 0."""
    param = torch.tensor([1.0, 1.0])
    param.grad = torch.tensor([2.0, 0.0])
    fastlr.Lion([param], lr=0.5, weight_decay=0.5, maximize=True).step()
    assert param.tolist() == [1.25, 0.75]


def test_a_tensor_as_rate() -> None:
    lr = torch.tensor(0.25)
    sides = []
    for rate in (lr, 0.25):
        sides.append(fastlr.Lion([*few(), torch.linspace(-1, 1, 14)[::2]], lr=rate, weight_decay=0.1))
        train(sides[-1], range(4), give_all)
    assert sides[0].param_groups[0]["lr"] is lr
    torch.testing.assert_close(params_of(sides[0]), params_of(sides[1]))


@pytest.mark.parametrize("differentiable", [False, True])  # by the core, and by torch's operators
def test_not_a_number_stays_one(differentiable: bool) -> None:
    param = torch.zeros(3)
    param.grad = torch.tensor([math.nan, -0.0, -7.0])
    fastlr.Lion([param], lr=0.25, differentiable=differentiable).step()
    assert param.isnan().tolist() == [True, False, False]
    assert param[1:].tolist() == [0.0, 0.25]
