"""fastlr.LRScheduler over any optimizer: which value each update uses, how it is written, and what is refused."""

import math
from typing import Any

import pytest
import torch
from driven_cases import BOTH
from sgd_spy import Spy, applied_momentum, applied_rates, groups

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
SHAPE = schedules.Linear(1.0, 0.25, 9)
MOMENTUM = schedules.Linear(0.5, 0.9, 9)
DECAY = schedules.Exponential(0.3, 0.8)


def run(optimizer: Any, scheduler: fastlr.LRScheduler, spies: list[Spy], updates: int) -> list[list[float]]:
    """The applied rates of each update, which the groups stated before it and the scheduler logs after it."""
    rows = []
    for _ in range(updates):
        stated = [float(group["lr"]) for group in optimizer.param_groups]
        rows.append(applied_rates(optimizer, *spies))
        assert rows[-1] == stated == scheduler.get_last_lr()
        scheduler.step()
    return rows


@BOTH
@pytest.mark.parametrize("options", [{}, {"lr_scale": 0.5}], ids=["alone", "scaled"])
def test_one_absolute_schedule(make: Any, options: dict[str, Any]) -> None:
    given_groups, spies = groups({}, options if make is fastlr.SGD else {})
    optimizer = make(given_groups, lr=0.3)
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    second = 0.5 if make is fastlr.SGD and options else 1.0
    assert run(optimizer, scheduler, spies, 15) == [[WARM(t), WARM(t) * second] for t in range(15)]
    assert scheduler.last_epoch == 15


@BOTH
def test_a_list_has_one_schedule_per_group(make: Any) -> None:
    given_groups, spies = groups({"lr": 0.3}, {"lr": 0.4}, {})
    optimizer = make(given_groups, lr=0.5)
    scheduler = fastlr.LRScheduler(optimizer, lr=[WARM, SHAPE, 0.7])
    assert run(optimizer, scheduler, spies, 5) == [[WARM(t), SHAPE(t), 0.7] for t in range(5)]


@BOTH
def test_a_factor_multiplies_initial_rates(make: Any) -> None:
    given_groups, spies = groups({"lr": 0.3}, {"lr": 0.9, "initial_lr": 0.4}, {})
    optimizer = make(given_groups, lr=0.5)
    scheduler = fastlr.LRScheduler(optimizer, factor=SHAPE)
    assert run(optimizer, scheduler, spies, 5) == [[SHAPE(t) * rate for rate in (0.3, 0.4, 0.5)] for t in range(5)]


def test_a_list_of_factors() -> None:
    given_groups, spies = groups({"lr": 0.3}, {"lr": 0.4})
    optimizer = torch.optim.SGD(given_groups)
    scheduler = fastlr.LRScheduler(optimizer, factor=[SHAPE, 1])
    assert run(optimizer, scheduler, spies, 5) == [[SHAPE(t) * 0.3, 0.4] for t in range(5)]


def test_a_factor_over_a_fastlr_schedule_multiplies_its_peak_and_scale() -> None:
    given_groups, spies = groups({}, {"lr_scale": 0.5})
    optimizer = fastlr.SGD(given_groups, lr=WARM)
    scheduler = fastlr.LRScheduler(optimizer, factor=SHAPE)
    assert run(optimizer, scheduler, spies, 5) == [[SHAPE(t) * 0.1, SHAPE(t) * (0.5 * 0.1)] for t in range(5)]


def test_the_same_factor_again_does_not_multiply_twice() -> None:
    factor = schedules.Linear(0.5, 0.25, 9)
    for make in (torch.optim.SGD, fastlr.SGD):
        given_groups, spies = groups({"lr": 0.3})
        optimizer: Any = make(given_groups)
        for _ in range(3):
            scheduler = fastlr.LRScheduler(optimizer, factor=factor)
        assert run(optimizer, scheduler, spies, 3) == [[factor(t) * 0.3] for t in range(3)]


@BOTH
def test_momentum_and_weight_decay(make: Any) -> None:
    spy = Spy()
    optimizer = make([spy.param], lr=0.1, momentum=0.1, weight_decay=0.1)
    scheduler = fastlr.LRScheduler(optimizer, momentum=MOMENTUM, weight_decay=DECAY)
    group = optimizer.param_groups[0]
    for t in range(6):
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, MOMENTUM(t), DECAY(t))
        assert applied_momentum(optimizer, spy) == MOMENTUM(t)
        scheduler.step()
    assert scheduler.get_last_lr() == [0.1]


def test_momentum_is_the_first_beta_where_there_is_no_momentum() -> None:
    given_groups, _ = groups({}, {"betas": (0.5, 0.7)})
    optimizer = torch.optim.AdamW(given_groups, betas=(0.9, 0.99))
    scheduler = fastlr.LRScheduler(optimizer, momentum=MOMENTUM)
    for t in range(3):
        assert [group["betas"] for group in optimizer.param_groups] == [(MOMENTUM(t), 0.99), (MOMENTUM(t), 0.7)]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("paired", [(MOMENTUM, 0.999), [MOMENTUM, 0.999], [(MOMENTUM, 0.999), (0.5, MOMENTUM)]])
def test_betas(paired: Any) -> None:
    given_groups, _ = groups({}, {})
    optimizer = torch.optim.Adam(given_groups)
    scheduler = fastlr.LRScheduler(optimizer, betas=paired)
    per_group = isinstance(paired[0], tuple)
    for t in range(3):
        second = (0.5, MOMENTUM(t)) if per_group else (MOMENTUM(t), 0.999)
        assert [group["betas"] for group in optimizer.param_groups] == [(MOMENTUM(t), 0.999), second]
        optimizer.step()
        scheduler.step()


def test_adamw_does_what_it_does_under_torch_s_scheduler() -> None:
    ends = []
    for make in (
        lambda o: fastlr.LRScheduler(o, factor=schedules.Cosine(1.0, 0.0, 10)),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: (1 + math.cos(math.pi * min(t, 10) / 10)) / 2),
    ):
        params = [torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        optimizer = torch.optim.AdamW([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=0.01)
        scheduler: Any = make(optimizer)
        for step in range(12):
            for param in params:
                param.grad = torch.full_like(param, 0.5 - step % 3)
            optimizer.step()
            scheduler.step()
        ends.append(torch.stack(params))
    assert torch.allclose(*ends, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_tensor_rate_is_filled_in_place(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    lr = torch.full(shape, 0.3, dtype=dtype)
    spy = Spy()
    optimizer = torch.optim.SGD([spy.param], lr=lr)
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)
    for t in range(5):
        stored = torch.tensor(WARM(t), dtype=dtype).item()
        assert optimizer.param_groups[0]["lr"] is lr
        assert lr.item() == stored
        assert scheduler.get_last_lr() == applied_rates(optimizer, spy) == [stored]
        scheduler.step()


def test_groups_that_share_a_tensor_get_one_each() -> None:
    lr, decay, beta = torch.tensor(0.5), torch.tensor(0.1), torch.tensor(0.9)
    given_groups, _ = groups({}, {})
    optimizer = torch.optim.AdamW(
        given_groups, lr=lr, weight_decay=decay, betas=(beta, torch.tensor(0.5)), foreach=False
    )
    shared = optimizer.param_groups
    assert shared[0]["lr"] is shared[1]["lr"] is lr
    fastlr.LRScheduler(optimizer, factor=[0.5, 0.25], weight_decay=[0.25, 0.5], betas=[(0.75, 0.5), (0.25, 0.5)])
    assert shared[0]["lr"] is lr
    assert shared[0]["weight_decay"] is decay
    assert shared[0]["betas"][0] is beta
    assert [float(group["lr"]) for group in shared] == [0.25, 0.125]
    assert [float(group["weight_decay"]) for group in shared] == [0.25, 0.5]
    assert [float(group["betas"][0]) for group in shared] == [0.75, 0.25]
    assert shared[0]["initial_lr"] == 0.5
    assert type(shared[0]["initial_lr"]) is float


def test_a_tensor_rate_that_autograd_follows_is_filled_too() -> None:
    lr = torch.tensor(0.5, requires_grad=True)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, differentiable=True)
    fastlr.LRScheduler(optimizer, lr=0.25)
    assert (lr.item(), lr.requires_grad, lr.is_leaf) == (0.25, True, True)


@BOTH
def test_a_group_that_is_added_follows_from_the_next_step_on(make: Any) -> None:
    given_groups, spies = groups({})
    optimizer = make(given_groups, lr=0.5, momentum=0.0)
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM, momentum=0.0)
    run(optimizer, scheduler, spies, 3)
    more, added = groups({})
    optimizer.add_param_group(more[0])
    assert applied_rates(optimizer, *spies, *added) == [WARM(3), 0.5]
    scheduler.step()
    assert run(optimizer, scheduler, spies + added, 3) == [[WARM(t)] * 2 for t in range(4, 7)]
    assert len(scheduler.base_lrs) == 2


def test_a_factor_takes_an_added_group_at_its_own_rate() -> None:
    given_groups, spies = groups({})
    optimizer = torch.optim.SGD(given_groups, lr=0.5)
    scheduler = fastlr.LRScheduler(optimizer, factor=SHAPE)
    more, added = groups({"lr": 0.25})
    optimizer.add_param_group(more[0])
    applied_rates(optimizer, *spies)
    scheduler.step()
    assert run(optimizer, scheduler, spies + added, 2) == [[SHAPE(t) * 0.5, SHAPE(t) * 0.25] for t in (1, 2)]


@BOTH
def test_an_added_group_that_a_list_has_nothing_for_is_refused(make: Any) -> None:
    given_groups, spies = groups({}, {})
    optimizer = make(given_groups, lr=0.5)
    scheduler = fastlr.LRScheduler(optimizer, lr=[WARM, SHAPE])
    optimizer.add_param_group(groups({})[0][0])
    applied_rates(optimizer, *spies)
    with pytest.raises(ValueError, match="2 schedules of lr for another number of groups: 3"):
        scheduler.step()


def test_an_added_group_with_another_rate_under_one_absolute_schedule_is_refused() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)
    optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 0.25})
    optimizer.step()
    with pytest.raises(ValueError, match="factor="):
        scheduler.step()
    assert optimizer.param_groups[1]["lr"] == 0.25


def test_past_an_end_without_values_the_step_raises() -> None:
    spy = Spy()
    optimizer = torch.optim.SGD([spy.param])
    scheduler = fastlr.LRScheduler(optimizer, lr=schedules.Linear(1.0, 0.5, 2).past_end("error"))
    run(optimizer, scheduler, [spy], 2)
    applied_rates(optimizer, spy)
    with pytest.raises(ValueError, match="step 3"):
        scheduler.step()
    assert (optimizer.param_groups[0]["lr"], scheduler.last_epoch) == (0.5, 2)
