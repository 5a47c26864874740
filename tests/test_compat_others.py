"""What the recorded values of timm, optax and ultralytics leave out: their defects, limits and bad arguments."""

from typing import Any

import numpy as np
import pytest

from fastlr import compat
from fastlr.schedules import Constant, Cosine, Linear, ReduceOnPlateau

STEPS = np.arange(120)


def test_timm_multistep_decays_at_its_milestones() -> None:
    s = compat.timm.MultiStepLRScheduler(1.0, decay_t=[10, 30], decay_rate=0.1, warmup_t=5)
    assert [s(t) for t in (0, 5, 14, 15, 34, 35)] == pytest.approx([0.0, 1.0, 1.0, 0.1, 0.1, 0.01])
    plain = compat.timm.MultiStepLRScheduler(1.0, decay_t=[10, 30], decay_rate=0.1, warmup_t=5, warmup_prefix=False)
    assert [plain(t) for t in (5, 9, 10, 29, 30)] == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])


def test_timm_cycles_restart_at_every_border() -> None:
    """timm finds the cycle by a logarithm: at exact powers of the growth it may be one step late."""
    s = compat.timm.CosineLRScheduler(1.0, t_initial=5, cycle_mul=3.0, cycle_limit=8)
    borders = [5 * (3**i - 1) // 2 for i in range(8)]
    assert s(np.array(borders)).tolist() == [1.0] * 8
    assert s(5 * (3**8 - 1) // 2) == 0.0


def test_timm_plateau() -> None:
    s = compat.timm.PlateauLRScheduler(0.1, decay_rate=0.5, patience_t=3, warmup_t=4, lr_min=0.01)
    rule = ReduceOnPlateau(s.schedule, mode="max", factor=0.5, patience=3, min_lr=0.01)
    assert s == rule
    assert s(2) == 0.05


def test_timm_own_decay_is_tabulated() -> None:
    s = compat.timm.WSDLRScheduler(1.0, t_initial=50, decay_t=20, decay_fn=lambda u: (1.0 - u) ** 3, lr_min=0.1)
    u = np.clip((STEPS - 30) / 20, 0.0, 1.0)
    np.testing.assert_allclose(s(STEPS), 0.1 + 0.9 * (1.0 - u) ** 3, rtol=1e-12)


def test_optax_join() -> None:
    parts = [Linear(0.0, 1.0, 4), Constant(1.0), Cosine(1.0, 0.0, 10)]
    s = compat.optax.join_schedules(parts, [4, 9])
    expected = [parts[0](t) if t < 4 else parts[1](t - 4) if t < 9 else parts[2](t - 9) for t in range(30)]
    assert s(np.arange(30)).tolist() == expected


@pytest.mark.parametrize(("minimum", "last"), [(None, 30), (100, 100), (20, 30)])
def test_ultralytics_warmup_of_earlier_releases(minimum: int | None, last: int) -> None:
    s = compat.ultralytics.schedule(0.01, 0.1, epochs=30, steps_per_epoch=10, minimum_warmup=minimum)
    for t in (1, last - 1, last, last + 1):
        decayed = 0.01 * (1 - (t // 10) / 30 * 0.9)
        assert s(t) == pytest.approx(decayed * min(t / last, 1.0), rel=1e-12)
    assert (s.momentum(last), s.momentum(10**6)) == (0.937, 0.937)


TIMM = compat.timm
OPTAX = compat.optax
BAD: list[tuple[Any, dict[str, Any], str]] = [
    (TIMM.CosineLRScheduler, {"base_lr": 0.1, "t_initial": 0}, "t_initial is out of range: 0. Use"),
    (TIMM.CosineLRScheduler, {"base_lr": 0.1, "t_initial": 9, "cycle_mul": 0, "cycle_limit": 2}, "positive: 0. Use"),
    (TIMM.CosineLRScheduler, {"base_lr": 0.1, "t_initial": 9, "noise_range_t": 5}, "Noise is no schedule: .*=5. Leave"),
    (TIMM.CosineLRScheduler, {"base_lr": 0.1, "t_initial": 9, "t_mul": 2}, "There is no such argument: 't_mul'. Leave"),
    (TIMM.StepLRScheduler, {"base_lr": 0.1, "decay_t": 0}, "decay_t is not positive: 0. Use"),
    (TIMM.PolyLRScheduler, {"base_lr": 0.1, "t_initial": 9, "power": -1.0}, "power is not positive: -1.0. Use"),
    (
        TIMM.PolyLRScheduler,
        {"base_lr": 0.1, "t_initial": 10**6, "cycle_mul": 1.5, "cycle_limit": 40},
        "too long for a table: .* steps. Use",
    ),
    (TIMM.WSDLRScheduler, {"base_lr": 0.1, "t_initial": 9, "decay_t": 10}, "decay_t is above t_initial: 10 of 9. Use"),
    (
        TIMM.WSDLRScheduler,
        {"base_lr": 0.1, "t_initial": 9, "decay_t": 5, "stable_fn": "rsqrt"},
        "stable_timescale is not positive: 0. Use",
    ),
    (TIMM.WSDLRScheduler, {"base_lr": 0.1, "t_initial": 9, "decay_t": 5, "decay_fn": "step"}, "unknown: 'step'. Use"),
    (OPTAX.cosine_decay_schedule, {"init_value": 0.1, "decay_steps": 0}, "decay_steps is out of range: 0. Use"),
    (OPTAX.exponential_decay, {"init_value": 0.1, "transition_steps": 5, "decay_rate": -1}, "positive: -1.0. Use"),
    (
        OPTAX.piecewise_constant_schedule,
        {"init_value": 0.1, "boundaries_and_scales": {5: -0.5}},
        "scale is negative: -0.5. Use",
    ),
    (
        OPTAX.piecewise_constant_schedule,
        {"init_value": 0.1, "boundaries_and_scales": {"x": 0.5}},
        "boundary is not an integer: 'x'. Pass",
    ),
    (
        OPTAX.piecewise_interpolate_schedule,
        {"interpolate_type": "cubic", "init_value": 0.1},
        "interpolate_type is unknown: 'cubic'. Use",
    ),
    (OPTAX.join_schedules, {"schedules": [Constant(1.0)] * 2, "boundaries": []}, "do not fit .*: 0 for 2. Give"),
    (OPTAX.sgdr_schedule, {"cosine_kwargs": []}, r"cosine_kwargs are empty: \[\]. Give"),
    (
        compat.ultralytics.schedule,
        {"lr0": 0.1, "lrf": 0.1, "epochs": 0, "steps_per_epoch": 5},
        "epochs is out of range: 0. Use",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    function, kwargs, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        function(**kwargs)
