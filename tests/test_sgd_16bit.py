"""bfloat16 and float16: arithmetic in float32, each stored value rounded once. The oracle is sgd_reference.py."""

from typing import Any

import pytest
import torch
from sgd_cases import LAYOUTS, NATIVE, OPTIONS, buffers, describe, filled, gradient_like, same_bits, set_gradients
from sgd_reference import Hyper, update_16bit
from torch import Tensor

import fastlr

pytestmark = pytest.mark.skipif(
    not NATIVE, reason="needs a CPU with fused multiply-add: torch's operators round each operation of their own"
)
HALVES = [torch.bfloat16, torch.float16]


class Oracle:
    """Parameters beside an optimizer's, updated by the reference."""

    def __init__(self, params: list[Tensor], hyper: Hyper) -> None:
        self.hyper = hyper
        self.params = [p.detach().clone() for p in params]
        self.buffers: dict[int, Tensor] = {}

    def step(self, grads: list[Tensor | None]) -> None:
        for index, grad in enumerate(grads):
            if grad is not None:
                new = update_16bit(self.hyper, self.params[index], grad, self.buffers.get(index))
                self.params[index] = new[0]
                if new[1] is not None:
                    self.buffers[index] = new[1]

    def check(self, optimizer: torch.optim.Optimizer, where: str) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        for index, (actual, expected) in enumerate(zip(params, self.params, strict=True)):
            assert same_bits(actual, expected), f"parameter {index} {where}: {actual} {expected}"
        stored = buffers(optimizer)
        assert stored.keys() == self.buffers.keys()
        for index, actual in stored.items():
            assert same_bits(actual, self.buffers[index]), f"buffer {index} {where}"


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_combination_on_every_layout(options: dict[str, Any], dtype: torch.dtype) -> None:
    params = [filled(layout, dtype, seed) for seed, layout in enumerate(LAYOUTS)]
    oracle = Oracle(params, Hyper(lr=0.1, **options))
    optimizer = fastlr.SGD(params, lr=0.1, **options)
    for step in range(8):
        set_gradients(params, step)
        oracle.step([p.grad for p in params])
        optimizer.step()
        oracle.check(optimizer, f"after update {step}")


def all_finite_patterns(dtype: torch.dtype) -> Tensor:
    """Every value of a 16-bit type except infinities and NaNs."""
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    return patterns[patterns.isfinite()]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("lr", [1.0, 0.37, 2.0**-9, 1e-7])
def test_every_bit_pattern_is_read_and_rounded_right(dtype: torch.dtype, lr: float) -> None:
    values = all_finite_patterns(dtype)
    param, grad = values.clone(), values.roll(7919)
    hyper = Hyper(lr=lr, momentum=0.9, weight_decay=0.01, nesterov=True)
    oracle = Oracle([param], hyper)
    optimizer = fastlr.SGD([param], lr=lr, momentum=0.9, weight_decay=0.01, nesterov=True)
    for step in range(3):
        param.grad = grad
        oracle.step([grad])
        optimizer.step()
        oracle.check(optimizer, f"after update {step}")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_infinities_and_nans(dtype: torch.dtype) -> None:
    values = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0, -0.0, 1.0], dtype=dtype)
    param, expected = values.repeat_interleave(6), values.repeat_interleave(6)
    param.grad = values.repeat(6)
    with torch.no_grad():
        expected = (expected.float() - 0.5 * values.repeat(6).float()).to(dtype)  # a product by 0.5 is exact
    fastlr.SGD([param], lr=0.5).step()
    assert same_bits(param, expected)


def test_an_update_smaller_than_half_an_ulp_is_lost_but_not_the_buffer_s() -> None:
    param = torch.ones(31, dtype=torch.bfloat16)
    optimizer = fastlr.SGD([param], lr=2.0**-10, momentum=0.5)
    param.grad = torch.ones_like(param)
    optimizer.step()
    assert bool((param == 1).all())
    assert bool((optimizer.state[param]["momentum_buffer"] == 1).all())


def test_the_unrounded_buffer_enters_the_update() -> None:
    param = torch.zeros(31, dtype=torch.bfloat16)
    optimizer = fastlr.SGD([param], lr=1.0, momentum=0.5)
    param.grad = torch.ones_like(param)
    optimizer.step()
    # The buffer becomes 0.5*1 + 2^-10, which a stored bfloat16 cannot hold; the update sees it.
    param.fill_(0.5)
    param.grad = torch.full_like(param, 2.0**-10)
    optimizer.step()
    assert bool((optimizer.state[param]["momentum_buffer"] == 0.5).all())
    assert bool((param == -(2.0**-10)).all())


def test_mixed_types_in_one_group() -> None:
    dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.float16] * 3
    options: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}

    def tensors() -> list[Tensor]:
        sizes = [31, 1, 257, 0, 17, 64]
        return [torch.linspace(-1, 1, sizes[i % 6]).to(dtype) for i, dtype in enumerate(dtypes)]

    together, alone = tensors(), tensors()
    one = fastlr.SGD(together, **options)
    many = [fastlr.SGD([p], **options) for p in alone]
    for step in range(5):
        for index, (a, b) in enumerate(zip(together, alone, strict=True)):
            a.grad, b.grad = (gradient_like(p, 100 * index + step) for p in (a, b))
        one.step()
        for optimizer in many:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        assert same_bits(a, b)
