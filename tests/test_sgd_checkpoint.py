"""State dicts: to and from torch, through files read with weights_only=True, under every mix of schedules."""

import copy
import warnings
from typing import Any

import pytest
import torch
from files import through_a_file
from sgd_cases import (
    assert_same_state,
    filled,
    gradient_like,
    torch_sgd,
)
from torch import Tensor

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
OTHER = schedules.Linear(0.5, 0.25, 30)
MOMENTUM: dict[str, Any] = {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}


def parameters() -> list[Tensor]:
    return [filled(layout, torch.float32, i) for i, layout in enumerate(["31", "channels_last", "1", "257"])]


def groups() -> list[dict[str, Any]]:
    params = parameters()
    return [{"params": params[:2]}, {"params": params[2:], "lr_scale": 0.5}]


def train(optimizer: torch.optim.Optimizer, steps: range) -> None:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for step in steps:
        for index, param in enumerate(params):
            late = index == 3 and step < 4
            param.grad = None if late else gradient_like(param, 100 * index + step)
        optimizer.step()


def copy_parameters(source: torch.optim.Optimizer, target: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        for a, b in zip(source.param_groups, target.param_groups, strict=True):
            for old, new in zip(a["params"], b["params"], strict=True):
                new.copy_(old)


def plain(value: Any) -> bool:
    """Only what every checkpoint format holds."""
    if isinstance(value, dict):
        return all(plain(key) and plain(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(plain(entry) for entry in value)
    return value is None or type(value) in (str, int, float, bool, Tensor)


SCHEDULED: dict[str, Any] = {
    "lr": WARM,
    "momentum": schedules.OneCycle(0.1, 20).momentum,
    "weight_decay": schedules.Exponential(0.1, 0.9),
}


@pytest.mark.parametrize("options", [{"lr": 0.1, **MOMENTUM}, SCHEDULED], ids=["constants", "schedules"])
@pytest.mark.parametrize("at", range(11))
def test_resuming_at_any_update_gives_the_bits_of_an_uninterrupted_run(options: dict[str, Any], at: int) -> None:
    whole, first, second = (fastlr.SGD(groups(), **options) for _ in range(3))
    train(whole, range(10))
    train(first, range(at))
    state = first.state_dict()
    assert plain(state)
    copy_parameters(first, second)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second.load_state_dict(through_a_file(state))
    assert second.step_count == at
    train(second, range(at, 10))
    assert_same_state(second, whole)
    assert second.state_dict()["param_groups"] == whole.state_dict()["param_groups"]


def test_state_dict_describes_schedules_as_text() -> None:
    optimizer = fastlr.SGD(groups(), lr=WARM)
    group = optimizer.state_dict()["param_groups"][0]
    assert schedules.Schedule.from_json(group["lr_schedule"]) == WARM
    assert group["momentum_schedule"] is group["weight_decay_schedule"] is None
    assert optimizer.param_groups[0]["lr_schedule"] == WARM, "the live group keeps the object"


def test_state_dict_and_loading_leave_each_other_s_dicts_alone() -> None:
    optimizer = fastlr.SGD(groups(), lr=WARM, momentum=0.9)
    train(optimizer, range(3))
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    other = fastlr.SGD(groups(), lr=0.1)
    other.load_state_dict(state)
    train(other, range(3, 5))
    assert state["param_groups"] == before["param_groups"]
    other.param_groups[0]["lr_scale"] = 7.0
    assert state["param_groups"] == before["param_groups"]


def test_held_updates_are_restored() -> None:
    whole, first, second = (fastlr.SGD(groups(), lr=WARM) for _ in range(3))
    for optimizer in (whole, first):
        train(optimizer, range(2))
        optimizer.param_groups[0]["lr"] = 0.7
        with pytest.warns(UserWarning, match="set_schedule"):
            train(optimizer, range(2, 4))
        optimizer.param_groups[0]["lr"] = WARM(2)
        train(optimizer, range(4, 6))
    train(whole, range(6, 9))
    copy_parameters(first, second)
    second.load_state_dict(through_a_file(first.state_dict()))
    assert [(g["step_count"], g["held_steps"]) for g in second.param_groups] == [(6, 2), (6, 0)]
    train(second, range(6, 9))
    assert_same_state(second, whole)


@pytest.mark.parametrize("lr", [0.1, WARM], ids=["float", "schedule"])
def test_torch_s_state_loads_under_the_constructor_s_schedule(lr: Any) -> None:
    source = torch_sgd(parameters(), lr=0.03, **MOMENTUM)
    train(source, range(5))
    target = fastlr.SGD(parameters(), lr=lr, **MOMENTUM)
    copy_parameters(source, target)
    target.load_state_dict(through_a_file(source.state_dict()))
    assert target.step_count == 0
    rates = [WARM(t) if lr is WARM else 0.03 for t in range(3)]
    for step, rate in zip(range(5, 8), rates, strict=True):
        assert target.param_groups[0]["lr"] == rate
        source.param_groups[0]["lr"] = rate
        train(source, range(step, step + 1))
        train(target, range(step, step + 1))
    assert_same_state(target, source)


def test_torch_s_state_and_a_count() -> None:
    source = torch_sgd(parameters(), lr=0.03)
    train(source, range(5))
    target = fastlr.SGD(parameters(), lr=WARM)
    train(target, range(2))
    target.load_state_dict(source.state_dict())
    assert target.step_count == 2, "torch's state does not carry a count: this optimizer's stays"
    target.step_count = 5
    assert target.param_groups[0]["lr"] == WARM(5)


def test_torch_s_state_saved_again_before_the_first_update_keeps_its_buffers() -> None:
    source = torch_sgd(parameters(), lr=0.03, **MOMENTUM)
    train(source, range(5))
    first, second = (fastlr.SGD(parameters(), lr=0.03, **MOMENTUM) for _ in range(2))
    first.load_state_dict(source.state_dict())
    second.load_state_dict(through_a_file(first.state_dict()))
    copy_parameters(source, second)
    train(source, range(5, 8))
    train(second, range(5, 8))
    assert_same_state(second, source)


def test_buffers_allocated_here_and_written_by_torch_s_are_read_again() -> None:
    """The allocation, as distributed checkpointing does it, is noted in the state, and torch's SGD carries the note."""
    first, second = (fastlr.SGD(parameters(), lr=0.1, **MOMENTUM) for _ in range(2))
    for param in first.param_groups[0]["params"]:
        param.grad = torch.zeros_like(param)
    first.param_groups[0]["lr"] = 0.0
    first.step()
    first.param_groups[0]["lr"] = 0.1
    between = torch_sgd(parameters(), lr=0.1, **MOMENTUM)
    between.load_state_dict(through_a_file(first.state_dict()))
    train(between, range(5))
    copy_parameters(between, second)
    second.load_state_dict(through_a_file(between.state_dict()))
    train(between, range(5, 8))
    train(second, range(5, 8))
    assert_same_state(second, between)


@pytest.mark.parametrize("lr", [0.1, WARM], ids=["float", "schedule"])
def test_the_state_loads_into_torch_s(lr: Any) -> None:
    source = fastlr.SGD(parameters(), lr=lr, **MOMENTUM)
    train(source, range(5))
    target = torch_sgd(parameters(), lr=0.9)
    copy_parameters(source, target)
    target.load_state_dict(through_a_file(source.state_dict()))
    for step in range(5, 8):
        target.param_groups[0]["lr"] = source.param_groups[0]["lr"]
        train(source, range(step, step + 1))
        train(target, range(step, step + 1))
    assert_same_state(target, source)
    again = fastlr.SGD(parameters(), lr=lr, **MOMENTUM)
    again.load_state_dict(target.state_dict())
    copy_parameters(target, again)
    train(again, range(8, 9))
    train(target, range(8, 9))


def saved(lr: Any, **options: Any) -> dict[str, Any]:
    optimizer = fastlr.SGD(groups(), lr=lr, **options)
    train(optimizer, range(4))
    return through_a_file(optimizer.state_dict())


def test_a_float_optimizer_takes_the_checkpoint_s_schedule() -> None:
    optimizer = fastlr.SGD(groups(), lr=0.9)
    optimizer.load_state_dict(saved(WARM))
    assert [group["lr_schedule"] for group in optimizer.param_groups] == [WARM, WARM]
    assert [group["lr"] for group in optimizer.param_groups] == [WARM(4), WARM(4) * 0.5]
    assert optimizer.param_groups[1]["initial_lr"] == WARM.peak * 0.5
    train(optimizer, range(4, 5))
    assert optimizer.param_groups[0]["lr"] == WARM(5)


def test_the_checkpoint_s_schedule_wins_with_a_warning_that_shows_both() -> None:
    optimizer = fastlr.SGD(groups(), lr=OTHER, momentum=schedules.Constant(0.5))
    with pytest.warns(UserWarning, match="keep_schedule") as caught:
        optimizer.load_state_dict(saved(WARM, momentum=schedules.Constant(0.5)))
    assert [w.filename for w in caught] == [__file__]
    assert repr(WARM) in str(caught[0].message)
    assert repr(OTHER) in str(caught[0].message)
    assert [group["lr"] for group in optimizer.param_groups] == [WARM(4), WARM(4) * 0.5]


def test_keep_schedule_keeps_the_constructor_s() -> None:
    optimizer = fastlr.SGD(groups(), lr=OTHER)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.load_state_dict(saved(WARM), keep_schedule=True)
    assert optimizer.param_groups[0]["lr_schedule"] == OTHER
    assert (optimizer.step_count, optimizer.param_groups[0]["lr"]) == (4, OTHER(4))


def test_keep_schedule_holds_for_one_load_only() -> None:
    optimizer = fastlr.SGD(groups(), lr=OTHER)
    optimizer.load_state_dict(saved(WARM), keep_schedule=True)
    with pytest.warns(UserWarning, match="keep_schedule"):
        optimizer.load_state_dict(saved(WARM))
    assert optimizer.param_groups[0]["lr_schedule"] == WARM


def test_a_checkpoint_without_a_schedule_leaves_the_constructor_s() -> None:
    optimizer = fastlr.SGD(groups(), lr=WARM)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.load_state_dict(saved(0.9))
    assert optimizer.param_groups[0]["lr_schedule"] == WARM
    assert (optimizer.step_count, optimizer.param_groups[0]["lr"]) == (4, WARM(4))


def test_loading_ends_an_outside_write() -> None:
    state = saved(WARM)
    optimizer = fastlr.SGD(groups(), lr=WARM)
    optimizer.param_groups[0]["lr"] = 0.9
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == WARM(4)
    train(optimizer, range(4, 6))
    assert optimizer.param_groups[0]["held_steps"] == 0


def test_sixteen_bit_buffers_keep_their_type() -> None:
    params = [filled("31", torch.bfloat16, 0) for _ in range(3)]
    whole, first, second = (fastlr.SGD([p], lr=WARM, momentum=0.9) for p in params)
    train(whole, range(8))
    train(first, range(3))
    copy_parameters(first, second)
    second.load_state_dict(through_a_file(first.state_dict()))
    train(second, range(3, 8))
    assert_same_state(second, whole)


@pytest.mark.parametrize("copied", [False, True], ids=["constructed", "copied"])
def test_hooks_on_the_state_dict_see_plain_values(copied: bool) -> None:
    optimizer = fastlr.SGD(parameters(), lr=WARM, **MOMENTUM)
    if copied:
        optimizer = copy.deepcopy(optimizer)
    seen = []
    optimizer.register_state_dict_post_hook(lambda _, state: seen.append(state["param_groups"][0]["lr_schedule"]))
    optimizer.state_dict()
    assert seen == [WARM.to_json()]
