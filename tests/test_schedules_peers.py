"""The same values as torch's schedulers over their valid range, and as recorded ones of other libraries."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from fastlr.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    Step,
)

RTOL = 1e-12
CASES = json.loads((Path(__file__).parent / "data" / "library_vectors.json").read_text())["cases"]
VECTORS = {case["name"]: case["lr"] for case in CASES}


def torch_values(make: Callable[[torch.optim.Optimizer], Any], steps: int, name: str = "lr") -> list[float]:
    """What torch's scheduler puts into the group for the first updates, base rate 0.1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    values = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scheduler is stepped without the optimizer
        for t in range(steps):
            values.append(float(optimizer.param_groups[0][name]))
            if t < steps - 1:
                scheduler.step()
    return values


# (torch scheduler, its arguments, the schedule for base rate 0.1, updates in its valid range)
TORCH: list[tuple[type, dict[str, Any], Schedule, int]] = [
    (lr_scheduler.StepLR, {"step_size": 30, "gamma": 0.1}, Step(0.1, 30, 0.1), 200),
    (lr_scheduler.StepLR, {"step_size": 1, "gamma": 1.01}, Step(0.1, 1, 1.01), 200),
    (lr_scheduler.MultiStepLR, {"milestones": [5, 50, 50, 130]}, MultiStep(0.1, (5, 50, 50, 130), 0.1), 200),
    (lr_scheduler.ConstantLR, {"factor": 0.3, "total_iters": 7}, Constant(0.1 * 0.3, 7) >> Constant(0.1), 20),
    (lr_scheduler.LinearLR, {"start_factor": 0.2, "total_iters": 60}, Linear(0.1 * 0.2, 0.1, 60), 100),
    (lr_scheduler.LinearLR, {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 31}, Linear(0.1, 0.0, 31), 32),
    (lr_scheduler.ExponentialLR, {"gamma": 0.99}, Exponential(0.1, 0.99), 400),
    (lr_scheduler.CosineAnnealingLR, {"T_max": 150, "eta_min": 0.01}, Cosine(0.1, 0.01, 150), 151),
    (lr_scheduler.PolynomialLR, {"total_iters": 100, "power": 2.0}, Polynomial(0.1, 0.0, 100, 2.0), 130),
    (lr_scheduler.PolynomialLR, {"total_iters": 31, "power": 0.7}, Polynomial(0.1, 0.0, 31, 0.7), 40),
]


@pytest.mark.parametrize("case", range(len(TORCH)))
def test_torch_scheduler(case: int) -> None:
    scheduler, kwargs, s, steps = TORCH[case]
    expected = torch_values(lambda optimizer: scheduler(optimizer, **kwargs), steps)
    # torch multiplies step by step and leaves a residue where the exact value is 0 or small.
    np.testing.assert_allclose(s(np.arange(steps)), expected, rtol=RTOL, atol=1e-14)


ONE_CYCLE = [
    (total, pct, three)
    for total in (2, 3, 7, 10, 31, 100, 257, 401)
    for pct in (0.0, 0.05, 0.1, 0.25, 0.3, 0.37, 0.5, 0.9, 0.999)
    for three in (False, True)
    if pct * total != 1 and not (three and (pct > 0.5 or 2 * pct * total == 2))  # torch divides by 0, or goes astray
]


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("total", "pct", "three"), ONE_CYCLE)
def test_torch_one_cycle(total: int, pct: float, three: bool, strategy: str) -> None:
    options: dict[str, Any] = {"pct_start": pct, "three_phase": three, "anneal_strategy": strategy, "div_factor": 10.0}
    s = OneCycle(0.3, total, **options)

    def make(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=total, **options)

    steps = np.arange(total)
    # Near a zero of 1 + cos torch itself is only good to 1e-16 of the peak.
    np.testing.assert_allclose(s(steps), torch_values(make, total), rtol=RTOL, atol=3e-16)
    np.testing.assert_allclose(s.momentum(steps), torch_values(make, total, "momentum"), rtol=RTOL)
    assert s(total) == s(10 * total) == s(total - 1)


RECORDED: dict[str, Schedule] = {
    "warmup_cosine": Linear(0.001, 0.1, 50) >> Cosine(0.1, 0.0, 350),
    "warmup_step": Constant(0.01, 20) >> Step(0.1, 80, 0.5),
    "three_pieces": Linear(0.01, 0.1, 20) >> Constant(0.1, 180) >> Exponential(0.1, 0.98),
    "hf_linear": Linear(0.0, 0.1, 40) >> Linear(0.1, 0.0, 360),
    "hf_cosine": Linear(0.0, 0.1, 40) >> Cosine(0.1, 0.0, 360),
    "hf_polynomial": Linear(0.0, 0.1, 40) >> Polynomial(0.1, 1e-7, 360, 1.0),
    "hf_constant": Linear(0.0, 0.1, 40),
    "hf_cosine_min": Linear(0.0, 0.1, 40) >> Cosine(0.1, 0.01, 360),
    "hf_wsd": Linear(0.0, 0.1, 40) >> Constant(0.1, 260) >> Cosine(0.1, 0.0, 100),
    "optax_cosine": Cosine(0.1, 0.001, 300),
    "optax_polynomial": Polynomial(0.1, 0.001, 200, 2.0).shift(10),
    "optax_piecewise": MultiStep(0.1, (100,), 0.1) * MultiStep(1.0, (250,), 0.5),
    "optax_warmup_cosine": Linear(0.0, 0.1, 40) >> Cosine(0.1, 0.0, 260),
    "timm_cosine": Linear(1e-6, 0.1, 20) >> Cosine(0.1, 1e-5, 300).shift(-20),
    "timm_step": Linear(1e-4, 0.1, 10) >> Step(0.1, 60, 0.5),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded(name: str) -> None:
    values = RECORDED[name](np.arange(len(VECTORS[name])))
    np.testing.assert_allclose(values, VECTORS[name], rtol=RTOL, atol=1e-16)
