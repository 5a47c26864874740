"""The training recipe around every rule, bit for bit: each option alone, every pair of options, mixed groups."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from adam_cases import needs_fma, params_of, states
from recipe_cases import (
    ALONE,
    CLASSES,
    DTYPES,
    ODD,
    PAIRWISE,
    RATES,
    RISING,
    allowed,
    both,
    describe,
    every_pair,
    follow,
    give,
    options_for,
    pairs,
    tensors,
)
from sgd_cases import assert_same_bits

BIG = 16385

pytestmark = needs_fma


def test_every_pair_of_values_is_in_the_table() -> None:
    assert pairs(PAIRWISE) == pairs(filter(allowed, every_pair()))
    assert all(map(allowed, PAIRWISE))


def compare(rule: str, rows: Sequence[dict[str, Any]], dtypes: Sequence[torch.dtype], scale: float | None) -> None:
    """A group for each row, each with all layouts; of several dtypes in turn, if there are several."""
    groups = [
        {**options_for(rule, row, number, dtypes), "params": tensors(dtypes, ODD, seed=100 * number)}
        for number, row in enumerate(rows)
    ]
    optimizer, oracle = both(rule, groups)
    follow(optimizer, oracle, range(4), scale)


@pytest.mark.parametrize("row", ALONE, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", CLASSES)
def test_each_option_alone(rule: str, dtype: torch.dtype, row: dict[str, Any]) -> None:
    compare(rule, [row], [dtype], None)


@pytest.mark.parametrize("number", range(len(PAIRWISE)), ids=[describe(row) for row in PAIRWISE])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", CLASSES)
def test_pairs_of_options_beside_other_groups(rule: str, dtype: torch.dtype, number: int) -> None:
    rows = [PAIRWISE[number], {}, PAIRWISE[(number + 7) % len(PAIRWISE)]]
    compare(rule, rows, [dtype], [None, 1024.0, 3.0][number % 3])


@pytest.mark.parametrize("number", range(len(PAIRWISE)), ids=[describe(row) for row in PAIRWISE])
@pytest.mark.parametrize("rule", CLASSES)
def test_mixed_dtypes_in_one_group(rule: str, number: int) -> None:
    row = PAIRWISE[number]
    dtypes = DTYPES[:3] if row["stochastic_rounding"] else DTYPES
    compare(rule, [row, PAIRWISE[(number + 5) % len(PAIRWISE)]], dtypes, [None, 0.5][number % 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("rule", CLASSES)
def test_more_than_a_chunk(rule: str, number: int, dtype: torch.dtype) -> None:
    groups = [{**options_for(rule, PAIRWISE[number], 0, [dtype]), "params": [torch.linspace(-1, 1, BIG, dtype=dtype)]}]
    optimizer, oracle = both(rule, groups)
    follow(optimizer, oracle, range(2))


def test_more_than_a_chunk_in_float64() -> None:
    groups = [{"lr": 0.1, "max_grad_norm": 0.5, "ema_decay": 0.9, "params": [torch.linspace(-1, 1, BIG).double()]}]
    optimizer, oracle = both("SGD", groups)
    follow(optimizer, oracle, range(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("rule", CLASSES)
def test_the_rule_s_own_update_by_gradients_clipped_by_hand(rule: str, number: int, dtype: torch.dtype) -> None:
    """And torch's lerp_ afterwards: what the recipe puts together."""
    row = {"max_grad_norm": 3.0, "max_grad_value": 0.05, "ema_decay": RISING, "zero_grad_in_step": True}
    rates = RATES[rule][number]
    ours = CLASSES[rule](tensors([dtype], ODD), **rates, **row)
    plain = CLASSES[rule](tensors([dtype], ODD), **rates)
    averages = [param.detach().clone() for param in params_of(plain)]
    for step in range(5):
        give(ours, step)
        ours.step()
        give(plain, step)
        grads = [param.grad for param in params_of(plain) if param.grad is not None]
        for grad in grads:
            grad.mul_(min(1.0, 3.0 / (ours.grad_norm + 1e-6))).clamp_(-0.05, 0.05)
        plain.step()
        for average, param in zip(averages, params_of(plain), strict=True):
            if param.grad is not None:
                average.lerp_(param.detach(), 1.0 - RISING(step))
        assert_same_bits(params_of(ours), params_of(plain), f"parameter after update {step}")
        for param, average, state, expected in zip(params_of(ours), averages, states(ours), states(plain), strict=True):
            assert_same_bits([state[name] for name in expected], expected.values(), f"state after update {step}")
            assert param.grad is None or not param.grad.any()
            if "ema" in state:
                assert_same_bits([state["ema"]], [average], f"average after update {step}")
