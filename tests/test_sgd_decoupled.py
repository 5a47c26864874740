"""SGD with decoupled decay: timm's SGDW, in the core and by torch's operators, and what checkpoints make of it."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from files import through_a_file
from sgd_cases import (
    LAYOUTS,
    NATIVE,
    assert_same_bits,
    assert_same_state,
    filled,
    gradient_like,
    set_gradients,
    torch_sgd,
)
from test_sgd_checkpoint import copy_parameters
from torch import Tensor

import fastlr
from fastlr import schedules

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
LR, DECAY, MOMENTUM = schedules.Linear(0.3, 0.05, 6), schedules.Exponential(0.4, 0.8), schedules.Linear(0.5, 0.9, 6)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"maximize": True},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "dampening": 0.3, "maximize": True},
    {"momentum": 0.9, "weight_decay": 0.0},
    {"lr": LR},
    {"lr": LR, "weight_decay": DECAY},
    {"lr": LR, "weight_decay": DECAY, "momentum": MOMENTUM, "nesterov": True},
    {"momentum": 0.9, "weight_decay": 7.0},  # 1 - lr * weight_decay is below 0
]
each = pytest.mark.parametrize("options", OPTIONS, ids=str)


def make(params: Any, **options: Any) -> fastlr.SGD:
    return fastlr.SGD(params, **{"lr": 0.2, "weight_decay": 0.1, "decoupled_weight_decay": True, **options})


def at(options: dict[str, Any], t: int) -> dict[str, Any]:
    """The values of update t, with timm's defaults."""
    plain = {"lr": 0.2, "weight_decay": 0.1, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "maximize": False}
    values = {**plain, **options}
    return {name: value(t) if isinstance(value, schedules.Schedule) else value for name, value in values.items()}


def sgdw(param: Tensor, buffer: Tensor | None, v: dict[str, Any]) -> Tensor | None:
    """One update as timm's SGDW does it, an operator at a time. Returns the buffer."""
    assert param.grad is not None
    grad = -param.grad if v["maximize"] else param.grad
    param.mul_(1.0 - v["lr"] * v["weight_decay"])
    if v["momentum"] != 0:
        buffer = grad.clone() if buffer is None else buffer.mul_(v["momentum"]).add_(grad, alpha=1 - v["dampening"])
        grad = grad.add(buffer, alpha=v["momentum"]) if v["nesterov"] else buffer
    param.add_(grad, alpha=-v["lr"])
    return buffer


@pytest.mark.skipif(not NATIVE, reason="needs a CPU with fused multiply-add: torch's operators do not always fuse")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@each
def test_the_bits_are_those_of_timm_s_operators(options: dict[str, Any], dtype: torch.dtype) -> None:
    params, others = ([filled(layout, dtype, i) for i, layout in enumerate(LAYOUTS)] for _ in range(2))
    optimizer = make(params, **options)
    buffers: list[Tensor | None] = [None] * len(params)
    for t in range(7):
        set_gradients(params, t)
        set_gradients(others, t)
        optimizer.step()
        with torch.no_grad():
            for index, param in enumerate(others):
                buffers[index] = buffers[index] if param.grad is None else sgdw(param, buffers[index], at(options, t))
        assert_same_bits(params, others, f"after update {t}")
        own = [optimizer.state.get(param, {}).get("momentum_buffer") for param in params]
        assert [b is None for b in own] == [b is None for b in buffers]
        assert_same_bits([b for b in own if b is not None], [b for b in buffers if b is not None], "buffer")


def gaps(layout: str, dtype: torch.dtype, seed: int) -> Tensor:
    """What only torch's operators update."""
    return torch.nn.Parameter(filled(layout, dtype, seed).detach().repeat_interleave(2, dim=-1)[..., ::2])


@pytest.mark.parametrize("kind", [filled, gaps], ids=["core", "torch's operators"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@each
def test_against_float64(options: dict[str, Any], dtype: torch.dtype, kind: Any) -> None:
    params = [kind(layout, dtype, i) for i, layout in enumerate(("31", "matrix", "1"))]
    optimizer = make(params, **options)
    room = {8: 1e-13, 4: 1e-5, 2: 2.0**-6}[dtype.itemsize]
    expected = [param.detach().double().numpy().copy() for param in params]
    buffers: list[Any] = [None] * len(params)
    for t in range(5):
        v = at(options, t)
        for index, param in enumerate(params):
            param.grad = gradient_like(param, 4 + 10 * index + t % 2)
            grad = param.grad.double().numpy() * (-1.0 if v["maximize"] else 1.0)
            first = buffers[index] is None
            buffers[index] = grad if first else v["momentum"] * buffers[index] + (1.0 - v["dampening"]) * grad
            step = grad + v["momentum"] * buffers[index] if v["nesterov"] else buffers[index]
            step = step if v["momentum"] else grad
            expected[index] = expected[index] * (1.0 - v["lr"] * v["weight_decay"]) - v["lr"] * step
        optimizer.step()
    for param, value in zip(params, expected, strict=True):
        np.testing.assert_allclose(param.detach().double().numpy(), value, rtol=room, atol=room * np.abs(value).max())


@pytest.mark.skipif(not NATIVE, reason="needs a CPU with fused multiply-add: else both are torch's operators")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@each
def test_the_core_and_torch_s_operators_have_the_same_bits(options: dict[str, Any], dtype: torch.dtype) -> None:
    sides = [[kind(layout, dtype, 7) for layout in ("31", "257", "matrix")] for kind in (filled, gaps)]
    optimizers = [make(side, **options, foreach=False) for side in sides]
    for t in range(6):
        for optimizer, side in zip(optimizers, sides, strict=True):
            for index, param in enumerate(side):
                param.grad = gradient_like(param, 100 * index + t)
            optimizer.step()
        assert_same_bits(*sides, f"after update {t}")


def test_a_sparse_gradient_decays_all_of_its_parameter() -> None:
    param = torch.nn.Parameter(torch.ones(5, 2))
    optimizer = make([param], lr=0.5)
    grad = torch.zeros(5, 2)
    grad[3] = 1.0
    param.grad = grad.to_sparse()
    optimizer.step()
    expected = torch.full((5, 2), 0.95) - 0.5 * grad
    torch.testing.assert_close(param.detach(), expected)


def test_tensors_as_rate_and_decay() -> None:
    sides = [
        make([filled("31", torch.float32, 0)], lr=of(0.2), weight_decay=of(0.1), momentum=0.9)
        for of in (float, torch.tensor)
    ]
    for t in range(4):
        for optimizer in sides:
            (param,) = optimizer.param_groups[0]["params"]
            param.grad = gradient_like(param, t)
            optimizer.step()
    room = {"rtol": 1e-6, "atol": 1e-6}
    a, b = (optimizer.param_groups[0]["params"][0].detach() for optimizer in sides)
    torch.testing.assert_close(a, b, **room)


def test_autograd_follows_the_rate_through_the_decay() -> None:
    """The derivative of p * (1 - lr * 0.1) - lr * g by lr is -0.1 * p - g."""
    lr = torch.tensor(0.5, requires_grad=True)
    param = torch.tensor([2.0, -4.0], requires_grad=True).clone()
    grad = torch.tensor([1.0, 3.0])
    leaf = torch.tensor([2.0, -4.0])
    optimizer = make([leaf], lr=lr, weight_decay=0.1, differentiable=True)
    optimizer.param_groups[0]["params"] = [param]
    param.grad = grad
    optimizer.step()
    (found,) = torch.autograd.grad(param.sum(), lr)
    assert found.item() == pytest.approx((-0.1 * leaf - grad).sum().item())


def test_groups_decay_each_in_its_way() -> None:
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    groups: list[dict[str, Any]] = [
        {"params": params[:1]},
        {"params": params[1:2], "decoupled_weight_decay": False},
        {"params": params[2:], "weight_decay": 0.0},
    ]
    optimizer = make(groups, lr=0.5, weight_decay=0.2, momentum=0.9)
    for _ in range(2):
        for param in params:
            param.grad = torch.zeros(3)
        optimizer.step()
    coupled = 0.9 - 0.5 * (0.2 * 0.9 + 0.9 * 0.2)
    values = [param[0].item() for param in params]
    assert values == pytest.approx([0.81, coupled, 1.0])


@each
def test_going_on_from_a_checkpoint(options: dict[str, Any]) -> None:
    whole, first, second = (make([filled("257", torch.float32, 0)], **options) for _ in range(3))
    for optimizer, steps in ((whole, range(6)), (first, range(3))):
        train(optimizer, steps)
    copy_parameters(first, second)
    second.load_state_dict(through_a_file(first.state_dict()))
    train(second, range(3, 6))
    assert_same_state(second, whole)


def train(optimizer: torch.optim.Optimizer, steps: range) -> None:
    for t in steps:
        for param in optimizer.param_groups[0]["params"]:
            param.grad = gradient_like(param, t)
        optimizer.step()


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("older", ["torch's", "from before the option"])
def test_a_checkpoint_that_does_not_say_leaves_it_as_it_is(older: str, decoupled: bool) -> None:
    params = [filled("31", torch.float32, 0) for _ in range(2)]
    options = {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.1}
    source = (torch_sgd if older == "torch's" else fastlr.SGD)(params[:1], **options)
    train(source, range(3))
    state = through_a_file(source.state_dict())
    for group in state["param_groups"]:
        group.pop("decoupled_weight_decay", None)
    target = make(params[1:], decoupled_weight_decay=decoupled)
    copy_parameters(source, target)
    target.load_state_dict(state)
    assert target.param_groups[0]["decoupled_weight_decay"] is decoupled
    same = make([params[0]], **options, decoupled_weight_decay=decoupled)
    same.state[params[0]]["momentum_buffer"] = state["state"][0]["momentum_buffer"].clone()
    for optimizer in (target, same):
        train(optimizer, range(3, 6))
    assert_same_bits(params[1:], params[:1])


def test_a_checkpoint_that_says_it_wins() -> None:
    sides = [make([torch.ones(3)], decoupled_weight_decay=decoupled) for decoupled in (False, True)]
    sides[0].load_state_dict(sides[1].state_dict())
    assert sides[0].param_groups[0]["decoupled_weight_decay"] is True
    copied = copy.deepcopy(sides[0])
    assert copied.param_groups[0]["decoupled_weight_decay"] is True
