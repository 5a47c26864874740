"""Gradients that lie in memory in another way than their parameters, and layouts that the recipe's bits depend on."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import needs_fma, params_of, states
from recipe_cases import CLASSES, ODD, PAIRWISE, RATES, options_for, tensors
from recipe_reference import CHUNK, in_lanes
from sgd_cases import assert_same_bits, gradient_like
from torch import Tensor

import fastlr

Layout = Callable[[Tensor], Tensor]
SHAPE = (6, 8, 5, 7)


def spread(values: Tensor) -> Tensor:
    """Every second element of each row."""
    return torch.stack([values, torch.full_like(values, math.nan)], dim=-1)[..., 0]


def inside(values: Tensor) -> Tensor:
    """A part of a larger tensor of NaNs, which nothing may read or write."""
    around = torch.full([size + 2 for size in values.shape], math.nan, dtype=values.dtype)
    part = around[tuple(slice(1, size + 1) for size in values.shape)]
    return part.copy_(values)


def shifted(values: Tensor) -> Tensor:
    memory = torch.empty(values.numel() + 3, dtype=values.dtype)[3:]
    return memory.view(values.shape).copy_(values)


# Each holds the values that it is given.
LAYOUTS: dict[str, Layout] = {
    "contiguous": torch.clone,
    "offset 3": shifted,
    "channels last": lambda values: values.clone(memory_format=torch.channels_last),
    "transposed": lambda values: values.transpose(2, 3).contiguous().transpose(2, 3),
    "batch and channels swapped": lambda values: values.transpose(0, 1).contiguous().transpose(0, 1),
    "reversed axes": lambda values: values.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    "spread": spread,
    "inside of another": inside,
}


def values(dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def trained(rule: str, dtype: torch.dtype, of_param: Layout, of_grad: Layout, **options: Any) -> Any:
    param = torch.nn.Parameter(of_param(values(dtype, 0)))
    optimizer = CLASSES[rule]([param], **{**RATES[rule][0], **options})
    for step in range(3):
        param.grad = of_grad(values(dtype, 1 + step))
        optimizer.step()
        if options.get("zero_grad_in_step"):
            assert not param.grad.any()
        else:
            assert_same_bits([param.grad], [values(dtype, 1 + step)], "gradient")
    return optimizer


def kept(optimizer: Any) -> list[Tensor]:
    return [*params_of(optimizer), *(value for state in states(optimizer) for value in state.values())]


# Of a norm's order in memory nothing but its last bits depends on; here it limits nothing.
ROUNDED = {"stochastic_rounding": True, "ema_decay": 0.9, "max_grad_norm": 1e6, "zero_grad_in_step": True}
RECIPES: list[tuple[torch.dtype, dict[str, Any]]] = [
    (torch.bfloat16, ROUNDED),
    (torch.bfloat16, {"master_weights": True, "max_grad_value": 0.5, "ema_decay": 0.3}),
    (torch.float16, {"master_weights": True, "state_dtype": torch.bfloat16, "zero_grad_in_step": True}),
    (torch.float32, {"max_grad_value": 0.5, "ema_decay": 0.9, "state_dtype": torch.bfloat16}),
]


@needs_fma
@pytest.mark.parametrize(("dtype", "options"), RECIPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rule", ["SGD", "Lion"])
def test_any_layout_has_the_bits_of_the_contiguous_one(
    rule: str, layout: str, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    """The parameter lies so, or its gradient, or both. Rules without roots: torch's operators round those otherwise."""
    plain = LAYOUTS["contiguous"]
    expected = kept(trained(rule, dtype, plain, plain, **options))
    for of_param, of_grad in ((layout, "contiguous"), ("contiguous", layout), (layout, layout)):
        results = kept(trained(rule, dtype, LAYOUTS[of_param], LAYOUTS[of_grad], **options))
        assert_same_bits(results, expected, f"parameter {of_param}, gradient {of_grad}")


@pytest.mark.parametrize("of_param", LAYOUTS)
def test_what_surrounds_a_parameter_and_its_gradient_is_left_alone(of_param: str) -> None:
    """NaNs beside them in memory neither get into the norm nor are written."""
    grad = inside(values(torch.float32, 1))
    param = LAYOUTS[of_param](values(torch.float32, 0))
    optimizer = fastlr.SGD([param], lr=0.1, max_grad_norm=1.0, ema_decay=0.5, zero_grad_in_step=True)
    param.grad = grad
    optimizer.step()
    assert optimizer.grad_norm == pytest.approx(values(torch.float32, 1).double().norm().item(), rel=1e-14)
    assert bool(param.isfinite().all())
    around = grad._base
    assert around is not None
    assert int(around.isnan().sum()) == around.numel() - grad.numel()


@pytest.mark.parametrize("zero_grad_in_step", [False, True])
@pytest.mark.parametrize("shape", [(4, 5), (257,)])
def test_expanded_gradients(shape: tuple[int, ...], zero_grad_in_step: bool) -> None:
    """As backward() of sum() makes them: one number for all elements, which count one by one."""
    param = torch.zeros(shape)
    optimizer = fastlr.SGD([param], lr=1.0, max_grad_norm=1.0, zero_grad_in_step=zero_grad_in_step)
    param.grad = torch.full((), 3.0).expand(shape)
    optimizer.step()
    size = param.numel()
    assert optimizer.grad_norm == pytest.approx(3.0 * math.sqrt(size), rel=1e-15)
    assert param.flatten().tolist() == pytest.approx([-1.0 / math.sqrt(size)] * size, rel=1e-6)
    assert bool((param.grad == (0.0 if zero_grad_in_step else 3.0)).all())


# The norm.


def norm_in_order(in_memory: list[Tensor]) -> float:
    """By the order of csrc/norm/order.h; the elements as they lie in memory."""
    sums = [
        in_lanes(flat[begin : begin + CHUNK].double().numpy(), square=True, exact=flat.dtype is not torch.float64)
        for flat in in_memory
        for begin in range(0, flat.numel(), CHUNK)
    ]
    return math.sqrt(in_lanes(torch.tensor(sums, dtype=torch.float64).numpy()))


@needs_fma
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [*LAYOUTS][:5])
def test_the_norm_is_that_of_the_elements_in_the_order_of_the_parameter_s_memory(
    layout: str, dtype: torch.dtype
) -> None:
    """Also of a gradient that lies otherwise, and is copied into that order first."""
    parts = [values(dtype, seed) for seed in (1, 2)]
    lying = [LAYOUTS[layout](part) for part in parts]
    expected = norm_in_order([part.as_strided((part.numel(),), (1,), part.storage_offset()) for part in lying])
    for of_grad in (layout, "contiguous", "transposed"):
        params = [torch.zeros_like(part) if layout != "offset 3" else shifted(0.0 * part) for part in lying]
        optimizer = fastlr.SGD(params, lr=0.0, max_grad_norm=1.0)
        for param, part in zip(params, parts, strict=True):
            param.grad = LAYOUTS[of_grad](part)
        optimizer.step()
        assert optimizer.grad_norm == expected, of_grad


@needs_fma
@pytest.mark.parametrize("size", [0, 1, 2, 31, 1023, 1024, 1025, 2048, 16383, 16384, 16385, 100_003, 1_048_583])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_norm_s_bits_at_odd_sizes_and_offsets(size: int, dtype: torch.dtype) -> None:
    memory = torch.randn(size + 1, generator=torch.Generator().manual_seed(size)).to(dtype)
    for grad in (memory[:size], memory[1:]):
        param = torch.zeros(size, dtype=dtype)
        optimizer = fastlr.SGD([param], lr=1.0, max_grad_norm=1.0)
        param.grad = grad
        optimizer.step()
        assert optimizer.grad_norm == norm_in_order([grad])


@needs_fma
def test_the_norm_s_bits_over_more_tensors_than_lanes() -> None:
    """Their sums go to 1024 lanes in turn; empty tensors and absent gradients have none."""
    sizes = [(7 * i) % 5 for i in range(2500)]
    params = [torch.zeros(size) for size in sizes]
    grads = [torch.randn(size, generator=torch.Generator().manual_seed(i)) for i, size in enumerate(sizes)]
    optimizer = fastlr.SGD(params, lr=0.0, max_grad_norm=1.0)
    for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
        param.grad = None if index % 9 == 0 else grad
    optimizer.step()
    assert optimizer.grad_norm == norm_in_order([grad for index, grad in enumerate(grads) if index % 9])


@needs_fma
@pytest.mark.parametrize("rule", CLASSES)
def test_elsewhere_in_memory_nothing_changes(rule: str) -> None:
    """The bits of a whole recipe do not depend on the alignment of parameters, gradients and state."""
    results = []
    for offset in (0, 1, 5):
        params = tensors([torch.float32, torch.bfloat16, torch.float64], ODD)
        optimizer = CLASSES[rule](params, **options_for(rule, {**PAIRWISE[0], "max_grad_norm": 0.7}, 0, []))
        for step in range(2):
            for index, param in enumerate(params):
                plain = gradient_like(param, 10 * index + step)
                memory = torch.empty(plain.numel() + 8, dtype=plain.dtype)
                param.grad = memory.as_strided(plain.shape, plain.stride(), offset).copy_(plain)
            optimizer.step()
        results.append(kept(optimizer))
    for result in results[1:]:
        assert_same_bits(result, results[0])
