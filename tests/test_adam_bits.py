"""fastlr.Adam and fastlr.AdamW against torch's, with roots and powers rounded right: the same bits."""

from typing import Any

import pytest
import torch
from adam_cases import (
    OPTIONS,
    PAIRS,
    SOME,
    assert_same_state,
    describe,
    few,
    give_all,
    needs_fma,
    parameters,
    params_of,
    train,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sgd_cases import assert_same_bits, set_gradients
from test_sgd_bits import BIG, DTYPES, SPECIAL
from torch import Tensor

import fastlr

pytestmark = needs_fma


def compare(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer, updates: int) -> None:
    """The same gradients to both, for some updates; equal after each."""
    for step in range(updates):
        for optimizer in (ours, theirs):
            train(optimizer, range(step, step + 1))
        assert_same_state(ours, theirs, where=f"after update {step}")


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_every_combination_on_every_layout(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    """Among the parameters are one with late gradients, one without any and one with gaps: their counts differ."""
    ours, theirs = (make(parameters(dtype), lr=0.03, **options) for make in PAIRS[name])
    compare(ours, theirs, updates=23)
    assert len({float(state["step"]) for state in ours.state.values()}) == 3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", SOME, ids=describe)
def test_one_big_tensor(options: dict[str, Any], dtype: torch.dtype) -> None:
    sides = [make([torch.linspace(-1, 1, BIG, dtype=dtype)], lr=0.03, **options) for make in PAIRS["AdamW"]]
    for optimizer in sides:
        train(optimizer, range(3), give_all)
    assert_same_state(*sides)


def test_many_updates() -> None:
    """The corrections 1 - beta^n on their way to 1."""
    sides = [make([torch.ones(3, dtype=torch.float64)], lr=0.01, betas=(0.9, 0.99)) for make in PAIRS["Adam"]]
    for optimizer in sides:
        train(optimizer, range(2000), give_all)
    assert_same_state(*sides)


GROUPS: list[dict[str, Any]] = [
    {"lr": 0.5, "betas": (0.5, 0.9)},
    {},
    {"weight_decay": 0.1, "maximize": True},
    {"lr": 0.0, "amsgrad": True},
    {"eps": 1e-3},
    {"decoupled_weight_decay": False, "weight_decay": 0.3},
    {"betas": (0.0, 0.999), "weight_decay": 0},
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_groups_with_their_own_options(name: str, dtype: torch.dtype) -> None:
    def groups() -> list[dict[str, Any]]:
        params = parameters(dtype)
        return [{"params": params[i :: len(GROUPS)], **options} for i, options in enumerate(GROUPS)]

    ours, theirs = (make(groups(), lr=0.01, weight_decay=0.02) for make in PAIRS[name])
    compare(ours, theirs, updates=20)


CHANGES: dict[int, dict[str, Any]] = {
    2: {"lr": 0.5},
    3: {"betas": (0.5, 0.999)},
    5: {"betas": (0.95, 0.7)},
    6: {"weight_decay": 0.3},
    8: {"eps": 0.1, "decoupled_weight_decay": True},
    9: {"maximize": True},
    11: {"weight_decay": 0, "maximize": False, "decoupled_weight_decay": False},
}


def test_options_changed_between_updates() -> None:
    sides = [make(parameters(), lr=0.1, weight_decay=0.02) for make in PAIRS["Adam"]]
    for step in range(13):
        for optimizer in sides:
            optimizer.param_groups[0].update(CHANGES.get(step, {}))
            train(optimizer, range(step, step + 1))
        assert_same_state(*sides, where=f"after update {step}")


def test_amsgrad_switched_on_and_off_later() -> None:
    """torch has no max_exp_avg_sq for it then: the test makes it, of zeros, as the state begins."""
    ours, theirs = (make(parameters(), lr=0.1) for make in PAIRS["AdamW"])
    for step in range(12):
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["amsgrad"] = 3 <= step < 6 or step >= 9
            set_gradients(params_of(optimizer), step)
        for param in params_of(theirs) if step == 3 else []:
            if param in theirs.state:
                theirs.state[param]["max_exp_avg_sq"] = torch.zeros_like(param)
        ours.step()
        theirs.step()
        assert_same_state(ours, theirs, where=f"after update {step}")


HYPER = st.floats(0, 1e3, allow_nan=False)
BETA = st.floats(0, 1, exclude_max=True)


@settings(max_examples=80, deadline=None)
@given(
    lr=HYPER,
    betas=st.tuples(BETA, BETA),
    eps=st.just(0.0) | st.floats(1e-12, 1.0),
    decay=st.just(0.0) | HYPER,
    amsgrad=st.booleans(),
    size=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
    name=st.sampled_from(sorted(PAIRS)),
)
def test_any_hyper_parameters(
    lr: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    amsgrad: bool,
    size: int,
    dtype: torch.dtype,
    name: str,
) -> None:
    options: dict[str, Any] = {"betas": betas, "eps": eps, "weight_decay": decay, "amsgrad": amsgrad}
    sides = [make([torch.linspace(-1, 1, size, dtype=dtype)], lr=lr, **options) for make in PAIRS[name]]
    for optimizer in sides:
        train(optimizer, range(3), give_all)
    assert_same_state(*sides)


def give_special(params: Any, step: int) -> None:
    params[0].grad = torch.tensor(SPECIAL, dtype=params[0].dtype).repeat(len(SPECIAL)).roll(step // 2)


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_special_values(options: dict[str, Any], dtype: torch.dtype) -> None:
    values = torch.tensor(SPECIAL, dtype=dtype).repeat_interleave(len(SPECIAL))
    sides = [make([values.clone()], lr=0.1, **options) for make in PAIRS["Adam"]]
    for optimizer in sides:
        train(optimizer, range(4), give_special)
    assert_same_state(*sides)


def test_many_small_tensors() -> None:
    def tensors() -> list[Tensor]:
        return [torch.full((1 + i % 3,), float(i)) for i in range(1009)]

    compare(fastlr.Adam(tensors(), lr=0.1), PAIRS["Adam"][1](tensors(), lr=0.1), updates=3)


@pytest.mark.parametrize("lr", [0.1, 1e-4])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_torch_as_it_is_stays_within_an_ulp_an_update(name: str, lr: float, dtype: torch.dtype) -> None:
    """Its roots and powers move what it subtracts by 4 ulp at most; the averages do not depend on them."""
    plain = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[name]
    ours, theirs = PAIRS[name][0](few(dtype), lr=lr), plain(few(dtype), lr=lr, foreach=False)
    bounds = [torch.zeros_like(p) for p in params_of(ours)]
    epsilon = torch.finfo(dtype).eps
    for step in range(20):
        before = [p.detach().clone() for p in params_of(ours)]
        for optimizer in (ours, theirs):
            train(optimizer, range(step, step + 1), give_all)
        for bound, old, a, b in zip(bounds, before, params_of(ours), params_of(theirs), strict=True):
            bound += epsilon * (old.abs() + 4 * (a.detach() - old).abs())
            assert bool(((a - b).abs() <= bound).all())
            for name_of in ("exp_avg", "exp_avg_sq", "step"):
                assert_same_bits([ours.state[a][name_of]], [theirs.state[b][name_of]])
