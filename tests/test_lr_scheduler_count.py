"""What fastlr.LRScheduler counts: updates of the optimizer, however often and wherever it is stepped itself."""

import warnings
from typing import Any

import pytest
import sgd_spy
import torch
from driven_cases import BOTH, single
from hypothesis import given
from hypothesis import strategies as st
from sgd_spy import Spy, applied_rates
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)


@BOTH
@given(st.lists(st.integers(0, 3), max_size=20))
def test_more_calls_than_updates_change_nothing(make: Any, calls: list[int]) -> None:
    """accelerate steps a prepared scheduler num_processes times; others at every micro-batch. The last call counts."""
    optimizer, spy, scheduler = single(make, lr=WARM)
    for t, more in enumerate(calls):
        for _ in range(more):
            scheduler.step()
        assert applied_rates(optimizer, spy) == [WARM(t)]
        assert scheduler.get_last_lr() == [WARM(t)]
        scheduler.step()
        assert scheduler.last_epoch == t + 1
        assert scheduler.get_last_lr() == [WARM(t + 1)]


MISSED = "did 3 updates between two steps"


def test_several_updates_between_two_steps_warn_once_and_are_counted() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    for _ in range(3):
        assert applied_rates(optimizer, spy) == [WARM(0)]
    with pytest.warns(UserWarning, match=MISSED) as caught:
        scheduler.step()
    assert len(caught) == 1
    assert caught[0].filename == __file__, "the warning points at the line that called step()"
    for remedy in ("after each optimizer.step()", "interval 'step'", "per_epoch("):
        assert remedy in str(caught[0].message)
    assert scheduler.last_epoch == 3
    for t in (3, 6):
        for _ in range(3):
            assert applied_rates(optimizer, spy) == [WARM(t)]
        scheduler.step()


def test_a_schedule_in_epochs_stepped_once_an_epoch_is_right() -> None:
    epochs = schedules.Cosine(0.1, 0.0, 5)
    optimizer, spy, scheduler = single(lr=epochs.per_epoch(3))
    for epoch in range(5):
        for _ in range(3):
            assert applied_rates(optimizer, spy) == [epochs(epoch)]
        scheduler.step()


def test_a_fastlr_optimizer_follows_without_being_stepped() -> None:
    optimizer, spy, scheduler = single(fastlr.SGD, lr=WARM)
    assert [applied_rates(optimizer, spy)[0] for _ in range(5)] == [WARM(t) for t in range(5)]
    scheduler.step()
    assert (scheduler.last_epoch, scheduler.get_last_lr()) == (5, [WARM(5)])


@BOTH
@pytest.mark.parametrize("fused", [None, True])
def test_overflows_that_a_gradient_scaler_skips_do_not_count(make: Any, fused: bool | None) -> None:
    """Of a fused optimizer step() is called all the same, and the kernel skips."""
    param = torch.zeros(1)
    optimizer = make([param], lr=1.0, fused=fused)
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=1000)
    t = 0
    for overflow in (True, True, False, False, True, False):
        assert optimizer.param_groups[0]["lr"] == WARM(t)
        before = param.item()
        scaler.scale(torch.zeros(()))
        param.grad = torch.full((1,), float("inf") if overflow else -scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()
        assert (param.item() == before) == overflow
        t += not overflow
        scheduler.step()
        assert scheduler.last_epoch == t


def test_an_error_in_a_closure_is_no_update() -> None:
    optimizer, spy, scheduler = single(lr=WARM)

    def closure() -> float:
        raise KeyError("from the closure")

    with pytest.raises(KeyError):
        optimizer.step(closure)
    scheduler.step()
    assert applied_rates(optimizer, spy) == [WARM(0)]


def test_optimizers_with_closures_count_once() -> None:
    param = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.LBFGS([param], max_iter=5)
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss

    for t in range(3):
        optimizer.step(closure)  # type: ignore[arg-type]
        scheduler.step()
        assert scheduler.get_last_lr() == [WARM(t + 1)]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs a torch that was built with distributed")
@pytest.mark.parametrize("lr", [WARM, schedules.Linear(0.0, 0.1, 5)], ids=["from above 0", "from 0"])
def test_the_step_that_only_creates_state_for_a_checkpoint_is_no_update(lr: Any) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    scheduler = fastlr.LRScheduler(optimizer, lr=lr)
    get_optimizer_state_dict(model, optimizer)
    scheduler.step()
    assert scheduler.last_epoch == 0
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    scheduler.step()
    assert (scheduler.last_epoch, optimizer.param_groups[0]["lr"]) == (1, lr(1))


def test_a_count_that_the_caller_gives() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    for t in (7, 2, 19):
        scheduler.step(t)
        assert applied_rates(optimizer, spy) == [WARM(t)]
    scheduler.step(3)
    applied_rates(optimizer, spy)
    scheduler.step()
    assert applied_rates(optimizer, spy) == [WARM(4)]


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "3", 2**63], ids=repr)
def test_a_bad_count_is_refused(epoch: Any) -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    applied_rates(optimizer, spy)
    with pytest.raises(ValueError, match="epoch is no number of updates"):
        scheduler.step(epoch)
    scheduler.step()
    assert applied_rates(optimizer, spy) == [WARM(1)]


def test_many_steps_without_any_update_warn_once() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    for _ in range(99):
        scheduler.step()
    with pytest.warns(UserWarning, match="No update of the optimizer in 100 steps"):
        scheduler.step()
    for _ in range(300):
        scheduler.step()
    assert applied_rates(optimizer, spy) == [WARM(0)]


def test_a_micro_batch_at_a_time_warns_of_nothing() -> None:
    optimizer, spy, scheduler = single(lr=WARM)
    for t in range(3):
        assert applied_rates(optimizer, spy) == [WARM(t)]
        for _ in range(150):
            scheduler.step()


def test_two_schedulers_for_different_values_of_one_optimizer() -> None:
    spy = Spy()
    optimizer = torch.optim.SGD([spy.param], lr=1.0, momentum=0.5)
    rate = fastlr.LRScheduler(optimizer, lr=WARM)
    momentum = fastlr.LRScheduler(optimizer, momentum=schedules.Linear(0.0, 0.8, 4))
    for t in range(4):
        assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (WARM(t), 0.2 * t)
        optimizer.step()
        rate.step()
        momentum.step()


def test_an_optimizer_without_hooks_is_refused() -> None:
    class Bare(torch.optim.Optimizer):
        def __init__(self, params: list[torch.Tensor]) -> None:
            self.param_groups = [{"params": params, "lr": 0.5}]

    optimizer = Bare([torch.zeros(1)])
    with pytest.raises(TypeError, match="runs no hooks: Bare"):
        fastlr.LRScheduler(optimizer, lr=WARM)
    assert optimizer.param_groups[0]["lr"] == 0.5


@BOTH
def test_a_wrapper_s_updates_are_those_of_the_optimizer_inside(make: Any) -> None:
    spy = Spy()

    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer
            self.param_groups = optimizer.param_groups
            self.state = optimizer.state

        def step(self, closure: Any = None) -> None:
            self.optimizer.step()

    optimizer = Wrapper(make([spy.param], lr=1.0))
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)
    for t in range(4):
        assert applied_rates(optimizer, spy) == [WARM(t)]
        scheduler.step()


def test_under_torch_s_sequential() -> None:
    """Not needed, as schedules are sequences themselves; but each part starts at its own 0."""
    optimizer, spy, _ = single(lr=0.5)
    parts = [fastlr.LRScheduler(optimizer, lr=one) for one in (schedules.Linear(0.1, 0.5, 4), WARM)]
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[4])
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's own about step(0)
        for _ in range(8):
            rates += applied_rates(optimizer, spy)
            scheduler.step()
    assert rates == [*(schedules.Linear(0.1, 0.5, 4)(t) for t in range(4)), *(WARM(t) for t in range(4))]


def test_torch_s_warning_about_the_order_is_not_provoked() -> None:
    """Another scheduler of torch's on the same optimizer sees the optimizer's steps as ever."""
    optimizer, spy, scheduler = single(lr=WARM)
    other = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1.0)
    scheduler.step(0)
    assert sgd_spy.applied_rates(optimizer, spy) == [WARM(0)]
    other.step()
    scheduler.step()
    assert applied_rates(optimizer, spy) == [WARM(1)]
