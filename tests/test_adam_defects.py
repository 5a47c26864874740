"""Defects that users report of Adam and AdamW elsewhere, each as a regression test; Lion where it could have them."""

from typing import Any

import pytest
import torch
from adam_cases import PAIRS, RULES, assert_same_state, few, give_all, needs_fma, params_of, states, train
from sgd_cases import assert_same_bits
from torch import Tensor

import fastlr


def give_late_ones(params: list[Tensor], step: int) -> None:
    give_all(params, step)
    for index, param in enumerate(params):
        if step < 2 * index:
            param.grad = None


@needs_fma
@pytest.mark.parametrize("name", PAIRS)
def test_first_gradients_that_arrive_late_under_fused(name: str) -> None:
    sides = [make(few(), lr=0.1, **flags) for make, flags in zip(PAIRS[name], ({"fused": True}, {}), strict=True)]
    for optimizer in sides:
        train(optimizer, range(9), give_late_ones)
    assert_same_state(*sides)
    assert [float(state["step"]) for state in states(sides[0])] == [9.0, 7.0, 5.0, 3.0]


@pytest.mark.parametrize("fused", [None, True])
def test_a_step_that_the_scaler_skips_is_not_counted(fused: bool | None) -> None:
    """Neither by the schedule nor by the bias correction, at the first update and later."""
    scaled, plain = (fastlr.AdamW(few(), lr=fastlr.warmup_cosine(0.1, 20, warmup=5), fused=fused) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    scaler.scale(torch.zeros(()))
    for step, overflow in enumerate([True, False, False, True, False]):
        give_all(params_of(scaled), step)
        if overflow:
            params_of(scaled)[2].grad.fill_(float("inf"))  # type: ignore[union-attr]
        else:
            train(plain, range(step, step + 1), give_all)
        scaler.step(scaled)
        scaler.update(1.0)
    assert scaled.step_count == 3
    assert_same_state(scaled, plain)


@pytest.mark.parametrize("name", ["AdamW", "Lion"])
def test_the_decay_of_an_update_is_the_rate_s_share(name: str) -> None:
    """At rate 0 nothing decays, whatever the schedule makes of the rate later; the averages move on."""
    optimizer = RULES[name][0](few(), lr=fastlr.schedules.Linear(0.0, 0.5, 5), weight_decay=0.5)
    before = [p.detach().clone() for p in params_of(optimizer)]
    train(optimizer, range(1), give_all)
    assert_same_bits([p.detach() for p in params_of(optimizer)], before)
    assert all(bool(state["exp_avg"].any()) for state in states(optimizer))
    assert optimizer.step_count == 1  # type: ignore[attr-defined]


@needs_fma
@pytest.mark.parametrize("name", ["AdamW", "Lion"])
def test_mixed_types_decay_once_each(name: str) -> None:
    """A foreach optimizer once decayed every parameter again for each (device, dtype) bucket."""
    params = [torch.ones(3, dtype=d) for d in (torch.float32, torch.float64, torch.bfloat16, torch.float16)]
    for param in params:
        param.grad = torch.zeros_like(param)
    RULES[name][0](params, lr=0.5, weight_decay=0.5).step()
    assert [p.unique().tolist() for p in params] == [[0.75]] * 4


MAXIMIZE: list[tuple[str, dict[str, Any], float]] = [
    ("Adam", {"weight_decay": 0.5}, 1.0 - 0.5),  # the decay is a gradient of its own
    ("AdamW", {"weight_decay": 0.5}, 0.75),
]


@pytest.mark.parametrize(("name", "options", "expected"), MAXIMIZE)
def test_maximize_is_the_gradient_s_sign_alone(name: str, options: dict[str, Any], expected: float) -> None:
    """Weight decay still pulls towards 0; torch's fused kernel once had it the other way round."""
    param = torch.ones(3, dtype=torch.float64)
    param.grad = torch.zeros_like(param)
    RULES[name][0]([param], lr=0.5, eps=0.0 if name == "Adam" else 1e-8, fused=True, maximize=True, **options).step()
    torch.testing.assert_close(param, torch.full_like(param, expected))


@needs_fma
@pytest.mark.parametrize("name", RULES)
def test_every_element_of_16_bit_tensors_is_updated(name: str) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        for size in (*range(1, 131), 4097, 65537):
            param = torch.zeros(size, dtype=dtype)
            param.grad = torch.ones(size, dtype=dtype)
            RULES[name][0]([param], lr=0.5).step()
            assert bool((param == -0.5).all()), f"{dtype}, {size} elements"


def test_a_large_count_neither_stops_nor_overflows() -> None:
    """Corrections are 1 after long trainings; a float32 count holds 16 million updates exactly."""
    params = few()
    optimizer = fastlr.Adam(params, lr=0.1)
    train(optimizer, range(1), give_all)
    for state in states(optimizer):
        state["step"].fill_(2.0**24 - 2)
    train(optimizer, range(1, 3), give_all)
    assert [float(state["step"]) for state in states(optimizer)] == [2.0**24] * 4
    assert all(bool(param.isfinite().all()) for param in params)
