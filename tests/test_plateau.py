"""ReduceOnPlateau against torch's ReduceLROnPlateau: the rule by itself, in fastlr.SGD, and over torch's optimizers."""

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plateau_cases import SIDES, WARM, WORSE, ours
from sgd_spy import applied_rates, groups

import fastlr
from fastlr import schedules
from fastlr.schedules import ReduceOnPlateau
from fastlr.schedules.plateau import observe

rules = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.0, 0.1, 0.5, 0.93]),
        "patience": st.integers(0, 3),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1, 0.7]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 1e-3, 0.0123, 0.5]),
        "eps": st.sampled_from([0.0, 1e-8, 0.0071, 1.0]),
    }
)
metrics = st.lists(
    st.one_of(st.floats(-3, 3), st.sampled_from([1.0, 1.0 - 1e-5, 0.9, math.nan, math.inf, -math.inf])), max_size=40
)


def torch_rates(base: float, options: dict[str, Any], values: list[float]) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=base)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@settings(max_examples=300)
@given(rules, metrics, st.sampled_from([0.1, 1.0, 0.37]))
def test_a_constant_rate_falls_as_torch_s(options: dict[str, Any], values: list[float], base: float) -> None:
    rule = ReduceOnPlateau(base, **options)
    state, rates = rule.fresh(), []
    for value in values:
        state = observe(rule, state, value, rule.peak)
        rates.append(base * state.scale)
    assert rates == pytest.approx(torch_rates(base, options, values), rel=1e-15, abs=0)


@SIDES
@settings(max_examples=25)
@given(rules, metrics)
def test_updates_use_torch_s_rates(side: Any, options: dict[str, Any], values: list[float]) -> None:
    optimizer, spy, report = side(ReduceOnPlateau(0.1, **options))
    rates = []
    for value in values:
        report(value)
        assert [optimizer.param_groups[0]["lr"]] == applied_rates(optimizer, spy)
        rates += applied_rates(optimizer, spy)
    assert rates == pytest.approx(torch_rates(0.1, options, values), rel=1e-15, abs=0)


@SIDES
def test_a_varying_schedule_is_multiplied_from_the_next_update_on(side: Any) -> None:
    optimizer, spy, report = side(ReduceOnPlateau(WARM, factor=0.5, patience=1))
    scale, seen = 1.0, [3.0, 2.0, 2.5, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    scales = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    for t, (metric, after) in enumerate(zip(seen, scales, strict=True)):
        assert applied_rates(optimizer, spy) == [WARM(t) * scale]
        report(torch.tensor(metric))
        scale = after
        assert optimizer.param_groups[0]["lr"] == WARM(t + 1) * scale


@SIDES
def test_min_lr_and_eps_are_read_at_the_peak(side: Any) -> None:
    optimizer, spy, report = side(ReduceOnPlateau(schedules.Linear(1.0, 0.0, 4), factor=0.1, patience=0, min_lr=0.25))
    for metric in WORSE:
        report(metric)
    assert [applied_rates(optimizer, spy)[0] for _ in range(4)] == [0.25, 0.1875, 0.125, 0.0625]
    optimizer, spy, report = side(ReduceOnPlateau(schedules.Linear(1.0, 0.0, 4), factor=0.5, patience=0, eps=0.3))
    for metric in WORSE:
        report(metric)
    assert applied_rates(optimizer, spy) == [0.5]


def test_a_difference_of_exactly_eps_is_too_small() -> None:
    optimizer, _, report = ours(ReduceOnPlateau(1.0, factor=0.5, patience=0, eps=0.25))
    for metric in WORSE:
        report(metric)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("make", [torch.optim.SGD, fastlr.SGD])
def test_as_a_factor_it_reduces_every_group_as_torch_does(make: Any) -> None:
    sides = []
    for scheduler_of, feed in (
        (lambda o: fastlr.LRScheduler(o, factor=ReduceOnPlateau(1.0, factor=0.1, patience=0, min_lr=0.02)), "report"),
        (lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.1, patience=0, min_lr=0.02), "step"),
    ):
        given_groups, _ = groups({"lr": 0.3}, {"lr": 0.05}, {"lr": 0.01})
        optimizer = (make if feed == "report" else torch.optim.SGD)(given_groups)
        scheduler: Any = scheduler_of(optimizer)
        for metric in WORSE:
            getattr(scheduler, feed)(metric)
        sides.append([group["lr"] for group in optimizer.param_groups])
    assert sides[0] == pytest.approx(sides[1], rel=1e-15)
    assert sides[1] == [0.02, 0.02, 0.01]


def test_every_group_has_its_own_state() -> None:
    quick, slow = (ReduceOnPlateau(WARM, patience=n) for n in (0, 1))
    given_groups, spies = groups({"lr": quick}, {"lr": slow, "lr_scale": 0.5}, {}, {"lr": 0.7})
    optimizer = fastlr.SGD(given_groups, lr=WARM)
    for metric in WORSE[:2]:
        optimizer.report(metric)
    rates = [WARM(0) * 0.1, WARM(0) * 0.5, WARM(0), 0.7]
    assert [group["lr"] for group in optimizer.param_groups] == rates
    assert applied_rates(optimizer, *spies) == rates
    assert [group["plateau"] for group in optimizer.param_groups] == [[0.1, 1.0, 0, 0], [1.0, 1.0, 1, 0], None, None]
    assert [group.get("initial_lr") for group in optimizer.param_groups] == [0.1, 0.05, 0.1, None]


def test_min_lr_counts_with_the_group_s_scale() -> None:
    given_groups, _ = groups({"lr_scale": 0.5}, {})
    optimizer = fastlr.SGD(given_groups, lr=ReduceOnPlateau(0.1, factor=0.1, patience=0, min_lr=0.04))
    for metric in WORSE:
        optimizer.report(metric)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.04, 0.04], rel=1e-15)


@pytest.mark.parametrize("at", [1, 2])
def test_lr_scale_and_a_reduction_multiply(at: int) -> None:
    optimizer, spy, report = ours(ReduceOnPlateau(WARM, factor=0.5, patience=0))
    for _ in range(at):
        applied_rates(optimizer, spy)
    optimizer.param_groups[0]["lr_scale"] = 3.0
    for metric in WORSE:
        report(metric)
    assert applied_rates(optimizer, spy) == [WARM(at) * 0.75]
    assert optimizer.param_groups[0]["held_steps"] == 0


def test_a_rate_written_from_outside_stays_until_its_own_is_back() -> None:
    optimizer, spy, report = ours(ReduceOnPlateau(WARM, factor=0.5, patience=0))
    applied_rates(optimizer, spy)
    optimizer.param_groups[0]["lr"] = 0.9
    report(1.0)
    report(1.0)
    with pytest.warns(UserWarning, match="written from outside"):
        assert applied_rates(optimizer, spy) == [0.9]
    optimizer.param_groups[0]["lr"] = WARM(1) * 0.5
    assert applied_rates(optimizer, spy) == [WARM(1) * 0.5]


def test_setting_the_same_schedule_keeps_the_state_and_another_starts_anew() -> None:
    rule = ReduceOnPlateau(WARM, patience=0)
    optimizer, _, report = ours(rule)
    for metric in WORSE:
        report(metric)
    state = optimizer.param_groups[0]["plateau"]
    optimizer.set_schedule(lr=ReduceOnPlateau(WARM, patience=0), momentum=0.5)
    assert optimizer.param_groups[0]["plateau"] == state
    optimizer.set_schedule(lr=ReduceOnPlateau(WARM, patience=1))
    assert optimizer.param_groups[0]["plateau"] is None
    assert optimizer.param_groups[0]["lr"] == WARM(0)


def test_as_a_schedule_it_is_its_inner_one() -> None:
    rule = ReduceOnPlateau(WARM, factor=0.5, cooldown=2)
    assert [rule(t) for t in range(22)] == [WARM(t) for t in range(22)]
    assert (rule.length, rule.peak, rule.minimum_value, rule.end_value) == (20, WARM.peak, 0.0, 0.0)
    assert schedules.from_json(rule.to_json()) == rule
    assert repr(rule) == f"ReduceOnPlateau(schedule={WARM!r}, factor=0.5, cooldown=2)"
    assert rule.over(40) == ReduceOnPlateau(WARM.over(40), factor=0.5, cooldown=2)
    line = ReduceOnPlateau(schedules.Linear(1.0, 0.5, 2), factor=0.5).past_end("extrapolate")
    assert line(3) == 0.25
    assert ReduceOnPlateau(0.1) == ReduceOnPlateau(schedules.Constant(0.1)) != ReduceOnPlateau(0.1, patience=9)


def test_a_reduction_warns_of_nothing() -> None:
    optimizer, spy, report = ours(ReduceOnPlateau(WARM, factor=0.0, patience=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(1.0)
        applied_rates(optimizer, spy)
        report(1.0)
        assert optimizer.param_groups[0]["lr"] == 0.0
