"""torch's schedulers, tensor rates and the gradient scaler on top of float rates: torch's trajectory, bit for bit."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_state, assert_unchanged, filled, gradient_like, same_bits, snapshot, torch_sgd
from torch.optim import lr_scheduler as torch_schedulers

import fastlr

Optimizer = torch.optim.Optimizer
SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "LambdaLR": lambda o: torch_schedulers.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: torch_schedulers.MultiplicativeLR(o, lambda t: 0.95),
    "MultiStepLR": lambda o: torch_schedulers.MultiStepLR(o, [3, 7], gamma=0.1),
    "CosineAnnealingLR": lambda o: torch_schedulers.CosineAnnealingLR(o, T_max=10),
    "CosineAnnealingWarmRestarts": lambda o: torch_schedulers.CosineAnnealingWarmRestarts(o, T_0=4),
    "CyclicLR": lambda o: torch_schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=True),
    "OneCycleLR": lambda o: torch_schedulers.OneCycleLR(o, 0.2, total_steps=20),
    "OneCycleLR, one rate a group": lambda o: torch_schedulers.OneCycleLR(o, [0.2, 0.4], total_steps=20),
    "SequentialLR": lambda o: torch_schedulers.SequentialLR(
        o, [torch_schedulers.LinearLR(o, 0.1, total_iters=4), torch_schedulers.ExponentialLR(o, 0.9)], [4]
    ),
    "ChainedScheduler": lambda o: torch_schedulers.ChainedScheduler(
        [torch_schedulers.ConstantLR(o, 0.1, 4), torch_schedulers.ExponentialLR(o, 0.9)]
    ),
}


def build(make: Any, **options: Any) -> Any:
    groups = [
        {"params": [filled("31", torch.float32, 0)]},
        {"params": [filled("257", torch.float64, 1)], "weight_decay": 0.1},
    ]
    return make(groups, **{"lr": 0.05, "momentum": 0.9, **options})


def run(optimizer: Optimizer, steps: range, after: Callable[[], None]) -> list[tuple[float, float]]:
    """Updates with `after` behind each; the (rate, momentum) of the last group at each."""
    used = []
    for step in steps:
        for index, group in enumerate(optimizer.param_groups):
            for param in group["params"]:
                param.grad = gradient_like(param, 100 * index + step)
        used.append((float(group["lr"]), group["momentum"]))
        optimizer.step()
        after()
    return used


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler(name: str) -> None:
    sides, used = [], []
    for make in (fastlr.SGD, torch_sgd):
        optimizer = build(make)
        scheduler = SCHEDULERS[name](optimizer)
        used.append(run(optimizer, range(18), scheduler.step))
        sides.append(optimizer)
    assert used[0] == used[1]
    assert len(set(used[0])) > 2
    assert_same_state(*sides)
    assert [group["held_steps"] for group in sides[0].param_groups] == [0, 0]


def test_reduce_on_plateau() -> None:
    sides, used = [], []
    for make in (fastlr.SGD, torch_sgd):
        optimizer = build(make)
        scheduler = torch_schedulers.ReduceLROnPlateau(optimizer, patience=2, factor=0.5)
        metrics = iter([5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0])
        used.append(run(optimizer, range(10), lambda s=scheduler, m=metrics: s.step(next(m))))
        sides.append(optimizer)
    assert used[0] == used[1]
    assert len(set(used[0])) > 1
    assert_same_state(*sides)


def test_scheduler_and_optimizer_resumed_together() -> None:
    def pair() -> tuple[Any, Any]:
        optimizer = build(fastlr.SGD)
        return optimizer, torch_schedulers.CosineAnnealingLR(optimizer, T_max=12)

    whole, scheduler = pair()
    run(whole, range(12), scheduler.step)
    first, scheduler = pair()
    run(first, range(5), scheduler.step)
    second, resumed = pair()
    for a, b in zip(second.param_groups, first.param_groups, strict=True):
        a["params"][0].data.copy_(b["params"][0].data)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    run(second, range(5, 12), resumed.step)
    assert_same_state(second, whole)


def test_step_before_scheduler_is_recognised() -> None:
    """torch warns when a scheduler steps before the optimizer; it must see fastlr's step."""
    optimizer = build(fastlr.SGD)
    scheduler = torch_schedulers.ExponentialLR(optimizer, 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(optimizer, range(2), scheduler.step)
    late = build(fastlr.SGD)
    scheduler = torch_schedulers.ExponentialLR(late, 0.9)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before `optimizer.step\(\)"):
        scheduler.step()


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_tensor_rate_changed_in_place(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        lr = torch.full(shape, 0.1, dtype=dtype)
        optimizer = build(make, lr=lr)
        run(optimizer, range(8), lambda lr=lr: lr.mul_(0.7))
        assert optimizer.param_groups[0]["lr"] is lr
        assert optimizer.param_groups[1]["lr"] is lr
        sides.append(optimizer)
    assert_same_state(*sides)


def test_tensor_weight_decay() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        decay = torch.tensor(0.1)
        params = [filled("31", torch.float32, 0)]
        optimizer = make(params, lr=0.1, weight_decay=decay)
        run(optimizer, range(4), lambda decay=decay: decay.mul_(0.5))
        sides.append(optimizer)
    assert_same_state(*sides)


def test_scheduler_on_a_tensor_rate() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        optimizer = make([filled("31", torch.float32, 0)], lr=torch.tensor(0.1))
        scheduler = torch_schedulers.ExponentialLR(optimizer, 0.9)
        run(optimizer, range(6), scheduler.step)
        assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor)
        sides.append(optimizer)
    assert_same_state(*sides)


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("rate", [0.1, "schedule"])
def test_gradient_scaler_skips_overflows(fused: bool | None, rate: Any) -> None:
    """Steps 0 and 3 overflow, and change no byte and no count; the rest is as if they had not been."""
    lr = fastlr.warmup_cosine(0.1, 20, warmup=3) if rate == "schedule" else rate
    scaled = fastlr.SGD([filled("31", torch.float32, 0)], lr=lr, momentum=0.9, dampening=0.1, fused=fused)
    plain = fastlr.SGD([filled("31", torch.float32, 0)], lr=lr, momentum=0.9, dampening=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    (a,), (b,) = (optimizer.param_groups[0]["params"] for optimizer in (scaled, plain))
    for step in range(8):
        grad = gradient_like(a, step)
        before = snapshot(scaled)
        scaler.scale(torch.zeros(()))
        a.grad = grad * scaler.get_scale()
        if step in (0, 3):
            a.grad[17] = float("inf")
        scaler.step(scaled)
        scaler.update()
        if step in (0, 3):
            assert_unchanged(scaled, before)
            continue
        b.grad = grad
        plain.step()
        assert_same_state(scaled, plain, where=f"after update {step}")
    assert scaled.step_count == plain.step_count == 6


def test_gradient_scaler_with_unscaled_and_clipped_gradients() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        torch.manual_seed(3)
        model = torch.nn.Linear(7, 3)
        optimizer = make(model.parameters(), lr=0.1, momentum=0.9)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
        for step in range(4):
            optimizer.zero_grad()
            scaler.scale(model(torch.full((2, 7), 1.0 + step)).square().sum()).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        sides.append(model)
    for a, b in zip(sides[0].parameters(), sides[1].parameters(), strict=True):
        assert same_bits(a, b)
