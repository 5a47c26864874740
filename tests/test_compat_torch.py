"""fastlr.compat.torch against torch's own schedulers, and what it gives where torch goes astray."""

from typing import Any

import numpy as np
import pytest
from compat_peers import assert_follows, torch_values
from hypothesis import given
from hypothesis import strategies as st

from fastlr import compat
from fastlr.schedules import Schedule


def ours(name: str, kwargs: dict[str, Any], base_lr: float = 0.1) -> Schedule:
    function = getattr(compat.torch, name)
    return function(**kwargs) if name in ("CyclicLR", "OneCycleLR") else function(base_lr, **kwargs)


def halves(t: float) -> float:
    return 0.5 ** (t / 7)


# (scheduler, arguments, updates to compare)
CASES: list[tuple[str, dict[str, Any], int]] = [
    *(("StepLR", {"step_size": size, "gamma": gamma}, 90) for size in (1, 7, 100) for gamma in (0.3, 1.0, 1.02, 0)),
    ("StepLR", {"step_size": 4}, 50),
    *(("MultiStepLR", {"milestones": m}, 40) for m in ([3, 9, 9, 20], [20, 5], [0, 0, 6], [0], [])),
    ("MultiStepLR", {"milestones": [4, 8], "gamma": 0.0}, 12),
    ("ConstantLR", {}, 12),
    *(("ConstantLR", {"factor": f, "total_iters": n}, 20) for f in (0.01, 0.7, 1.0) for n in (1, 13, 50)),
    ("LinearLR", {}, 12),
    *(
        ("LinearLR", {"start_factor": a, "end_factor": b, "total_iters": n}, 60)
        for a in (1e-3, 0.4, 1.0)
        for b in (0.0, 0.2, 1.0)
        for n in (1, 2, 41)
    ),
    *(("ExponentialLR", {"gamma": gamma}, 60) for gamma in (0.0, 0.5, 0.97, 1.0, 1.01)),
    ("PolynomialLR", {}, 10),
    *(("PolynomialLR", {"total_iters": n, "power": p}, 60) for n in (0, 1, 2, 50) for p in (0.5, 1.0, 3.0, 0)),
    *(
        ("CosineAnnealingLR", {"T_max": n, "eta_min": e}, 4 * int(n) + 7)
        for n in (1, 2, 3, 10, 31, 7.5)
        for e in (0.0, 0.02, 0.3)
    ),
    *(
        ("CosineAnnealingWarmRestarts", {"T_0": n, "T_mult": m, "eta_min": e}, 90)
        for n in (1, 7, 20)
        for m in (1, 2, 3)
        for e in (0.0, 0.02)
    ),
    *(
        (
            "CyclicLR",
            {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": up, "step_size_down": down, "mode": mode, "gamma": 0.97},
            70,
        )
        for up in (1, 6)
        for down in (None, 1, 11)
        for mode in ("triangular", "triangular2", "exp_range")
    ),
    *(
        (
            "CyclicLR",
            {"base_lr": 0.01, "max_lr": 0.5, "step_size_up": 5, "scale_fn": halves, "scale_mode": mode, "steps": 60},
            60,
        )
        for mode in ("cycle", "iterations")
    ),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 57}, 57),
    ("OneCycleLR", {"max_lr": 0.3, "epochs": 7, "steps_per_epoch": 9, "pct_start": 0.45, "div_factor": 7.0}, 63),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 40, "three_phase": True, "anneal_strategy": "linear"}, 40),
    ("LambdaLR", {"lr_lambda": lambda t: 1.0 / (1 + t), "steps": 30}, 30),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 1.0 - 1.0 / (2 + t), "steps": 30}, 30),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_values(case: int) -> None:
    name, kwargs, steps = CASES[case]
    s = ours(name, kwargs)
    assert_follows(s, torch_values(name, kwargs, steps), base=max(0.1, kwargs.get("max_lr", 0.0)))
    if name in ("CyclicLR", "OneCycleLR"):
        assert_follows(s.momentum, torch_values(name, kwargs, steps, key="momentum"), base=1.0)


FACTORS = st.floats(1e-3, 1.0)


@given(base=st.floats(1e-4, 10.0), start=FACTORS, end=FACTORS, warm=st.integers(1, 20), gamma=st.floats(0.8, 1.0))
def test_warmup_then_exponential(base: float, start: float, end: float, warm: int, gamma: float) -> None:
    kwargs: dict[str, Any] = {
        "schedulers": [
            ["LinearLR", {"start_factor": start, "end_factor": end, "total_iters": warm}],
            ["ExponentialLR", {"gamma": gamma}],
        ],
        "milestones": [warm],
    }
    assert_follows(ours("SequentialLR", kwargs, base), torch_values("SequentialLR", kwargs, 40, base), base)


@given(steps=st.integers(2, 60), share=st.floats(0.05, 0.95), peak=st.floats(1e-3, 10.0), div=st.floats(1.0, 100.0))
def test_one_cycle(steps: int, share: float, peak: float, div: float) -> None:
    if share * steps == 1.0:  # torch divides by 0
        return
    kwargs = {"max_lr": peak, "total_steps": steps, "pct_start": share, "div_factor": div}
    assert_follows(ours("OneCycleLR", kwargs), torch_values("OneCycleLR", kwargs, steps), peak)


def test_constant_with_factor_0_ends() -> None:
    with pytest.raises(ZeroDivisionError):
        torch_values("ConstantLR", {"factor": 0.0, "total_iters": 3}, 5)
    s = compat.torch.ConstantLR(0.1, factor=0.0, total_iters=3)
    assert [s(t) for t in (0, 2, 3, 9)] == [0.0, 0.0, 0.1, 0.1]


def test_linear_without_steps_is_at_its_end() -> None:
    assert torch_values("LinearLR", {"total_iters": 0}, 9)[-1] == pytest.approx(0.1 / 3)
    assert compat.torch.LinearLR(0.1, total_iters=0)(0) == 0.1
    assert compat.torch.ConstantLR(0.1, total_iters=0)(0) == 0.1


def test_one_cycle_holds_past_its_end() -> None:
    assert torch_values("OneCycleLR", {"max_lr": 1.0, "total_steps": 10}, 11)[-1] == pytest.approx(0.0495, rel=0.01)
    s = compat.torch.OneCycleLR(1.0, total_steps=10)
    assert s(9) == s(10) == s(1000) == pytest.approx(4e-6)


@pytest.mark.parametrize("pct_start", [0.1, 1.0])
def test_one_cycle_without_a_phase(pct_start: float) -> None:
    with pytest.raises(ZeroDivisionError):
        torch_values("OneCycleLR", {"max_lr": 1.0, "total_steps": 10, "pct_start": pct_start}, 11)
    values = compat.torch.OneCycleLR(1.0, total_steps=10, pct_start=pct_start)(np.arange(12))
    assert values.max() == 1.0
    assert np.isfinite(values).all()


def test_restarts_at_exact_powers() -> None:
    s = compat.torch.CosineAnnealingWarmRestarts(0.1, T_0=5, T_mult=3)
    borders = [5 * (3**i - 1) // 2 for i in range(1, 20)]
    assert 605 in borders
    assert s(np.array(borders)).tolist() == [0.1] * len(borders)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("StepLR", {"step_size": 0}, "step_size is out of range: 0. Use"),
    ("StepLR", {"step_size": 2.5}, "step_size is not an integer: 2.5. Pass"),
    ("MultiStepLR", {"milestones": [-3]}, "milestone is out of range: -3. Use"),
    ("ConstantLR", {"factor": 1.5}, "factor is out of range: 1.5. Use 0 to 1."),
    ("LinearLR", {"start_factor": 0.0}, "start_factor is not positive: 0.0. Use more than 0."),
    ("LinearLR", {"end_factor": -0.1}, "end_factor is out of range: -0.1. Use 0 to 1."),
    ("ExponentialLR", {"gamma": -0.5}, "gamma is not positive: -0.5. Use"),
    ("CosineAnnealingLR", {"T_max": 0}, "T_max is not positive: 0. Use more than 0."),
    ("CosineAnnealingLR", {"T_max": "10"}, "T_max is not a number: '10'. Pass"),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}, "T_0 is out of range: 0. Use"),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 0}, "T_mult is out of range: 0. Use"),
    ("OneCycleLR", {"max_lr": 1.0}, "No length: total_steps=None. Give it, or both epochs and steps_per_epoch."),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 9, "three_phase": True, "pct_start": 0.6},
        "pct_start leaves no room",
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "mode": "square"}, "mode is unknown: 'square'. Use"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "scale_fn": halves}, "A scale_fn has no formula: .*. Give steps"),
    ("LambdaLR", {"lr_lambda": 3.0, "steps": 5}, "lr_lambda is no function: 3.0. Pass"),
    ("LambdaLR", {"lr_lambda": lambda t: float("nan"), "steps": 5}, r"lr_lambda\(0\) is not finite: nan. Use"),
    ("LambdaLR", {"lr_lambda": halves, "steps": 0}, "steps is out of range: 0. Use"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    name, kwargs, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        ours(name, kwargs)
