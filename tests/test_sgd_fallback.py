"""What the native core does not take goes through torch's operators: the same result as torch.optim.SGD."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_cases import OPTIONS, assert_same_state, describe, filled, gradient_like, same_bits, torch_sgd
from torch import Tensor

import fastlr

Pair = tuple[Tensor, Tensor]
MOMENTUM: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def strided(step: int) -> Pair:
    return torch.arange(62.0)[::2], gradient_like(torch.empty(31), step)


def gap_between_rows(step: int) -> Pair:
    return torch.arange(60.0).reshape(6, 10)[:, :7], gradient_like(torch.empty(6, 7), step)


def complex64(step: int) -> Pair:
    values = gradient_like(torch.empty(2, 13), step)
    return torch.complex(torch.arange(13.0), -torch.ones(13)), torch.complex(values[0], values[1])


def complex128(step: int) -> Pair:
    param, grad = complex64(step)
    return param.to(torch.complex128), grad.to(torch.complex128)


UNUSUAL: list[Callable[[int], Pair]] = [strided, gap_between_rows, complex64, complex128]


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("make", UNUSUAL, ids=lambda make: make.__name__)
def test_unusual_parameters_among_others(make: Callable[[int], Pair], options: dict[str, Any]) -> None:
    sides = []
    for optimizer_class in (fastlr.SGD, torch_sgd):
        params = [filled("31", torch.float32, 0), make(0)[0], filled("257", torch.float64, 1)]
        sides.append(optimizer_class(params, lr=0.1, **options))
        for step in range(5):
            params[0].grad, params[1].grad, params[2].grad = (
                gradient_like(params[0], step),
                make(step)[1],
                gradient_like(params[2], step + 1),
            )
            sides[-1].step()
    assert_same_state(*sides)


def embedding_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, rows: list[int]) -> None:
    optimizer.zero_grad()
    model(torch.tensor(rows)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("maximize", [False, True])
def test_sparse_gradients(momentum: float, maximize: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(11, 5, sparse=True), torch.nn.Linear(5, 3))
    twin = copy.deepcopy(model)
    ours = fastlr.SGD(model.parameters(), lr=0.1, momentum=momentum, maximize=maximize)
    theirs = torch_sgd(twin.parameters(), lr=0.1, momentum=momentum, maximize=maximize)
    for step in range(4):
        for net, optimizer in ((model, ours), (twin, theirs)):
            embedding_step(net, optimizer, [1, 3, 3, 7 + step % 2])
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert same_bits(a, b)
    assert ours.step_count == 4


def test_sparse_gradients_with_weight_decay_are_refused_as_in_torch() -> None:
    errors = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.ones(4, 2)
        param.grad = torch.ones(4, 2).to_sparse()
        with pytest.raises(RuntimeError) as caught:
            make([param], lr=0.1, weight_decay=0.1).step()
        errors.append(type(caught.value))
    assert errors[0] is errors[1]


def test_dense_then_sparse_gradients() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.ones(4, 2)
        sides.append(make([param], lr=0.1, momentum=0.9))
        for step in range(4):
            grad = torch.diag(torch.tensor([1.0, 0.0, 2.0, 0.0]))[:, :2] * (step + 1)
            param.grad = grad.to_sparse() if step % 2 else grad
            sides[-1].step()
    assert_same_state(*sides)


def hypergradient(make: Any, updates: int, **options: Any) -> Pair:
    """d loss / d lr through differentiable updates."""
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    start = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    param = start.clone()
    optimizer = make([param], lr=lr, differentiable=True, **options)
    for step in range(updates):
        param.grad = torch.tensor([0.5, 1.0 + step], dtype=torch.float64)
        optimizer.step()
    param.square().sum().backward()
    assert lr.grad is not None
    return param.detach(), lr.grad


@pytest.mark.parametrize(
    ("updates", "options"), [(2, {}), (2, {"weight_decay": 0.1}), (1, {"momentum": 0.9, "nesterov": True})]
)
def test_differentiable(updates: int, options: dict[str, Any]) -> None:
    ours, theirs = hypergradient(fastlr.SGD, updates, **options), hypergradient(torch_sgd, updates, **options)
    assert same_bits(ours[0], theirs[0])
    assert same_bits(ours[1], theirs[1])
    assert bool(ours[1] != 0)


def test_another_device() -> None:
    param = torch.empty(31, device="meta")
    optimizer = fastlr.SGD([param], **MOMENTUM)
    param.grad = torch.empty(31, device="meta")
    optimizer.step()
    assert optimizer.state[param]["momentum_buffer"].device.type == "meta"
    assert optimizer.step_count == 1


def test_tensor_that_overlaps_itself_is_refused_as_in_torch() -> None:
    messages = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.ones(1).expand(5)
        param.grad = torch.ones(5)
        with pytest.raises(RuntimeError) as caught:
            make([param], lr=0.1).step()
        messages.append(str(caught.value))
    assert "single memory location" in messages[0]
    assert messages[0] == messages[1]


def test_schedule_drives_the_fallback_too() -> None:
    schedule = fastlr.warmup_cosine(0.1, 10, warmup=3)
    whole = torch.arange(62.0)
    ours, theirs = whole[::2], strided(0)[0]
    optimizer, reference = fastlr.SGD([ours], lr=schedule, momentum=0.9), torch_sgd([theirs], lr=0.1, momentum=0.9)
    for step in range(8):
        ours.grad = theirs.grad = strided(step)[1]
        reference.param_groups[0]["lr"] = schedule(step)
        optimizer.step()
        reference.step()
        assert same_bits(ours, theirs)
        assert optimizer.param_groups[0]["lr"] == schedule(step + 1)
    assert bool((whole[1::2] == torch.arange(62.0)[1::2]).all())


FUSED_REFUSES: dict[str, Callable[[], Tensor]] = {
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "meta": lambda: torch.empty(3, device="meta"),
}


@pytest.mark.parametrize("name", FUSED_REFUSES)
def test_fused_refuses_what_is_not_native(name: str) -> None:
    param = FUSED_REFUSES[name]()
    param.grad = torch.ones_like(param)
    native = torch.ones(5)
    native.grad = torch.ones(5)
    optimizer = fastlr.SGD([native, param], lr=0.1, fused=True)
    with pytest.raises(RuntimeError, match="fused"):
        optimizer.step()
    assert bool((native == 1).all())
    assert optimizer.step_count == 0


@pytest.mark.parametrize("options", [{"fused": True, "differentiable": True}, {"fused": True, "foreach": True}])
def test_fused_excludes_other_implementations_as_in_torch(options: dict[str, Any]) -> None:
    for make in (fastlr.SGD, torch.optim.SGD):
        with pytest.raises(RuntimeError, match="`fused`"):
            make([torch.ones(3)], lr=0.1, **options)


@pytest.mark.parametrize("flags", [{"foreach": True}, {"foreach": False}, {"fused": True}, {"fused": False}, {}])
def test_implementation_flags_do_not_change_the_bits(flags: dict[str, Any]) -> None:
    ours = fastlr.SGD([filled("257", torch.float32, 0)], **MOMENTUM, **flags)
    theirs = torch_sgd([filled("257", torch.float32, 0)], **MOMENTUM)
    for step in range(5):
        for optimizer in (ours, theirs):
            (param,) = optimizer.param_groups[0]["params"]
            param.grad = gradient_like(param, step)
            optimizer.step()
    assert_same_state(ours, theirs)
    assert ours.param_groups[0].get("fused") == flags.get("fused")
