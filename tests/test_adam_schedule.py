"""Rates, betas and decays of Adam, AdamW and Lion that follow schedules, or are written from outside."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import (
    PAIRS,
    RULES,
    assert_follows,
    assert_same_state,
    few,
    needs_fma,
    parameters,
    params_of,
    train,
)
from adam_reference import Hyper, Oracle
from sgd_cases import set_gradients
from torch.optim import lr_scheduler as torch_schedulers

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 25, warmup=4)
RISING = schedules.Linear(0.5, 0.95, 9)
FALLING = schedules.Linear(0.999, 0.9, 12)
DECAY = schedules.Step(0.1, 4, 0.5)
SCHEDULED: dict[str, dict[str, Any]] = {
    "rate": {"lr": WARM},
    "rate and the rest constant": {"lr": schedules.Exponential(0.3, 0.9), "weight_decay": 0.01, "betas": (0.8, 0.99)},
    "first beta": {"lr": 0.1, "betas": (RISING, 0.999)},
    "second beta": {"lr": 0.1, "betas": (0.9, FALLING)},
    "momentum of a cycle": {"lr": schedules.OneCycle(0.2, 25), "betas": (schedules.OneCycle(0.2, 25).momentum, 0.99)},
    "beta that starts at 0": {"lr": 0.1, "betas": (schedules.Linear(0.0, 0.9, 7), 0.999)},
    "decay that ends at 0": {"lr": 0.1, "weight_decay": schedules.Linear(0.3, 0.0, 7)},
    "all": {"lr": WARM, "betas": (RISING, FALLING), "weight_decay": DECAY, "maximize": True},
}


def at(value: Any, t: int) -> Any:
    """The value with schedules evaluated at t."""
    if isinstance(value, tuple):
        return tuple(at(part, t) for part in value)
    return value(t) if isinstance(value, schedules.Schedule) else value


def options_at(options: dict[str, Any], t: int) -> dict[str, Any]:
    return {name: at(value, t) for name, value in options.items()}


@needs_fma
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", SCHEDULED)
@pytest.mark.parametrize("name", PAIRS)
def test_schedules_have_the_bits_of_values_written_into_torch_s(name: str, case: str, dtype: torch.dtype) -> None:
    options = SCHEDULED[case]
    make, standard = PAIRS[name]
    ours, theirs = make(parameters(dtype), **options), standard(parameters(dtype), **options_at(options, 0))
    for t in range(20):
        theirs.param_groups[0].update(options_at(options, t))
        for optimizer in (ours, theirs):
            train(optimizer, range(t, t + 1))
        assert_same_state(ours, theirs, where=f"after update {t}")


@needs_fma
@pytest.mark.parametrize("case", SCHEDULED)
@pytest.mark.parametrize("name", RULES)
def test_schedules_have_the_bits_of_the_oracle(name: str, case: str) -> None:
    make, update, own = RULES[name]
    options = {"weight_decay": 0, "betas": (0.9, 0.99), **SCHEDULED[case]}
    params = [p for p in parameters() if p.numel() > 0]
    ours, oracle = make(params, **options), Oracle(update, params, Hyper(**own))
    for t in range(20):
        set_gradients(params, t)
        oracle.hyper = dataclasses.replace(oracle.hyper, **options_at(options, t))
        oracle.step([p.grad for p in params])
        ours.step()
        assert_follows(ours, oracle, f"after update {t}")


@pytest.mark.parametrize("name", RULES)
def test_what_stands_in_the_groups(name: str) -> None:
    optimizer = RULES[name][0](few(), lr=WARM, betas=(RISING, 0.99))
    group = optimizer.param_groups[0]
    assert {key: group[key] for key in group if key.endswith("_schedule")} == {
        "lr_schedule": WARM,
        "beta1_schedule": RISING,
        "beta2_schedule": None,
        "weight_decay_schedule": None,
        "ema_decay_schedule": None,
    }
    for t in range(12):
        assert (group["lr"], group["betas"]) == (WARM(t), (RISING(t), 0.99))
        assert isinstance(group["betas"], tuple)
        train(optimizer, range(t, t + 1))
    assert "beta1" not in group, "the tuple is the one place of its parts"


@pytest.mark.parametrize("name", PAIRS)
def test_the_groups_keep_torch_s_entries(name: str) -> None:
    ours, theirs = (make(few(), lr=0.1).param_groups[0] for make in PAIRS[name])
    assert {key: ours[key] for key in theirs if key not in ("params", "foreach", "fused")} == {
        key: value for key, value in theirs.items() if key not in ("params", "foreach", "fused")
    }


def test_groups_with_their_own_betas() -> None:
    own: list[dict[str, Any]] = [
        {},
        {"betas": (0.5, 0.6)},
        {"betas": (0.5, FALLING)},
        {"beta1_schedule": FALLING},
        {"beta1_schedule": None},
    ]
    params = few() + few()
    optimizer = fastlr.AdamW([{"params": [p], **o} for p, o in zip(params, own, strict=False)], betas=(RISING, 0.99))
    for t in range(10):
        expected = [(RISING(t), 0.99), (0.5, 0.6), (0.5, FALLING(t)), (FALLING(t), 0.99), (RISING(0), 0.99)]
        assert [group["betas"] for group in optimizer.param_groups] == expected
        train(optimizer, range(t, t + 1))


def test_set_schedule_of_a_beta() -> None:
    optimizer = fastlr.AdamW(few(), lr=0.1, betas=(RISING, 0.99))
    train(optimizer, range(3))
    optimizer.set_schedule(beta1=0.25, beta2=FALLING)
    assert optimizer.param_groups[0]["betas"] == (0.25, FALLING(3))
    train(optimizer, range(3, 5))
    assert optimizer.param_groups[0]["betas"] == (0.25, FALLING(5))
    before = dict(optimizer.param_groups[0])
    for name, value in (("beta1", 1.0), ("beta2", schedules.Linear(0.9, 1.0, 5)), ("beta1", -0.1)):
        with pytest.raises(ValueError, match="Invalid beta parameter"):
            optimizer.set_schedule(**{name: value})
        assert optimizer.param_groups[0] == before
    with pytest.raises(TypeError, match="beta1"):
        optimizer.set_schedule(betas=(0.9, 0.99))


WRITES: dict[str, Callable[[dict[str, Any]], None]] = {
    "lr": lambda group: group.update(lr=0.7),
    "betas": lambda group: group.update(betas=(0.3, group["betas"][1])),
    "weight_decay": lambda group: group.update(weight_decay=0.7),
}


@needs_fma
@pytest.mark.parametrize("written", WRITES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_written_value_is_used_and_holds_the_group_s_clock(name: str, written: str) -> None:
    options: dict[str, Any] = {"lr": WARM, "betas": (RISING, 0.99), "weight_decay": DECAY}
    make, standard = PAIRS[name]
    ours, theirs = make(few(), **options), standard(few(), **options_at(options, 0))
    group = ours.param_groups[0]
    clocks = [0, 1, 2, 2, 2, 2, 3, 4]
    for step, t in enumerate(clocks):
        theirs.param_groups[0].update(options_at(options, t))
        group.update(options_at(options, t))
        held = 2 <= step < 5
        for optimizer in (ours, theirs) if held else ():
            WRITES[written](optimizer.param_groups[0])
        with pytest.warns(UserWarning, match="set_schedule") if step == 2 else warnings.catch_warnings():
            train(ours, range(step, step + 1))
        train(theirs, range(step, step + 1))
        assert_same_state(ours, theirs, where=f"after update {step}")
    assert (group["held_steps"], ours.step_count) == (3, len(clocks))


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "exponential": lambda optimizer: torch_schedulers.ExponentialLR(optimizer, 0.9),
    "one cycle, and the first beta with it": lambda optimizer: torch_schedulers.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=30
    ),
    "cyclic, and the first beta with it": lambda optimizer: torch_schedulers.CyclicLR(
        optimizer, base_lr=0.01, max_lr=0.1, step_size_up=4
    ),
}


@needs_fma
@pytest.mark.parametrize("case", SCHEDULERS)
@pytest.mark.parametrize("name", PAIRS)
def test_torch_s_schedulers_write_into_the_groups(name: str, case: str) -> None:
    sides, used = [], []
    for make in PAIRS[name]:
        optimizer = make(few(), lr=0.1)
        scheduler = SCHEDULERS[case](optimizer)
        for step in range(15):
            used.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"]))
            train(optimizer, range(step, step + 1))
            scheduler.step()
        sides.append(optimizer)
    assert used[:15] == used[15:]
    assert len(set(used)) >= 5
    assert_same_state(*sides)


@needs_fma
def test_a_caller_writes_the_rate_before_every_step() -> None:
    """As trainers with schedules of their own do; without a schedule here nothing is held and nothing is said."""
    sides = [make(few(), lr=0.5) for make in PAIRS["AdamW"]]
    for step in range(8):
        for optimizer in sides:
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            train(optimizer, range(step, step + 1))
    assert_same_state(*sides)
    assert sides[0].param_groups[0]["held_steps"] == 0


def test_the_core_s_updates_and_those_of_torch_s_operators_follow_alike() -> None:
    """Of two equal parameters one has gaps between its elements."""
    dense, gaps = torch.linspace(-1, 1, 7), torch.linspace(-1, 1, 7).repeat_interleave(2)[::2]
    for make, *_ in RULES.values():
        optimizer = make([dense, gaps], lr=WARM, betas=(RISING, FALLING), weight_decay=DECAY)
        for step in range(12):
            dense.grad = gaps.grad = torch.linspace(1, step, 7)
            optimizer.step()
        torch.testing.assert_close(dense, gaps, rtol=1e-6, atol=1e-7)
        assert len(params_of(optimizer)) == 2
