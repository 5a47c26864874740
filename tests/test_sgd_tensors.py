"""What callers do to parameters, gradients and buffers between updates; every case is run with torch's SGD too."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_cases import (
    LAYOUTS,
    NATIVE,
    assert_same_bits,
    assert_same_state,
    buffers,
    filled,
    gradient_like,
    same_bits,
    torch_sgd,
)
from torch import Tensor

import fastlr

OPTIONS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "dampening": 0.2}
Optimizer = torch.optim.Optimizer
Action = Callable[[Optimizer, Tensor], None]


def replace_buffer(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state[param]["momentum_buffer"] = torch.ones_like(param) / 3


def replace_buffer_in_another_layout(optimizer: Optimizer, param: Tensor) -> None:
    values = torch.arange(param.numel(), dtype=param.dtype).reshape(param.shape)
    optimizer.state[param]["momentum_buffer"] = values.t().contiguous().t()


def replace_buffer_by_a_strided_one(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state[param]["momentum_buffer"] = torch.ones(*param.shape, 2, dtype=param.dtype)[..., 1]


def replace_buffer_of_another_type(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state[param]["momentum_buffer"] = torch.ones(param.shape, dtype=torch.float64)


def change_buffer_in_place(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state[param]["momentum_buffer"].mul_(0.5)


def drop_buffer(optimizer: Optimizer, param: Tensor) -> None:
    del optimizer.state[param]["momentum_buffer"]


def drop_state(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state.pop(param)


def clear_state(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state.clear()


def replace_state(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state[param] = {"momentum_buffer": torch.full_like(param, 0.25), "note": "kept"}


def buffer_is_none(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.state[param]["momentum_buffer"] = None


def replace_data(optimizer: Optimizer, param: Tensor) -> None:
    param.data = torch.ones_like(param.data)


def replace_data_in_another_layout(optimizer: Optimizer, param: Tensor) -> None:
    param.data = param.data.t().contiguous().t()


def replace_data_by_a_strided_one(optimizer: Optimizer, param: Tensor) -> None:
    param.data = torch.stack([param.data, param.data], dim=-1)[..., 0]


def to_float64(optimizer: Optimizer, param: Tensor) -> None:
    param.data = param.data.double()
    param.grad = None


def write_group_lr(optimizer: Optimizer, param: Tensor) -> None:
    optimizer.param_groups[0]["lr"] = 1


ACTIONS: list[Action] = [
    replace_buffer,
    replace_buffer_in_another_layout,
    replace_buffer_by_a_strided_one,
    replace_buffer_of_another_type,
    change_buffer_in_place,
    drop_buffer,
    drop_state,
    clear_state,
    replace_state,
    buffer_is_none,
    replace_data,
    replace_data_in_another_layout,
    replace_data_by_a_strided_one,
    to_float64,
    write_group_lr,
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("layout", ["matrix", "transposed"])
def test_between_updates(action: Action, layout: str) -> None:
    """Before update 3 the caller does something to the second of three parameters."""
    sides = [make([filled(layout, torch.float32, i) for i in range(3)], **OPTIONS) for make in (fastlr.SGD, torch_sgd)]
    for step in range(6):
        for optimizer in sides:
            params = optimizer.param_groups[0]["params"]
            if step == 3:
                with torch.no_grad():
                    action(optimizer, params[1])
            for index, param in enumerate(params):
                param.grad = gradient_like(param, 100 * index + step)
            optimizer.step()
        assert_same_state(sides[0], sides[1], where=f"after update {step}")


def test_state_given_by_the_caller_keeps_its_other_entries() -> None:
    param = filled("matrix", torch.float32, 0)
    optimizer = fastlr.SGD([param], **OPTIONS)
    replace_state(optimizer, param)
    param.grad = gradient_like(param, 0)
    optimizer.step()
    assert optimizer.state[param]["note"] == "kept"


def test_a_buffer_held_by_the_caller_is_updated_in_place() -> None:
    param = filled("31", torch.float32, 0)
    optimizer = fastlr.SGD([param], **OPTIONS)
    param.grad = gradient_like(param, 0)
    optimizer.step()
    held = optimizer.state[param]["momentum_buffer"]
    before = held.clone()
    optimizer.step()
    assert optimizer.state[param]["momentum_buffer"] is held
    assert not torch.equal(held, before)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if LAYOUTS[name]().dim() >= 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradient_of_another_layout(layout: str, dtype: torch.dtype) -> None:
    """Contiguous, expanded and strided gradients; compared with the same gradient in the parameter's own layout."""
    if not NATIVE and dtype is torch.bfloat16:
        pytest.skip("needs a CPU with fused multiply-add: the bits of torch's 16-bit operators depend on the layout")
    sides = [fastlr.SGD([filled(layout, dtype, 1)], **OPTIONS) for _ in range(2)]
    (ours,), (expected,) = (optimizer.param_groups[0]["params"] for optimizer in sides)
    for step in range(6):
        grad = gradient_like(ours, step)
        strided = torch.stack([grad, grad], dim=-1)[..., 1]
        expanded = torch.full((), 0.7, dtype=dtype).expand(grad.shape)
        ours.grad = [grad.contiguous(), strided, expanded][step % 3]
        expected.grad = torch.empty_like(expected).copy_(ours.grad)
        for optimizer in sides:
            optimizer.step()
        assert same_bits(ours, expected)
        assert_same_bits(buffers(sides[0]).values(), buffers(sides[1]).values())


def test_layouts_that_change_at_every_update() -> None:
    """The buffer keeps its first layout while parameter and gradient alternate."""
    sides = [make([filled("channels_last", torch.float32, 2)], **OPTIONS) for make in (fastlr.SGD, torch_sgd)]
    for step in range(6):
        for optimizer in sides:
            (param,) = optimizer.param_groups[0]["params"]
            formats = [torch.contiguous_format, torch.channels_last]
            grad = gradient_like(param, step)
            param.data = param.data.contiguous(memory_format=formats[step % 2])
            param.grad = grad.contiguous(memory_format=formats[step // 2 % 2])
            optimizer.step()
        assert_same_state(sides[0], sides[1], where=f"after update {step}")


def test_gradient_that_shares_the_parameter_s_memory() -> None:
    sides = [make([filled("257", torch.float32, 4)], lr=0.1, momentum=0.9) for make in (fastlr.SGD, torch_sgd)]
    for optimizer in sides:
        (param,) = optimizer.param_groups[0]["params"]
        param.grad = param.detach()
        for _ in range(3):
            optimizer.step()
    assert_same_state(*sides)


def test_one_gradient_for_two_parameters() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        params = [torch.ones(31), torch.zeros(31)]
        sides.append(make(params, **OPTIONS))
        params[0].grad = params[1].grad = torch.linspace(-1, 1, 31)
        for _ in range(3):
            sides[-1].step()
    assert_same_state(*sides)


@pytest.mark.parametrize("size", [5, 300_007])
@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_listed_twice_is_updated_twice(size: int, momentum: float) -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.linspace(-1, 1, size)
        sides.append(make([param, param], lr=0.1, momentum=momentum))
        for step in range(3):
            param.grad = torch.full((size,), 0.5 + step)
            sides[-1].step()
    assert_same_state(*sides)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_module_moved_to_another_type(dtype: torch.dtype) -> None:
    """module.to(dtype) between updates, without momentum: a new optimizer over the moved module has the same bits."""

    def module() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Linear(7, 5)

    def update(model: torch.nn.Module, optimizer: Optimizer, step: int) -> None:
        for index, param in enumerate(model.parameters()):
            param.grad = gradient_like(param, 10 * index + step)
        optimizer.step()

    moved, fresh = module(), module()
    optimizer = fastlr.SGD(moved.parameters(), lr=0.1, weight_decay=0.01)
    update(moved, optimizer, 0)
    update(fresh, fastlr.SGD(fresh.parameters(), lr=0.1, weight_decay=0.01), 0)
    moved.to(dtype)
    fresh = fresh.to(dtype)
    second = fastlr.SGD(fresh.parameters(), lr=0.1, weight_decay=0.01)
    for step in (1, 2):
        update(moved, optimizer, step)
        update(fresh, second, step)
    assert optimizer.step_count == 3
    assert_same_state(optimizer, second)


@pytest.mark.parametrize("make", [lambda: torch.ones(5), lambda: torch.ones(5, requires_grad=True)])
def test_plain_tensors(make: Callable[[], Tensor]) -> None:
    param = make()
    param.grad = torch.ones(5)
    fastlr.SGD([param], lr=0.25).step()
    assert same_bits(param, torch.full((5,), 0.75))


def test_frozen_parameters_with_a_gradient_are_updated_as_torch_does() -> None:
    model = torch.nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    for param in model.parameters():
        param.requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    fastlr.SGD(model.parameters(), lr=0.5).step()
    for param, old in zip(model.parameters(), before, strict=True):
        assert param.grad is not None
        assert same_bits(param, old - 0.5 * param.grad)


def test_set_to_none_and_zeroed_gradients() -> None:
    sides = [make([filled("31", torch.float32, 0)], **OPTIONS) for make in (fastlr.SGD, torch_sgd)]
    for set_to_none in (False, True, False):
        for optimizer in sides:
            (param,) = optimizer.param_groups[0]["params"]
            param.grad = gradient_like(param, 0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
            assert (param.grad is None) == set_to_none
            optimizer.step()
        assert_same_state(*sides)
