"""Changing what an optimizer follows: set_schedule, step_count, and the follower for callers that want a scheduler."""

import warnings
from typing import Any

import pytest
import torch
from sgd_cases import assert_unchanged, snapshot
from sgd_spy import Spy, applied_momentum, applied_rates, groups

import fastlr
from fastlr import schedules

OLD = fastlr.warmup_cosine(0.1, 20, warmup=5)
NEW = schedules.Linear(0.5, 0.25, 30)


def with_spy(**options: Any) -> tuple[fastlr.SGD, Spy]:
    spy = Spy()
    return fastlr.SGD([spy.param], **options), spy


@pytest.mark.parametrize("start", [OLD, 0.3], ids=["from a schedule", "from a float"])
@pytest.mark.parametrize("at", [0, 4])
def test_set_schedule_keeps_the_count(start: Any, at: int) -> None:
    optimizer, spy = with_spy(lr=start)
    for _ in range(at):
        applied_rates(optimizer, spy)
    optimizer.set_schedule(lr=NEW)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["lr_schedule"], group["initial_lr"]) == (NEW(at), NEW, 0.5)
    for t in range(at, at + 4):
        assert applied_rates(optimizer, spy) == [NEW(t)]
    assert optimizer.step_count == at + 4


def test_set_schedule_to_a_float_makes_it_constant() -> None:
    optimizer, spy = with_spy(lr=OLD)
    applied_rates(optimizer, spy)
    optimizer.set_schedule(lr=0.75)
    assert optimizer.param_groups[0]["lr_schedule"] is None
    for _ in range(3):
        assert applied_rates(optimizer, spy) == [0.75]
    optimizer.param_groups[0]["lr"] = 0.5
    assert applied_rates(optimizer, spy) == [0.5]
    assert optimizer.param_groups[0]["held_steps"] == 0


def test_set_schedule_of_one_group() -> None:
    given_groups, spies = groups({}, {"lr_scale": 2.0}, {})
    optimizer = fastlr.SGD(given_groups, lr=OLD)
    optimizer.set_schedule(lr=NEW, group=1)
    for t in range(3):
        assert applied_rates(optimizer, *spies) == [OLD(t), NEW(t) * 2, OLD(t)]
    optimizer.set_schedule(lr=0.5, group=-1)
    assert applied_rates(optimizer, *spies) == [OLD(3), NEW(3) * 2, 0.5]


def test_set_schedule_of_momentum_and_weight_decay() -> None:
    optimizer, spy = with_spy(lr=OLD, momentum=0.5)
    momentum, decay = schedules.Linear(0.5, 0.9, 7), schedules.Exponential(0.3, 0.8)
    optimizer.set_schedule(momentum=momentum, weight_decay=decay)
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.5, 0.3, OLD(0))
    assert [applied_momentum(optimizer, spy) for _ in range(3)] == [momentum(t) for t in range(3)]
    assert group["lr_schedule"] == OLD


def test_set_schedule_ends_an_outside_write() -> None:
    optimizer, spy = with_spy(lr=OLD)
    optimizer.param_groups[0]["lr"] = 0.9
    with pytest.warns(UserWarning, match="set_schedule"):
        applied_rates(optimizer, spy)
    optimizer.set_schedule(lr=NEW)
    assert applied_rates(optimizer, spy) == [NEW(0)]
    assert (optimizer.step_count, optimizer.param_groups[0]["held_steps"]) == (2, 1)


BAD_SCHEDULES: list[dict[str, Any]] = [
    {"lr": -0.1},
    {"lr": float("nan")},
    {"lr": float("inf")},
    {"lr": schedules.Linear(0.1, -0.1, 5)},
    {"momentum": -1.0},
    {"weight_decay": schedules.Constant(-1e-9)},
    {"lr": 0.5, "momentum": float("nan")},
    {"lr": "0.1"},
    {"lr": None},
    {"dampening": 0.5},
    {"lr": 0.5, "group": 7},
]


@pytest.mark.parametrize("arguments", BAD_SCHEDULES, ids=str)
def test_set_schedule_refuses_bad_values_and_changes_nothing(arguments: dict[str, Any]) -> None:
    given_groups, spies = groups({}, {"lr": 0.3})
    optimizer = fastlr.SGD(given_groups, lr=OLD, momentum=0.5)
    applied_rates(optimizer, *spies)
    before = snapshot(optimizer)
    with pytest.raises((TypeError, ValueError, IndexError)):
        optimizer.set_schedule(**arguments)
    assert_unchanged(optimizer, before)


def test_set_schedule_refuses_nesterov_without_momentum() -> None:
    optimizer, _ = with_spy(lr=0.1, momentum=0.9, nesterov=True)
    with pytest.raises(ValueError, match="Nesterov"):
        optimizer.set_schedule(momentum=0.0)
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_set_schedule_takes_keywords_only() -> None:
    optimizer, _ = with_spy(lr=0.1)
    with pytest.raises(TypeError):
        optimizer.set_schedule(NEW)  # type: ignore[call-arg, arg-type]


def test_step_count_can_be_set() -> None:
    given_groups, spies = groups({}, {"lr": 0.3})
    optimizer = fastlr.SGD(given_groups, lr=OLD)
    optimizer.step_count = 7
    assert [group["step_count"] for group in optimizer.param_groups] == [7, 7]
    assert [group["lr"] for group in optimizer.param_groups] == [OLD(7), 0.3]
    assert applied_rates(optimizer, *spies) == [OLD(7), 0.3]
    assert optimizer.step_count == 8


@pytest.mark.parametrize("count", [-1, 1.0, True, "3", None, 2**70], ids=repr)
def test_a_bad_step_count_is_refused(count: Any) -> None:
    optimizer, spy = with_spy(lr=OLD)
    applied_rates(optimizer, spy)
    before = snapshot(optimizer)
    with pytest.raises((TypeError, ValueError, OverflowError)):
        optimizer.step_count = count
    assert_unchanged(optimizer, before)


def test_a_count_beyond_float32_and_int32() -> None:
    slow = schedules.Linear(1.0, 0.0, 2**40)
    optimizer, spy = with_spy(lr=slow)
    optimizer.step_count = 2**32 + 1
    assert applied_rates(optimizer, spy) == [slow(2**32 + 1)]
    assert slow(2**32 + 1) != slow(2**32 + 2) == optimizer.param_groups[0]["lr"]


def test_follower_notes_the_rate_that_the_next_update_uses() -> None:
    given_groups, spies = groups({}, {"lr_scale": 0.5}, {"lr": 0.3})
    optimizer = fastlr.SGD(given_groups, lr=OLD)
    follower = fastlr.LRScheduler(optimizer)
    assert isinstance(follower, torch.optim.lr_scheduler.LRScheduler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for t in range(6):
            assert follower.get_last_lr() == [OLD(t), OLD(t) * 0.5, 0.3]
            assert follower.get_last_lr() == applied_rates(optimizer, *spies)
            assert follower.get_last_lr() == [OLD(t), OLD(t) * 0.5, 0.3]
            follower.step()
    assert follower.last_epoch == 6
    assert [group["held_steps"] for group in optimizer.param_groups] == [0, 0, 0]


def test_follower_writes_nothing_however_often_it_steps() -> None:
    optimizer, spy = with_spy(lr=OLD)
    follower = fastlr.LRScheduler(optimizer)
    for t in range(6):
        for _ in range(t % 3):  # callers that accumulate, or step once an epoch
            follower.step()
        assert applied_rates(optimizer, spy) == [OLD(t)]


def test_follower_resumes_with_the_optimizer() -> None:
    optimizer, spy = with_spy(lr=OLD)
    follower = fastlr.LRScheduler(optimizer)
    for _ in range(5):
        applied_rates(optimizer, spy)
        follower.step()
    saved = optimizer.state_dict(), follower.state_dict()
    for order in (0, 1):
        second, other = with_spy(lr=OLD)
        resumed = fastlr.LRScheduler(second)
        for load in [second.load_state_dict, resumed.load_state_dict][:: 1 - 2 * order]:
            load(saved[0] if load == second.load_state_dict else saved[1])
        assert resumed.get_last_lr() == [OLD(5)]
        assert resumed.last_epoch == 5
        assert applied_rates(second, other) == [OLD(5)]


def test_follower_refuses_another_optimizer() -> None:
    with pytest.raises(TypeError, match="SGD"):
        fastlr.LRScheduler(torch.optim.SGD([torch.zeros(1)], lr=0.1))  # type: ignore[arg-type]
