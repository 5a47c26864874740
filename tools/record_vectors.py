"""Record what optax, timm and ultralytics' formulas give, for tests that run without these libraries.

usage: record_vectors.py FILE

Needs optax 0.2.8, timm 1.0.31 and torch; optax computes in float64 here. ultralytics is not imported: its trainer
sets rates inside its training loop, whose lines are repeated below with NumPy's own interp, as is its averages' decay.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
import types
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 90

OPTAX: list[tuple[str, dict[str, Any]]] = [
    ("constant_schedule", {"value": 0.3}),
    ("linear_schedule", {"init_value": 0.01, "end_value": 0.7, "transition_steps": 37}),
    ("linear_schedule", {"init_value": 0.7, "end_value": 0.0, "transition_steps": 50, "transition_begin": 7}),
    ("linear_schedule", {"init_value": 0.7, "end_value": 0.1, "transition_steps": 0}),
    ("linear_schedule", {"init_value": 0.7, "end_value": 0.1, "transition_steps": 9, "transition_begin": -3}),
    ("polynomial_schedule", {"init_value": 0.5, "end_value": 0.02, "power": 0.7, "transition_steps": 61}),
    (
        "polynomial_schedule",
        {"init_value": 0.0, "end_value": 0.4, "power": 3, "transition_steps": 40, "transition_begin": 11},
    ),
    ("piecewise_constant_schedule", {"init_value": 0.2}),
    ("piecewise_constant_schedule", {"init_value": 0.2, "boundaries_and_scales": {"40": 0.5, "11": 3.0, "70": 0.0}}),
    ("piecewise_interpolate_schedule", {"interpolate_type": "linear", "init_value": 0.2}),
    (
        "piecewise_interpolate_schedule",
        {"interpolate_type": "linear", "init_value": 0.2, "boundaries_and_scales": {"30": 0.1, "10": 4.0, "55": 2.0}},
    ),
    (
        "piecewise_interpolate_schedule",
        {"interpolate_type": "cosine", "init_value": 0.2, "boundaries_and_scales": {"0": 2.0, "33": 0.1, "60": 0.0}},
    ),
    ("exponential_decay", {"init_value": 0.4, "transition_steps": 10, "decay_rate": 0.8}),
    ("exponential_decay", {"init_value": 0.4, "transition_steps": 13, "decay_rate": 0.6, "staircase": True}),
    (
        "exponential_decay",
        {"init_value": 0.4, "transition_steps": 13, "decay_rate": 0.6, "staircase": True, "transition_begin": 5},
    ),
    ("exponential_decay", {"init_value": 0.4, "transition_steps": 7, "decay_rate": 0.5, "end_value": 0.05}),
    ("exponential_decay", {"init_value": 0.01, "transition_steps": 9, "decay_rate": 1.7, "end_value": 0.3}),
    ("exponential_decay", {"init_value": 0.4, "transition_steps": 7, "decay_rate": 0.5, "end_value": 0.9}),
    ("exponential_decay", {"init_value": 0.4, "transition_steps": 0, "decay_rate": 0.5}),
    ("exponential_decay", {"init_value": 0.4, "transition_steps": 5, "decay_rate": 0}),
    ("cosine_decay_schedule", {"init_value": 0.6, "decay_steps": 55}),
    ("cosine_decay_schedule", {"init_value": 0.6, "decay_steps": 55, "alpha": 0.1, "exponent": 2.5}),
    ("cosine_decay_schedule", {"init_value": 0.6, "decay_steps": 33, "alpha": 0.3, "exponent": 0.5}),
    ("linear_onecycle_schedule", {"transition_steps": 80, "peak_value": 0.9}),
    (
        "linear_onecycle_schedule",
        {"transition_steps": 61, "peak_value": 0.9, "pct_start": 0.25, "pct_final": 0.6, "div_factor": 10.0},
    ),
    ("cosine_onecycle_schedule", {"transition_steps": 80, "peak_value": 0.9, "final_div_factor": 100.0}),
    ("cosine_onecycle_schedule", {"transition_steps": 73, "peak_value": 0.9, "pct_start": 0.5, "div_factor": 3.0}),
    ("warmup_constant_schedule", {"init_value": 0.01, "peak_value": 0.5, "warmup_steps": 30}),
    (
        "warmup_cosine_decay_schedule",
        {"init_value": 0.0, "peak_value": 0.5, "warmup_steps": 15, "decay_steps": 80, "end_value": 0.01},
    ),
    (
        "warmup_cosine_decay_schedule",
        {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 15, "decay_steps": 60, "exponent": 1.5},
    ),
    (
        "warmup_cosine_decay_schedule",
        {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 0, "decay_steps": 60, "end_value": 0.2},
    ),
    (
        "warmup_exponential_decay_schedule",
        {
            "init_value": 0.0,
            "peak_value": 0.5,
            "warmup_steps": 15,
            "transition_steps": 11,
            "decay_rate": 0.6,
            "transition_begin": 4,
            "staircase": True,
            "end_value": 0.1,
        },
    ),
    (
        "sgdr_schedule",
        {
            "cosine_kwargs": [
                {"init_value": 0.0, "peak_value": 0.5, "warmup_steps": 5, "decay_steps": 30, "end_value": 0.01},
                {"init_value": 0.01, "peak_value": 0.3, "warmup_steps": 4, "decay_steps": 45, "end_value": 0.0},
            ]
        },
    ),
]

COSINE = {"t_initial": 20, "lr_min": 1e-3}
TIMM: list[tuple[str, dict[str, Any]]] = [
    ("CosineLRScheduler", {"t_initial": 70, "lr_min": 0.02}),
    ("CosineLRScheduler", {"t_initial": 70, "k_decay": 1.7}),
    ("CosineLRScheduler", {"t_initial": 50, "warmup_t": 9, "warmup_lr_init": 1e-4, "warmup_prefix": True}),
    ("CosineLRScheduler", {"t_initial": 50, "warmup_t": 9, "warmup_lr_init": 1e-4, "warmup_prefix": False}),
    ("CosineLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_decay": 0.6, "k_decay": 0.8}),
    ("CosineLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_decay": 0.6, "cycle_mul": 1.37}),
    ("CosineLRScheduler", {**COSINE, "cycle_limit": 4, "cycle_mul": 0.63, "cycle_decay": 0.9}),
    ("CosineLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_mul": 1.37, "k_decay": 1.4, "cycle_decay": 0.5}),
    ("CosineLRScheduler", {**COSINE, "cycle_limit": 2, "warmup_t": 27, "warmup_lr_init": 0.3}),
    ("CosineLRScheduler", {**COSINE, "cycle_limit": 0}),
    ("TanhLRScheduler", {"t_initial": 70}),
    ("TanhLRScheduler", {"t_initial": 60, "lb": -4.0, "ub": 2.5, "lr_min": 0.01, "warmup_t": 8}),
    ("TanhLRScheduler", {"t_initial": 60, "lr_min": 0.01, "warmup_t": 8, "warmup_prefix": True}),
    ("TanhLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_decay": 0.6}),
    ("TanhLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_decay": 0.6, "cycle_mul": 1.37}),
    ("StepLRScheduler", {"decay_t": 13, "decay_rate": 0.7}),
    ("StepLRScheduler", {"decay_t": 2.4, "decay_rate": 0.97, "warmup_t": 5, "warmup_lr_init": 1e-6}),
    ("StepLRScheduler", {"decay_t": 13, "decay_rate": 0.7, "warmup_t": 10, "warmup_prefix": False}),
    ("PolyLRScheduler", {"t_initial": 70, "power": 2.0, "lr_min": 0.01}),
    ("PolyLRScheduler", {"t_initial": 70, "power": 0.9, "k_decay": 1.5}),
    ("PolyLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_decay": 0.6, "warmup_t": 4, "warmup_prefix": True}),
    ("PolyLRScheduler", {**COSINE, "cycle_limit": 3, "cycle_mul": 1.37, "power": 1.3, "k_decay": 0.9}),
    ("WSDLRScheduler", {"t_initial": 70, "decay_t": 30, "warmup_t": 7, "warmup_lr_init": 0.01}),
    ("WSDLRScheduler", {"t_initial": 70, "decay_t": 30, "decay_fn": "linear", "lr_min": 0.02}),
    ("WSDLRScheduler", {"t_initial": 60, "decay_t": 60, "decay_fn": "cosine", "lr_min": 0.02}),
    ("WSDLRScheduler", {"t_initial": 60, "decay_t": 25, "decay_fn": "power", "decay_power": 2.0}),
    ("WSDLRScheduler", {"t_initial": 60, "decay_t": 25, "decay_fn": "exp", "decay_ratio": 0.05, "lr_min": 0.02}),
    ("WSDLRScheduler", {"t_initial": 70, "decay_t": 20, "stable_fn": "rsqrt", "warmup_t": 9, "lr_min": 0.02}),
    (
        "WSDLRScheduler",
        {"t_initial": 80, "decay_t": 20, "stable_fn": "power", "stable_power": 1.5, "stable_timescale": 6.5},
    ),
    ("WSDLRScheduler", {"t_initial": 80, "decay_t": 20, "stable_fn": "rsqrt", "stable_timescale": 4, "lr_min": 0.2}),
]

ULTRALYTICS: list[dict[str, Any]] = [
    {"lr0": 0.01, "lrf": 0.01, "epochs": 9, "steps_per_epoch": 10},
    {"lr0": 0.02, "lrf": 0.1, "epochs": 9, "steps_per_epoch": 10, "cos_lr": True},
    {"lr0": 0.01, "lrf": 0.2, "epochs": 30, "steps_per_epoch": 3, "warmup_epochs": 2.5, "bias": True},
    {"lr0": 0.01, "lrf": 0.2, "epochs": 2, "steps_per_epoch": 31, "cos_lr": True, "bias": True},
    {"lr0": 0.01, "lrf": 0.2, "epochs": 8, "steps_per_epoch": 10, "warmup_epochs": 0.0},
    {"lr0": 0.1, "lrf": 0.5, "epochs": 6, "steps_per_epoch": 14, "warmup_momentum": 0.5, "momentum": 0.9},
]

TIMM_AVERAGES: list[dict[str, Any]] = [
    {},
    {"decay": 0.99, "warmup": True, "update_after_step": 5},
    {"warmup": True, "warmup_gamma": 3.5, "warmup_power": 0.75, "min_decay": 0.3},
]

ULTRALYTICS_AVERAGES: list[dict[str, Any]] = [{}, {"decay": 0.999, "tau": 31}]


def optax_values(name: str, kwargs: dict[str, Any]) -> list[float]:
    """The schedule's values in float64. JSON has no ints as keys."""
    import jax  # type: ignore[import-not-found]
    import optax  # type: ignore[import-not-found]

    jax.config.update("jax_enable_x64", True)
    given = dict(kwargs)
    if "boundaries_and_scales" in given:
        given["boundaries_and_scales"] = {int(key): value for key, value in given["boundaries_and_scales"].items()}
    schedule = getattr(optax.schedules, name)(**given)
    return [float(schedule(jax.numpy.asarray(t, dtype=jax.numpy.int64))) for t in range(STEPS)]


def timm_part(name: str) -> types.ModuleType:
    """A module of timm's, which needs none of what the packages above it import."""
    *packages, _ = f"timm.{name}".split(".")
    for package in (".".join(packages[: i + 1]) for i in range(len(packages))):
        if package not in sys.modules:
            found = importlib.util.find_spec(package)
            sys.modules[package] = types.ModuleType(package)
            sys.modules[package].__path__ = list(found.submodule_search_locations or []) if found else []
    return importlib.import_module(f"timm.{name}")


def timm_decays(**kwargs: Any) -> list[float]:
    """Of the averages after the first updates, which timm's training script counts from 1."""
    import torch

    given = {"use_warmup" if name == "warmup" else name: value for name, value in kwargs.items()}
    averages = timm_part("utils.model_ema").ModelEmaV3(torch.nn.Linear(1, 1), **given)
    return [float(averages.get_decay(t + 1)) for t in range(STEPS)]


def timm_values(name: str, kwargs: dict[str, Any], base_lr: float) -> list[float]:
    """The rates of the first updates, from step_update()."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=base_lr)
    scheduler = getattr(timm_part("scheduler"), name)(optimizer, t_in_epochs=False, **kwargs)
    values = []
    for t in range(STEPS):
        try:
            scheduler.step_update(t)
        except ValueError:  # past shrinking cycles timm takes the logarithm of a negative number
            break
        values.append(float(optimizer.param_groups[0]["lr"]))
    return values


def ultralytics_loop(
    lr0: float,
    lrf: float,
    epochs: int,
    steps_per_epoch: int,
    cos_lr: bool = False,
    warmup_epochs: float = 3.0,
    warmup_bias_lr: float = 0.1,
    warmup_momentum: float = 0.8,
    momentum: float = 0.937,
    bias: bool = False,
) -> tuple[list[float], list[float]]:
    """Rate and momentum of every iteration, as the trainer's loop over epochs and batches sets them."""
    factor: Callable[[int], float]
    if cos_lr:

        def factor(x: int) -> float:
            return max((1 - math.cos(x * math.pi / epochs)) / 2, 0) * (lrf - 1) + 1
    else:

        def factor(x: int) -> float:
            return max(1 - x / epochs, 0) * (1.0 - lrf) + lrf

    capped = min(warmup_epochs, max(epochs - 1, 0))
    last = round(capped * steps_per_epoch) if capped > 0 else 0
    rates, momenta = [], []
    current = momentum
    for epoch in range(epochs):
        rate = lr0 * factor(epoch)
        for batch in range(steps_per_epoch):
            count = batch + steps_per_epoch * epoch
            if last and count <= last:
                rate = float(np.interp(count, [0, last], [warmup_bias_lr if bias else 0.0, lr0 * factor(epoch)]))
                current = float(np.interp(count, [0, last], [warmup_momentum, momentum]))
            rates.append(rate)
            momenta.append(current)
    return rates, momenta


def ultralytics_decays(decay: float = 0.9999, tau: float = 2000) -> list[float]:
    """Of the averages after the first updates, which ModelEMA counts before it takes its decay."""
    return [decay * (1 - math.exp(-updates / tau)) for updates in range(1, STEPS + 1)]


def lines(rows: list[dict[str, Any]]) -> str:
    """A row a line."""
    return ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)


def main() -> int:
    cases: list[dict[str, Any]] = []
    for name, kwargs in OPTAX:
        cases.append({"library": "optax", "name": name, "kwargs": kwargs, "lr": optax_values(name, kwargs)})
    for name, kwargs in TIMM:
        values = timm_values(name, kwargs, 0.1)
        cases.append({"library": "timm", "name": name, "base_lr": 0.1, "kwargs": kwargs, "lr": values})
    for kwargs in ULTRALYTICS:
        rates, momenta = ultralytics_loop(**kwargs)
        cases.append({"library": "ultralytics", "name": "schedule", "kwargs": kwargs, "lr": rates, "momentum": momenta})
    averages = [
        {"library": library, "name": "ema_decay", "kwargs": kwargs, "decay": decays(**kwargs)}
        for library, decays, table in (
            ("timm", timm_decays, TIMM_AVERAGES),
            ("ultralytics", ultralytics_decays, ULTRALYTICS_AVERAGES),
        )
        for kwargs in table
    ]
    versions = {"optax": version("optax"), "timm": version("timm"), "ultralytics": "8.4.190, read"}
    tables = f'"cases": [\n{lines(cases)}\n],\n"averages": [\n{lines(averages)}\n]'
    Path(sys.argv[1]).write_text(f'{{"versions": {json.dumps(versions)},\n{tables}}}\n')
    print(f"{len(cases)} cases, {len(averages)} averages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
