"""Defects that users report of the optimizers and schedulers in torch, each as a regression test."""

import copy
from typing import Any

import torch
from sgd_cases import assert_same_state, filled, gradient_like, same_bits, torch_sgd
from torch import Tensor
from torch.optim import lr_scheduler as torch_schedulers

import fastlr
from fastlr import schedules


def test_a_first_gradient_that_arrives_late_under_fused() -> None:
    """torch.optim.SGD(fused=True) raises TypeError here."""
    sides = []
    for make, flags in ((fastlr.SGD, {"fused": True}), (torch_sgd, {})):
        params = [filled("31", torch.float32, i) for i in range(2)]
        sides.append(make(params, lr=0.1, momentum=0.9, dampening=0.2, **flags))
        for step in range(5):
            for index, param in enumerate(params):
                param.grad = gradient_like(param, 10 * index + step) if step >= 2 * index else None
            sides[-1].step()
    assert_same_state(*sides)


def test_no_uninitialised_momentum_when_the_scaler_skips_the_first_step() -> None:
    """torch's fused SGD allocates the buffer before it looks at the overflow, and keeps what was in memory."""
    param = torch.ones(31)
    optimizer = fastlr.SGD([param], lr=0.1, momentum=0.9, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.zeros(()))
    for value in (float("inf"), 3.0):
        param.grad = torch.full((31,), value)
        scaler.step(optimizer)
        scaler.update()
    assert same_bits(optimizer.state[param]["momentum_buffer"], torch.full((31,), 3.0))
    assert optimizer.step_count == 1


def test_warmup_and_cosine_resume_exactly() -> None:
    """SequentialLR built with last_epoch=4 goes on at another rate; the rates here are those of the whole run."""

    def rates(optimizer: fastlr.SGD, count: int) -> list[float]:
        (param,) = optimizer.param_groups[0]["params"]
        used = []
        for _ in range(count):
            param.grad = torch.ones_like(param)
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
        return used

    schedule = schedules.Linear(0.01, 0.1, 5) >> schedules.Cosine(0.1, 0.001, 15)
    whole = rates(fastlr.SGD([torch.zeros(1)], lr=schedule), 18)
    for at in range(18):
        first = fastlr.SGD([torch.zeros(1)], lr=schedule)
        head = rates(first, at)
        second = fastlr.SGD([torch.zeros(1)], lr=schedule)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        assert head + rates(second, 18 - at) == whole


def test_a_checkpoint_s_length_does_not_slip_into_a_longer_run_unseen() -> None:
    """CosineAnnealingLR built with T_max=1000 has 100 after loading, silently. Here the new one can be kept."""
    state = fastlr.SGD([torch.zeros(1)], lr=schedules.Cosine(0.1, 0.0, 100)).state_dict()
    longer = schedules.Cosine(0.1, 0.0, 1000)
    optimizer = fastlr.SGD([torch.zeros(1)], lr=longer)
    optimizer.load_state_dict(state, keep_schedule=True)
    assert optimizer.param_groups[0]["lr_schedule"] == longer


def test_groups_do_not_share_what_one_of_them_writes() -> None:
    """A tensor rate given to the constructor stands in every group; replacing one group's leaves the others alone."""
    lr = torch.tensor(0.1)
    params = [torch.zeros(1), torch.zeros(1)]
    optimizer = fastlr.SGD([{"params": [p]} for p in params], lr=lr)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.5)
    for param in params:
        param.grad = -torch.ones(1)
    optimizer.step()
    assert [float(p) for p in params] == [0.5, float(torch.tensor(0.1))]
    assert float(lr) == float(torch.tensor(0.1)), "the caller's tensor is never written"


def test_a_scheduler_does_not_reach_the_caller_s_tensor_through_another_optimizer() -> None:
    def train(optimizer: torch.optim.Optimizer, param: Tensor) -> None:
        scheduler = torch_schedulers.ExponentialLR(optimizer, 0.5)
        for _ in range(3):
            param.grad = torch.ones_like(param)
            optimizer.step()
            scheduler.step()

    lr = torch.tensor(0.5)
    first, second = torch.zeros(1), torch.zeros(1)
    train(fastlr.SGD([first], lr=lr.clone()), first)
    untouched = fastlr.SGD([second], lr=lr)
    assert float(untouched.param_groups[0]["lr"]) == 0.5


def test_a_skipped_step_does_not_advance_the_schedule() -> None:
    """With torch's scheduler, called once an iteration, an overflow advances the rate."""
    schedule = fastlr.warmup_cosine(0.1, 20, warmup=5)
    param = torch.zeros(3)
    optimizer = fastlr.SGD([param], lr=schedule)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(torch.zeros(()))
    used: list[float] = []
    for value in (1.0, float("inf"), 1.0, float("nan"), 1.0):
        before, rate = param.clone(), optimizer.param_groups[0]["lr"]
        param.grad = torch.full((3,), value)
        scaler.step(optimizer)
        scaler.update()
        if not torch.equal(param, before):
            used.append(rate)
    assert used == [schedule(0), schedule(1), schedule(2)]
    assert optimizer.param_groups[0]["lr"] == schedule(3)


def test_every_element_of_16_bit_tensors_is_updated() -> None:
    """torch's fused CPU kernel left out vector blocks in some releases."""
    for dtype in (torch.float16, torch.bfloat16):
        for size in (*range(1, 131), 4097, 65537):
            param = torch.zeros(size, dtype=dtype)
            param.grad = torch.ones(size, dtype=dtype)
            fastlr.SGD([param], lr=0.5, fused=True).step()
            assert bool((param == -0.5).all()), f"{dtype}, {size} elements"


def test_maximize_is_the_gradient_s_sign_alone() -> None:
    """Weight decay still pulls towards 0; torch's fused kernel once had it the other way round."""
    options: dict[str, Any] = {"lr": 0.5, "weight_decay": 0.5, "maximize": True}
    param = torch.ones(3)
    param.grad = torch.zeros(3)
    fastlr.SGD([param], fused=True, **options).step()
    assert same_bits(param, torch.full((3,), 0.75))


def test_mixed_types_decay_once_each() -> None:
    """A foreach optimizer once decayed every parameter again for each (device, dtype) bucket."""
    params = [torch.ones(3, dtype=d) for d in (torch.float32, torch.float64, torch.bfloat16, torch.float16)]
    for param in params:
        param.grad = torch.zeros_like(param)
    fastlr.SGD(params, lr=0.5, weight_decay=0.5).step()
    assert [p.unique().tolist() for p in params] == [[0.75]] * 4
