"""fastlr.from_torch over transformers' lambdas, and over what looks like timm's schedulers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fastlr.convert import from_torch

STEPS = {"num_warmup_steps": 8, "num_training_steps": 60}
VECTORS = json.loads((Path(__file__).parent / "data" / "compat_vectors.json").read_text())["cases"]
TIMM = [case for case in VECTORS if case["library"] == "timm"]

NAMED: list[tuple[str, dict[str, Any]]] = [
    ("get_constant_schedule", {}),
    ("get_constant_schedule_with_warmup", {"num_warmup_steps": 8}),
    ("get_linear_schedule_with_warmup", STEPS),
    ("get_cosine_schedule_with_warmup", {**STEPS, "num_cycles": 1.3}),
    ("get_cosine_with_hard_restarts_schedule_with_warmup", {**STEPS, "num_cycles": 3}),
    ("get_polynomial_decay_schedule_with_warmup", {**STEPS, "lr_end": 0.001, "power": 2.0}),
    ("get_inverse_sqrt_schedule", {"num_warmup_steps": 8}),
    ("get_cosine_with_min_lr_schedule_with_warmup", {**STEPS, "min_lr": 0.003}),
    ("get_cosine_with_min_lr_schedule_with_warmup_lr_rate", {**STEPS, "min_lr_rate": 0.1, "warmup_lr_rate": 0.2}),
    ("get_wsd_schedule", {**STEPS, "num_decay_steps": 20, "decay_type": "1-sqrt", "min_lr_ratio": 0.1}),
]


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("position", [0, 3, 30, 70])
@pytest.mark.parametrize("case", range(len(NAMED)))
def test_transformers(case: int, position: int) -> None:
    optimization = pytest.importorskip("transformers.optimization", reason="needs the extra 'integrations'")
    name, kwargs = NAMED[case]
    groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr": 0.02}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    scheduler = getattr(optimization, name)(optimizer, **kwargs)
    for _ in range(position):
        scheduler.step()
    schedules = from_torch(scheduler)
    for t in range(40):
        assert [s(t) for s in schedules] == pytest.approx(
            [g["lr"] for g in optimizer.param_groups], rel=1e-12, abs=1e-16
        )
        scheduler.step()


def timm_like(case: dict[str, Any], t: int, **changes: Any) -> Any:
    """An object with the attributes of timm's scheduler, after step_update(t)."""
    defaults: dict[str, Any] = {
        "lr_min": 0.0, "cycle_mul": 1.0, "cycle_decay": 1.0, "cycle_limit": 1, "k_decay": 1.0, "power": 0.5,
        "warmup_t": 0, "warmup_lr_init": 0.0, "lb": -7.0, "ub": 3.0, "decay_rate": 1.0, "stable_fn": "constant",
        "stable_timescale": None, "stable_power": 0.5, "decay_fn": "1-sqrt", "decay_power": 0.5, "decay_ratio": 0.1,
        "warmup_prefix": case["name"] in ("StepLRScheduler", "MultiStepLRScheduler"), "noise_range_t": None,
        "t_in_epochs": False,
    }  # fmt: skip
    group = {"params": [], "lr": case["lr"][t], "initial_lr": case["base_lr"]}
    attributes = {
        **defaults,
        **case["kwargs"],
        "base_values": [case["base_lr"]],
        "optimizer": SimpleNamespace(param_groups=[group], defaults={}),
        **changes,
    }
    scheduler = type(case["name"], (), {"__module__": f"timm.scheduler.{case['name'].lower()}"})()
    vars(scheduler).update(attributes)
    return scheduler


@pytest.mark.parametrize("index", range(len(TIMM)))
def test_timm(index: int) -> None:
    case = TIMM[index]
    for updates in (None, 1, 30):
        start = updates or 0
        (s,) = from_torch(timm_like(case, start), updates=updates)
        np.testing.assert_allclose(
            s(np.arange(len(case["lr"]) - start)), case["lr"][start:], rtol=1e-12, atol=1e-15 * case["base_lr"]
        )


def test_timm_scales_the_rate_of_a_group() -> None:
    scheduler = timm_like(TIMM[0], 0)
    scheduler.optimizer.param_groups[0].update(lr_scale=0.5, lr=TIMM[0]["lr"][0] * 0.5)
    (s,) = from_torch(scheduler)
    np.testing.assert_allclose(s(np.arange(90)), np.array(TIMM[0]["lr"]) * 0.5, rtol=1e-12)


def test_timm_milestones_are_one_step_early() -> None:
    case = {"name": "MultiStepLRScheduler", "base_lr": 1.0, "kwargs": {"decay_t": [10], "decay_rate": 0.1}, "lr": [1.0]}
    (s,) = from_torch(timm_like(case, 0))
    assert (s(8), s(9)) == (1.0, 0.1)


def test_timm_that_is_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="The group's rate is not what its CosineLRScheduler says"):
        from_torch(timm_like(TIMM[0], 40))
    with pytest.raises(ValueError, match=r"Noise has no formula: noise_range_t=5\. Give steps"):
        from_torch(timm_like(TIMM[0], 0, noise_range_t=5))
    plateau = {**TIMM[0], "name": "PlateauLRScheduler"}
    with pytest.raises(ValueError, match=r"PlateauLRScheduler follows a metric: .*Use fastlr\.ReduceOnPlateau\."):
        from_torch(timm_like(plateau, 0), steps=9)
