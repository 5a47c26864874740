"""fastlr.compat.transformers against transformers' own functions."""

import itertools
from typing import Any

import numpy as np
import pytest
from compat_peers import assert_follows, stepped
from hypothesis import given
from hypothesis import strategies as st

from fastlr import compat

transformers = pytest.importorskip("transformers", reason="needs the extra 'integrations'")
optimization = pytest.importorskip("transformers.optimization", reason="needs the extra 'integrations'")

WARM = {"num_warmup_steps": 12, "num_training_steps": 70}
TYPES = ("linear", "cosine", "1-sqrt")

# (function, arguments)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("get_constant_schedule", {}),
    *(("get_constant_schedule_with_warmup", {"num_warmup_steps": n}) for n in (0, 1, 20)),
    *(
        (name, {"num_warmup_steps": warmup, "num_training_steps": total})
        for name in ("get_linear_schedule_with_warmup", "get_cosine_schedule_with_warmup")
        for warmup, total in ((0, 50), (1, 50), (30, 61), (20, 20), (30, 10))
    ),
    *(("get_cosine_schedule_with_warmup", {**WARM, "num_cycles": c}) for c in (0, 0.25, 7 / 16, 0.37, 1, 1.5, 2, 3.3)),
    *(
        ("get_cosine_with_hard_restarts_schedule_with_warmup", {**WARM, "num_training_steps": n, "num_cycles": c})
        for n in (70, 71, 12, 5)
        for c in (1, 2, 3, 7, 2.5)
    ),
    *(
        ("get_polynomial_decay_schedule_with_warmup", {**WARM, "lr_end": end, "power": power})
        for end in (0.0, 1e-7, 0.02)
        for power in (0.5, 1.0, 3.0)
    ),
    *(
        ("get_inverse_sqrt_schedule", {"num_warmup_steps": warmup, "timescale": timescale})
        for warmup in (0, 1, 20)
        for timescale in (None, 5, 300)
    ),
    *(
        (name, {**WARM, "num_cycles": cycles, **low})
        for name in (
            "get_cosine_with_min_lr_schedule_with_warmup",
            "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
        )
        for cycles in (0.5, 1.3)
        for low in ({"min_lr": 0.03}, {"min_lr_rate": 0.0}, {"min_lr_rate": 0.4})
    ),
    *(
        (
            "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
            {"num_warmup_steps": n, "num_training_steps": 60, "min_lr_rate": 0.1, "warmup_lr_rate": rate},
        )
        for n in (0, 1, 2, 15)
        for rate in (None, 0.0, 0.2)
    ),
    *(
        (
            "get_wsd_schedule",
            {
                "num_warmup_steps": 13,
                "num_decay_steps": 31,
                "num_training_steps": 70,
                "warmup_type": rise,
                "decay_type": fall,
                "min_lr_ratio": low,
            },
        )
        for rise, fall, low in itertools.product(TYPES, TYPES, (0.0, 0.2))
    ),
    *(
        ("get_wsd_schedule", {"num_warmup_steps": w, "num_decay_steps": d, "num_stable_steps": s, "num_cycles": c})
        for w, d, s, c in ((0, 20, 0, 0.5), (0, 0, 30, 0.5), (10, 40, 5, 1.0), (1, 1, 1, 0.5), (5, 33, 10, 0.8))
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_values(case: int) -> None:
    name, kwargs = CASES[case]
    expected = stepped(lambda optimizer: getattr(optimization, name)(optimizer, **kwargs), 160)
    s = getattr(compat.transformers, name)(0.1, **kwargs)
    assert_follows(s, expected)


@given(
    base=st.floats(1e-5, 10.0),
    warmup=st.integers(0, 30),
    rest=st.integers(1, 60),
    cycles=st.integers(1, 5),
    low=st.floats(0.0, 1.0),
)
def test_cosines(base: float, warmup: int, rest: int, cycles: int, low: float) -> None:
    steps = {"num_warmup_steps": warmup, "num_training_steps": warmup + rest}
    for name, options in (
        ("get_cosine_with_hard_restarts_schedule_with_warmup", {"num_cycles": cycles}),
        ("get_cosine_with_min_lr_schedule_with_warmup", {"num_cycles": cycles / 2, "min_lr_rate": low}),
    ):
        expected = stepped(lambda o, n=name, k=options: getattr(optimization, n)(o, **steps, **k), warmup + rest, base)
        assert_follows(getattr(compat.transformers, name)(base, **steps, **options), expected, base)


NAMED = {
    "linear": {},
    "cosine": {},
    "cosine_with_restarts": {"num_cycles": 2},
    "polynomial": {"power": 2.0},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": 50},
    "cosine_with_min_lr": {"min_lr": 0.01},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 20},
}


@pytest.mark.parametrize("name", NAMED)
def test_get_scheduler(name: str) -> None:
    arguments = (12, 70, NAMED[name])
    expected = stepped(lambda optimizer: optimization.get_scheduler(name, optimizer, *arguments), 90)
    assert_follows(compat.transformers.get_scheduler(name, 0.1, *arguments), expected)
    kind = transformers.SchedulerType(name)
    assert compat.transformers.get_scheduler(kind, 0.1, *arguments) == compat.transformers.get_scheduler(
        name, 0.1, *arguments
    )


def test_every_scheduler_type_is_known() -> None:
    known = {kind.value for kind in transformers.SchedulerType}
    assert known == {*NAMED, "reduce_lr_on_plateau", "greedy"}


def test_plateau_takes_the_arguments_of_torch() -> None:
    s = compat.transformers.get_scheduler("reduce_lr_on_plateau", 0.1, None, None, {"patience": 3, "factor": 0.5})
    assert s == compat.torch.ReduceLROnPlateau(0.1, patience=3, factor=0.5)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("get_linear_schedule_with_warmup", {"num_warmup_steps": -1, "num_training_steps": 5}, "out of range: -1. Use"),
    ("get_linear_schedule_with_warmup", {"num_warmup_steps": 2.5, "num_training_steps": 5}, "no.* integer: 2.5. Pass"),
    ("get_cosine_with_hard_restarts_schedule_with_warmup", {**WARM, "num_cycles": 0}, "num_cycles is not positive: 0."),
    ("get_polynomial_decay_schedule_with_warmup", {**WARM, "lr_end": 0.1}, "lr_end is not below base_lr: 0.1 and 0.1."),
    ("get_cosine_with_min_lr_schedule_with_warmup", WARM, "Not one lowest rate: min_lr=None, min_lr_rate=None. Give"),
    (
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
        {**WARM, "min_lr": 0.0, "min_lr_rate": 0.0},
        "Not one lowest rate: min_lr=0.0, min_lr_rate=0.0. Give",
    ),
    ("get_wsd_schedule", {"num_warmup_steps": 5, "num_decay_steps": 5}, "No length: .*None. Give one of the two."),
    (
        "get_wsd_schedule",
        {"num_warmup_steps": 5, "num_decay_steps": 5, "num_training_steps": 9},
        "num_stable_steps is out of range: -1. Use",
    ),
    (
        "get_wsd_schedule",
        {"num_warmup_steps": 5, "num_decay_steps": 5, "num_stable_steps": 9, "decay_type": "exp"},
        "decay_type is unknown: 'exp'. Use 'linear' or",
    ),
    ("get_scheduler", {"name": "greedy"}, "No schedule follows .*: 'greedy'. Use 'reduce_lr_on_plateau'."),
    ("get_scheduler", {"name": "sine"}, "name is unknown: 'sine'. Use 'linear' or"),
    ("get_scheduler", {"name": "linear", "num_warmup_steps": 5}, "linear lacks num_training_steps: None. Give"),
    ("get_scheduler", {"name": "inverse_sqrt"}, "inverse_sqrt lacks num_warmup_steps: None. Give"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    name, kwargs, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(compat.transformers, name)(base_lr=0.1, **kwargs)


def test_a_warmup_without_a_wasted_update() -> None:
    assert compat.transformers.get_linear_schedule_with_warmup(0.1, 10, 100)(0) == 0.0
    rising = compat.transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(0.1, 10, 100, min_lr=0.0)
    np.testing.assert_allclose(rising(np.arange(10)), np.linspace(0.01, 0.1, 10))
