"""Schedules inside the optimizer: which value each update uses, what stands in the group, outside writes."""

import warnings
from typing import Any

import pytest
import sgd_spy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sgd_spy import Spy, applied_decay, applied_momentum, applied_rates, groups

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
OWN_KEYS = {
    "lr_scale",
    "lr_schedule",
    "momentum_schedule",
    "weight_decay_schedule",
    "plateau",
    "step_count",
    "held_steps",
    "unwritten",
    "decoupled_weight_decay",
    "ema_decay_schedule",
    "max_grad_norm",
    "norm_per_group",
    "error_if_nonfinite",
    "max_grad_value",
    "ema_decay",
    "master_weights",
    "stochastic_rounding",
    "rounding_seed",
    "state_dtype",
    "zero_grad_in_step",
}


def with_spy(**options: Any) -> tuple[fastlr.SGD, Spy]:
    spy = Spy()
    return fastlr.SGD([spy.param], **options), spy


def test_update_t_uses_the_schedule_at_t() -> None:
    optimizer, spy = with_spy(lr=WARM)
    for t in range(19):
        assert optimizer.step_count == t
        assert optimizer.param_groups[0]["lr"] == WARM(t)
        assert type(optimizer.param_groups[0]["lr"]) is float
        assert applied_rates(optimizer, spy) == [WARM(t)]


def test_momentum_and_weight_decay_follow_theirs() -> None:
    momentum, decay = schedules.Linear(0.5, 0.9, 7), schedules.Exponential(0.3, 0.8)
    optimizer, spy = with_spy(lr=0.1, momentum=momentum, weight_decay=decay)
    group = optimizer.param_groups[0]
    for t in range(10):
        assert (group["momentum"], group["weight_decay"]) == (momentum(t), decay(t))
        assert applied_decay(optimizer, spy) == decay(t)
        optimizer.step_count = t
        assert applied_momentum(optimizer, spy) == momentum(t)
    assert group["lr"] == 0.1


def test_every_group_has_torch_s_and_fastlr_s_keys() -> None:
    torch_keys = torch.optim.SGD([torch.zeros(1)]).param_groups[0].keys()
    optimizer, _ = with_spy(lr=0.1)
    assert optimizer.param_groups[0].keys() == torch_keys | OWN_KEYS
    assert "initial_lr" not in optimizer.param_groups[0]
    optimizer, _ = with_spy(lr=WARM)
    group = optimizer.param_groups[0]
    assert group.keys() == torch_keys | OWN_KEYS | {"initial_lr"}
    assert group["lr_schedule"] == WARM
    assert (group["lr_scale"], group["step_count"], group["held_steps"]) == (1.0, 0, 0)
    assert group["momentum_schedule"] is group["weight_decay_schedule"] is None


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0])
def test_lr_scale_multiplies_the_schedule(scale: float) -> None:
    given_groups, (scaled, plain) = groups({"lr_scale": scale}, {})
    optimizer = fastlr.SGD(given_groups, lr=WARM)
    assert [group["initial_lr"] for group in optimizer.param_groups] == [WARM.peak * scale, WARM.peak]
    for t in range(8):
        assert [group["lr"] for group in optimizer.param_groups] == [WARM(t) * scale, WARM(t)]
        assert applied_rates(optimizer, scaled, plain) == [WARM(t) * scale, WARM(t)]


def test_lr_scale_written_during_training_counts_from_the_next_update() -> None:
    optimizer, spy = with_spy(lr=WARM)
    applied_rates(optimizer, spy)
    optimizer.param_groups[0]["lr_scale"] = 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert applied_rates(optimizer, spy) == [WARM(1) * 0.25]
        assert applied_rates(optimizer, spy) == [WARM(2) * 0.25]
    assert optimizer.param_groups[0]["held_steps"] == 0


def test_lr_scale_written_before_the_first_update_counts_from_it() -> None:
    rising = schedules.Linear(0.5, 1.0, 4)
    optimizer, spy = with_spy(lr=rising)
    optimizer.param_groups[0]["lr_scale"] = 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [*applied_rates(optimizer, spy), *applied_rates(optimizer, spy)] == [0.125, rising(1) * 0.25]
    assert optimizer.param_groups[0]["held_steps"] == 0


def test_a_group_s_own_float_is_constant_and_its_own_schedule_wins() -> None:
    own = schedules.Step(0.5, 3, 0.1)
    given_groups, spies = groups({"lr": 0.3}, {"lr": own}, {"lr_schedule": own}, {})
    optimizer = fastlr.SGD(given_groups, lr=WARM)
    for t in range(8):
        assert applied_rates(optimizer, *spies) == [0.3, own(t), own(t), WARM(t)]
    assert "initial_lr" not in optimizer.param_groups[0]
    assert optimizer.param_groups[1]["initial_lr"] == 0.5


def test_group_options_may_be_schedules_under_a_float() -> None:
    own = schedules.Linear(0.1, 0.9, 4)
    given_groups, spies = groups({}, {"momentum": own})
    optimizer = fastlr.SGD(given_groups, lr=0.1, momentum=0.5)
    for t in range(6):
        assert applied_momentum(optimizer, spies[1]) == own(t)
        assert optimizer.param_groups[0]["momentum"] == 0.5


def test_counts_are_the_same_in_all_groups_even_without_gradients() -> None:
    given_groups, spies = groups({}, {"lr": 0.3}, {})
    optimizer = fastlr.SGD(given_groups, lr=WARM)
    for _ in range(4):
        applied_rates(optimizer, spies[0])
    assert [group["step_count"] for group in optimizer.param_groups] == [4, 4, 4]
    assert optimizer.param_groups[2]["lr"] == WARM(4)


def test_an_update_without_any_gradient_is_counted() -> None:
    optimizer, _ = with_spy(lr=WARM)
    optimizer.step()
    assert optimizer.step_count == 1
    assert optimizer.param_groups[0]["lr"] == WARM(1)


HELD = r"set_schedule"


def test_a_written_rate_is_used_and_the_schedule_waits_for_its_own() -> None:
    optimizer, spy = with_spy(lr=WARM)
    group = optimizer.param_groups[0]
    for _ in range(3):
        applied_rates(optimizer, spy)
    group["lr"] = 0.7
    with pytest.warns(UserWarning, match=HELD) as caught:
        assert applied_rates(optimizer, spy) == [0.7]
    assert len(caught) == 1
    assert caught[0].filename == sgd_spy.__file__, "the warning points at the line that called step()"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert applied_rates(optimizer, spy) == [0.7]
        assert (group["lr"], group["held_steps"], group["step_count"]) == (0.7, 2, 5)
        group["lr"] = WARM(3)
        for t in range(3, 9):
            assert applied_rates(optimizer, spy) == [WARM(t)]
        group["lr"] = 0.0  # the second time in silence
        assert applied_rates(optimizer, spy) == [0.0]
    assert (group["held_steps"], optimizer.step_count) == (3, 12)


@pytest.mark.parametrize("name", ["momentum", "weight_decay"])
def test_other_written_values_hold_the_group_s_clock_as_well(name: str) -> None:
    other = {"momentum": schedules.Linear(0.5, 0.9, 9), "weight_decay": schedules.Linear(0.1, 0.2, 9)}
    optimizer, spy = with_spy(lr=WARM, **other)
    group = optimizer.param_groups[0]
    spy.set(optimizer, param=1.0, grad=1.0)
    optimizer.step()
    group[name] = 0.25
    with pytest.warns(UserWarning, match=HELD):
        optimizer.step()
    assert (group["lr"], group["held_steps"], group[name]) == (WARM(1), 1, 0.25)
    group[name] = other[name](1)
    optimizer.step()
    assert (group["lr"], group[name]) == (WARM(2), other[name](2))


def test_a_held_group_does_not_hold_the_others() -> None:
    given_groups, spies = groups({}, {})
    optimizer = fastlr.SGD(given_groups, lr=WARM)
    optimizer.param_groups[0]["lr"] = 0.9
    with pytest.warns(UserWarning, match=HELD):
        assert applied_rates(optimizer, *spies) == [0.9, WARM(0)]
    for t in range(1, 4):
        assert applied_rates(optimizer, *spies) == [0.9, WARM(t)]
    assert [group["held_steps"] for group in optimizer.param_groups] == [4, 0]
    assert [group["step_count"] for group in optimizer.param_groups] == [4, 4]


def test_writing_the_present_value_holds_nothing() -> None:
    optimizer, spy = with_spy(lr=WARM)
    for t in range(4):
        optimizer.param_groups[0]["lr"] = WARM(t)
        assert applied_rates(optimizer, spy) == [WARM(t)]
    assert optimizer.param_groups[0]["held_steps"] == 0


def test_constants_next_to_a_schedule_may_be_written_freely() -> None:
    optimizer, spy = with_spy(lr=WARM, momentum=0.5)
    optimizer.param_groups[0]["momentum"] = 0.75
    assert applied_momentum(optimizer, spy) == 0.75
    assert (optimizer.param_groups[0]["held_steps"], optimizer.param_groups[0]["lr"]) == (0, WARM(1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["step", "hold", "release"]), max_size=25))
def test_any_series_of_writes(actions: list[str]) -> None:
    """The clock is the number of updates at which the group held the schedule's own value."""
    optimizer, spy = with_spy(lr=WARM)
    clock, held = 0, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for action in actions:
            if action == "step":
                assert applied_rates(optimizer, spy) == [9.0 if held else WARM(clock)]
                clock += not held
                continue
            held = action == "hold"
            optimizer.param_groups[0]["lr"] = 9.0 if held else WARM(clock)
    count = actions.count("step")
    assert (optimizer.step_count, optimizer.param_groups[0]["held_steps"]) == (count, count - clock)


def test_a_schedule_that_ended_at_zero_is_reported_once() -> None:
    optimizer, spy = with_spy(lr=fastlr.warmup_cosine(0.1, 6, warmup=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6):
            assert applied_rates(optimizer, spy)[0] > 0
    with pytest.warns(UserWarning, match="0"):
        assert applied_rates(optimizer, spy) == [0.0]
    for _ in range(3):  # any further warning is an error here
        assert applied_rates(optimizer, spy) == [0.0]


@pytest.mark.parametrize("lr", [schedules.Cosine(0.1, 0.01, 3), schedules.Linear(0.0, 0.1, 3), 0.0], ids=repr)
def test_other_ends_and_zeros_are_not_reported(lr: Any) -> None:
    optimizer, spy = with_spy(lr=lr)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6):
            applied_rates(optimizer, spy)
    assert optimizer.step_count == 6
