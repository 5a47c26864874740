"""The decays of averaged weights in fastlr.compat, against their formulas in 50 digits and the libraries' counts."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from fastlr import compat
from fastlr.schedules import Constant, Schedule, parse

timm, ultralytics = compat.timm.ema_decay, compat.ultralytics.ema_decay
STEPS = [*range(130), 999, 1000, 1001, 31_607, 10**6, 10**9, 2**53]

# A value is a difference of two numbers up to 1: three roundings, and those of the numbers themselves.
BOUND = 2.0**-51

TIMM: list[dict[str, Any]] = [
    {},
    {"decay": 0.99},
    {"decay": 0.9, "update_after_step": 7},
    {"warmup": True},
    {"warmup": True, "decay": 0.99, "warmup_power": 0.75, "update_after_step": 100},
    {"warmup": True, "warmup_gamma": 17.3, "warmup_power": 1.0},
    {"warmup": True, "warmup_gamma": 0.3, "warmup_power": 2.5, "min_decay": 0.95, "decay": 0.97},
    {"warmup": True, "min_decay": 0.4, "update_after_step": 3},
    {"warmup": True, "decay": 0.5, "min_decay": 0.8},
    {"min_decay": 0.9999, "decay": 0.5},
    {"warmup": True, "decay": 1.0},
    {"decay": 0.0},
]
ULTRALYTICS: list[dict[str, Any]] = [{}, {"decay": 0.999, "tau": 10}, {"tau": 0.4}, {"decay": 1.0, "tau": 31_557.25}]


def timm_formula(kwargs: dict[str, Any], t: int) -> Any:
    """What ModelEmaV3 uses at the update with t before it, which its training script calls step t + 1."""
    step = max(0, (t + 1) - kwargs.get("update_after_step", 0) - 1)
    if step <= 0:
        return mpmath.mpf(0)
    decay = mpmath.mpf(kwargs.get("decay", 0.9999))
    if not kwargs.get("warmup"):
        return decay
    gamma, power = (mpmath.mpf(kwargs.get(f"warmup_{name}", d)) for name, d in (("gamma", 1), ("power", 2 / 3)))
    rising = 1 - (1 + step / gamma) ** -power
    return max(min(rising, decay), mpmath.mpf(kwargs.get("min_decay", 0.0)))


def ultralytics_formula(kwargs: dict[str, Any], t: int) -> Any:
    """What ModelEMA uses: its count goes up before its decay is taken."""
    decay, tau = mpmath.mpf(kwargs.get("decay", 0.9999)), mpmath.mpf(kwargs.get("tau", 2000))
    return decay * (1 - mpmath.exp(-(t + 1) / tau))


CASES: list[tuple[Callable[..., Schedule], Callable[[dict[str, Any], int], Any], dict[str, Any]]] = [
    *((timm, timm_formula, kwargs) for kwargs in TIMM),
    *((ultralytics, ultralytics_formula, kwargs) for kwargs in ULTRALYTICS),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_values(case: int) -> None:
    function, formula, kwargs = CASES[case]
    schedule = function(**kwargs)
    found = schedule(np.array(STEPS))
    with mpmath.workdps(50):
        expected = [formula(kwargs, t) for t in STEPS]
        assert max(abs(mpmath.mpf(a) - b) for a, b in zip(found.tolist(), expected, strict=True)) <= BOUND
    assert [schedule(t) for t in STEPS] == found.tolist()


@pytest.mark.parametrize("case", range(len(CASES)))
def test_an_optimizer_may_have_them_as_they_are(case: int) -> None:
    """Their lowest and highest values are known to lie in [0, 1], and they go through plain data and text."""
    function, _, kwargs = CASES[case]
    schedule = function(**kwargs)
    assert 0.0 <= schedule.minimum_value <= schedule.peak <= 1.0
    assert Schedule.from_json(schedule.to_json()) == schedule
    assert parse(repr(schedule))(np.arange(50)).tolist() == schedule(np.arange(50)).tolist()


def test_the_average_begins_as_a_copy_in_timm_only() -> None:
    assert [timm(0.9, update_after_step=2)(t) for t in range(5)] == [0.0, 0.0, 0.0, 0.9, 0.9]
    assert timm(0.9, warmup=True, min_decay=0.5)(0) == 0.0
    assert ultralytics()(0) > 0.0


def test_without_a_warmup_the_decay_is_exact() -> None:
    assert timm(0.9998, min_decay=0.5) == Constant(0.0, 1) >> Constant(0.9998)


BAD: list[tuple[Callable[..., Schedule], dict[str, Any], str]] = [
    (timm, {"decay": 1.1}, "decay is out of range: 1.1. Use"),
    (timm, {"decay": float("nan")}, "decay is not finite: nan. Use"),
    (timm, {"min_decay": -0.1}, "min_decay is out of range: -0.1. Use"),
    (timm, {"warmup_gamma": 0.0}, "warmup_gamma is not positive: 0.0. Use"),
    (timm, {"warmup_power": -1.0}, "warmup_power is not positive: -1.0. Use"),
    (timm, {"update_after_step": -1}, "update_after_step is out of range: -1. Use"),
    (timm, {"update_after_step": 1.5}, "update_after_step is not an integer: 1.5. Pass"),
    (ultralytics, {"decay": -0.5}, "decay is out of range: -0.5. Use"),
    (ultralytics, {"tau": 0}, "tau is not positive: 0. Use"),
    (ultralytics, {"tau": "2000"}, "tau is not a number: '2000'. Pass"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    function, kwargs, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        function(**kwargs)
